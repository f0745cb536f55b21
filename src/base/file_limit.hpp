// How many files and sockets a process may have open.
#pragma once
#include <sys/resource.h>

namespace spell::base {

/// As many as the system lets it have at most. For programs that serve many; not for libraries.
inline void raise_file_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  (void)::setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace spell::base
