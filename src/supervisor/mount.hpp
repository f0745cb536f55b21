// A run's mounts as they are made: attached nowhere yet, so that they outlive the old root.
#pragma once

namespace spell::supervisor {

struct Mount;

/// A copy of the mounts at a path. -1 with errno.
int clone_tree(const char* path);
/// The mount of one of the spec's mounts: an overlay above its `from` if it has an `upper`, else a
/// read-only bind. `in_user_namespace`: overlays keep their notes in user.* attributes there. -1
/// with errno.
int make_mount(const Mount&, bool in_user_namespace);
/// Closes `tree` where that succeeds.
bool attach_tree(int tree, const char* path);

}  // namespace spell::supervisor
