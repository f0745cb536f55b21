#include <fcntl.h>

#include "command.hpp"

namespace {

/// Started with a standard descriptor closed, the next file or socket opened would get its number,
/// and what is meant to be read would be written into it.
void fill_standard_descriptors() {
  for (int fd = 0; fd <= 2; ++fd)
    if (::fcntl(fd, F_GETFD) < 0) (void)::open("/dev/null", O_RDWR);
}

}  // namespace

int main(int argc, char** argv) {
  fill_standard_descriptors();
  return spell::cli::spell_main(spell::cli::Words(argv + 1, argv + argc), {});
}
