// The folders of the host's own system in the run root, with packages over them: overlays of
// /usr, /etc, /var and the like. What is mounted in those on the host lies in the overlays as well.
// A build of packages is root there and runs what packages bring along, so that its root has
// nothing but these folders: no sockets of the host's programs, no disks, no kernel settings that
// it could change.
#pragma once
#include <limits.h>

#include "supervisor/mount_table.hpp"
#include "supervisor/place.hpp"
#include "supervisor/root.hpp"

namespace spell::supervisor {

class SystemFolders {
 public:
  explicit SystemFolders(const System& system) : system_(system) {}
  /// Makes the mounts, of the host's folders as they are now. Does nothing where no packages are
  /// asked for. `user`: the run has one of its own, and a /var/tmp of its own.
  bool make(const List<const char*>& hidden, bool in_user_namespace, bool user, Failure&);
  bool is_build() const { return *system_.upper; }
  /// The folder `name` of "/" appears in the current folder, the new root; false: it is no overlay.
  bool take_over(const char* name, bool& failed);
  /// Of a build, in the new root: what programs need besides, made in the current folder.
  bool make_surroundings() const;
  /// In the new root: what the host has mounted in these folders.
  bool attach_mounts();
  /// Of a build, in the new root.
  bool fence_kernel_settings() const;
  /// What is hidden, under other paths that lead to it through the overlays.
  const List<const char*>& hidden() const { return hidden_; }
  /// Of a build: how names of hosts are resolved, where that is kept in /run.
  bool attach_resolver(Places&);

 private:
  struct Overlay {
    char name[32];
    int tree;
  };
  struct Inner {
    char* point;
    int tree;
  };
  bool make_one(const char* name, bool in_user_namespace);
  void find_inner(const MountTable&, const char* folder);
  bool find_hidden(const MountTable&, const char* folder, const List<const char*>& hidden);

  const System& system_;
  Overlay overlays_[16] = {};
  size_t count_ = 0;
  Inner* inner_ = nullptr;
  size_t inner_count_ = 0;
  List<const char*> hidden_{};
  char resolver_[PATH_MAX] = "";
  int resolver_tree_ = -1;
};

}  // namespace spell::supervisor
