// The run root: what a fenced run sees as its file system. A new root of recursive binds of what
// the host has at the top, /spell and /spell-tmp of the run's folder, a /proc of its own, and
// nothing where the hidden folders were.
#pragma once
#include "supervisor/spec.hpp"

namespace spell::supervisor {

struct Failure {
  int error = 0;          ///< errno
  bool of_mount = false;  ///< one of the spec's own mounts: no weaker fence would help
  char what[256] = {};
};

/// In fresh namespaces of this level, as pid 1. Afterwards "/" is the run root and the old root is
/// gone. A run with a user of its own (`owner_map`, see make_owner_map()) finds only the system's
/// folders of the host, and has /tmp, /var/tmp and /dev/shm to itself.
bool build_root(const Spec&, const char* folder, int level, int owner_map, Failure&);

/// Takes from this process, for good, the capabilities by which root could undo its fences. What it
/// leaves is what ordinary programs of root need. Root stays root, though: it may write the disk's
/// device under /dev or the kernel's settings, so runs that are not trusted with the machine need a
/// uid of their own.
void drop_capabilities();
/// Becomes that user and group, without others and for good: no program it executes is more. False
/// with errno.
bool become_user(unsigned user);

}  // namespace spell::supervisor
