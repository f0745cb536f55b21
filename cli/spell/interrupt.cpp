#include "interrupt.hpp"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

namespace spell::cli {

namespace {
// A signal handler can reach nothing else, and may not lock: it writes one byte, a thread does the
// rest.
std::atomic<int> interrupt_pipe{-1};

extern "C" void on_interrupt(int) {
  int saved = errno;
  char byte = 1;
  [[maybe_unused]] auto written = ::write(interrupt_pipe.load(), &byte, 1);
  errno = saved;
}
}  // namespace

Interrupt::Interrupt() {
  if (::pipe(pipe_) != 0) return;
  for (int fd : pipe_) ::fcntl(fd, F_SETFD, FD_CLOEXEC);
  interrupt_pipe = pipe_[1];
  struct sigaction action {};
  action.sa_handler = on_interrupt;
  action.sa_flags = static_cast<int>(SA_RESETHAND) | SA_RESTART;
  sigemptyset(&action.sa_mask);
  // Ignored from the start (nohup, a shell's background job): it stays so.
  struct sigaction before {};
  ::sigaction(SIGINT, nullptr, &before);
  if (before.sa_handler != SIG_IGN) ::sigaction(SIGINT, &action, nullptr);
  listener_ = std::thread([this] {
    char byte = 0;
    while (::read(pipe_[0], &byte, 1) < 0 && errno == EINTR) {
    }
    if (byte == 1) source_.request_stop();
  });
}

Interrupt::~Interrupt() {
  if (!listener_.joinable()) return;
  struct sigaction current {};
  ::sigaction(SIGINT, nullptr, &current);
  if (current.sa_handler == on_interrupt) ::signal(SIGINT, SIG_DFL);
  char byte = 0;
  [[maybe_unused]] auto written = ::write(pipe_[1], &byte, 1);
  listener_.join();
  interrupt_pipe = -1;
  ::close(pipe_[0]);
  ::close(pipe_[1]);
}

}  // namespace spell::cli
