// A run's mounts as they are made: attached nowhere yet, so that they outlive the old root.
#pragma once

namespace spell::supervisor {

struct Mount;
struct Root;

/// A copy of the mounts at a path. -1 with errno.
int clone_tree(const char* path);
/// The same, to be read only.
int clone_read_only(const char* path);
/// The mount of one of the spec's mounts: an overlay above its `from` if it has an `upper`, else a
/// read-only bind. `in_user_namespace`: overlays keep their notes in user.* attributes there. -1
/// with errno.
int make_mount(const Mount&, bool in_user_namespace);
/// An overlay of the host's folder `below` without what is mounted in it. With `layer` over it, to
/// be read only; or with `upper` and `work`, for a build, which makes a layer of `upper`. The
/// others are null. `layer` may lie in `below`. -1 with errno.
struct SystemFolder {
  const char* below;
  const char* layer;
  const char* upper;
  const char* work;
};
int make_system_overlay(const SystemFolder&, bool in_user_namespace);
/// The overlay of an image's folders. -1 with errno.
int make_root_overlay(const Root&, bool in_user_namespace);
/// A user namespace in which root's files are `user`'s, for clone_for_user(). -1 with errno.
int make_owner_map(unsigned user);
/// A copy of the mount at a path in which the files of root, and what is made there, look as if
/// they were the user's, while on disk they are root's (an idmapped mount: Linux 5.12; below an
/// overlay 5.19). There is none of one that is such a copy already. -1 with errno.
int clone_for_user(const char* path, int owner_map);
/// Closes `tree` where that succeeds.
bool attach_tree(int tree, const char* path);

}  // namespace spell::supervisor
