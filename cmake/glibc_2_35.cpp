// What Debian's libstdc++.a asks of glibc 2.36, given here so that the programs run with 2.35.
#include <unistd.h>

#include <cstdlib>

// For std::random_device, which std::string's old instantiations bring along.
extern "C" [[gnu::visibility("hidden")]] unsigned arc4random() noexcept {
  unsigned value;
  if (::getentropy(&value, sizeof value) != 0) std::abort();  // cannot be, for so few bytes
  return value;
}
