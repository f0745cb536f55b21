// Places for a run's mounts in its run root. What the host has is used as it is; what it has not is
// made in the run root's own top, below /spell, in a mount that is the run's own, or else in a copy
// of that one folder's level: a tmpfs with binds of all that the host has there. Nothing is ever
// made on the host.
#pragma once
#include <sys/types.h>

namespace spell::supervisor {

/// The devices on which folders and files may be made.
class Places {
 public:
  /// `user`: of a run that has its own; 0: none. In /spell things are made as that user.
  explicit Places(unsigned user = 0) : user_(user) {}
  void allow(dev_t device);
  /// Makes `path` a folder, or an empty file, to mount on. `real`, of PATH_MAX bytes, becomes where
  /// that is without links. False with errno: ELOOP below /spell, whose links a commit brings along
  /// and which are not followed; ENOTDIR, EISDIR for what is of the other kind.
  bool make(const char* path, bool folder, char* real);

 private:
  bool may_make_in(const char* folder) const;
  bool make_one(const char* path, bool folder) const;
  bool replace_level(const char* folder);

  const unsigned user_;
  dev_t devices_[64] = {};
  unsigned count_ = 0;
};

/// Makes `name`, in the current folder, a folder, in place of what else stands there. False with
/// errno.
bool make_own_folder(const char* name);
/// Makes a folder's entry appear in the current folder: a link as a copy, the rest as a bind. One
/// that the host itself cannot serve (a dead network mount) is left out. `type`: DT_….
void take_over(const char* folder, const char* name, unsigned char type);

}  // namespace spell::supervisor
