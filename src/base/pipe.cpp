#include "base/pipe.hpp"

#include <fcntl.h>
#include <unistd.h>

#include "base/error.hpp"

namespace spell::base {

Result<Pipe> make_pipe() {
  int ends[2];
#ifdef __linux__
  // At once: another thread may start a program at any moment.
  if (::pipe2(ends, O_CLOEXEC) != 0) return errno_error("make a pipe");
#else
  if (::pipe(ends) != 0) return errno_error("make a pipe");
  for (int end : ends) ::fcntl(end, F_SETFD, FD_CLOEXEC);
#endif
  return Pipe{Fd(ends[0]), Fd(ends[1])};
}

}  // namespace spell::base
