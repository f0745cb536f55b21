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
/// gone.
bool build_root(const Spec&, const char* folder, int level, Failure&);

/// Takes from this process, for good, the capabilities by which root could undo its fences. What it
/// leaves is what ordinary programs of root need. Root stays root, though: it may write the disk's
/// device under /dev or the kernel's settings, so runs that are not trusted with the machine need a
/// uid of their own.
void drop_capabilities();

}  // namespace spell::supervisor
