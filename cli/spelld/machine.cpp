#include "machine.hpp"

#include <sched.h>

#include <algorithm>

namespace spell::daemon {

int places() {
  cpu_set_t set;
  CPU_ZERO(&set);
  int cores = ::sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  return std::max(2, cores);
}

}  // namespace spell::daemon
