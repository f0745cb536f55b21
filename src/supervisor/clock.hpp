#pragma once
#include <time.h>

namespace spell::supervisor {

inline long long boot_us() {
  timespec now;
  clock_gettime(CLOCK_BOOTTIME, &now);
  return now.tv_sec * 1'000'000LL + now.tv_nsec / 1000;
}
inline long long monotonic_us() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000'000LL + now.tv_nsec / 1000;
}
inline long long monotonic_ms() { return monotonic_us() / 1000; }

}  // namespace spell::supervisor
