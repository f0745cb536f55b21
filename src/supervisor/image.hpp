// An image's folders as the run root, in place of the host's system. Of the host it has the
// devices, what the kernel says of them, and the files by which names of hosts are resolved. What
// its own files say of those places does not count: an image is anybody's.
#pragma once
#include "supervisor/spec.hpp"

namespace spell::supervisor {

class ImageRoot {
 public:
  explicit ImageRoot(const Root& root) : root_(root) {}
  bool there() const { return root_.there(); }
  /// In the old root: makes the mounts. False with errno.
  bool make(bool in_user_namespace);
  /// In the old root: the new one becomes the current folder, attached at `place`.
  bool enter(const char* place);
  /// In the new root: how names are resolved there.
  bool attach_resolver();

 private:
  static constexpr const char* names_[] = {"hosts", "resolv.conf"};
  const Root& root_;
  int tree_ = -1;
  int files_[2] = {-1, -1};  ///< of names_; -1: the host has none
};

}  // namespace spell::supervisor
