#include "signal_pipe.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

namespace spell::cli {

namespace {
std::atomic<int> handler_pipe{-1};

extern "C" void on_signal(int number) {
  int saved = errno;
  char byte = static_cast<char>(number);
  [[maybe_unused]] auto written = ::write(handler_pipe.load(), &byte, 1);
  errno = saved;
}
}  // namespace

SignalPipe::SignalPipe(std::initializer_list<int> signals) {
  if (::pipe(pipe_) != 0) return;
  for (int fd : pipe_) {
    ::fcntl(fd, F_SETFD, FD_CLOEXEC);
    ::fcntl(fd, F_SETFL, O_NONBLOCK);
  }
  handler_pipe = pipe_[1];
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  for (int number : signals) {
    struct sigaction before {};
    ::sigaction(number, nullptr, &before);
    if (before.sa_handler == SIG_IGN) continue;
    ::sigaction(number, &action, nullptr);
    before_.emplace_back(number, before);
  }
}

SignalPipe::~SignalPipe() {
  for (auto& [number, action] : before_) ::sigaction(number, &action, nullptr);
  handler_pipe = -1;
  for (int fd : pipe_)
    if (fd >= 0) ::close(fd);
}

int SignalPipe::next() const {
  char byte = 0;
  return ::read(pipe_[0], &byte, 1) == 1 ? byte : 0;
}

void SignalPipe::wake(int number) const {
  char byte = static_cast<char>(number);
  [[maybe_unused]] auto written = ::write(pipe_[1], &byte, 1);
}

}  // namespace spell::cli
