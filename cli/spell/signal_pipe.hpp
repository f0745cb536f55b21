// Signals as bytes to read, while one of these lives. One at a time.
#pragma once
#include <signal.h>

#include <initializer_list>
#include <utility>
#include <vector>

namespace spell::cli {

class SignalPipe {
 public:
  /// Those that are ignored from the start stay so.
  explicit SignalPipe(std::initializer_list<int> signals);
  ~SignalPipe();
  SignalPipe(const SignalPipe&) = delete;
  SignalPipe& operator=(const SignalPipe&) = delete;

  int fd() const { return pipe_[0]; }
  /// The number of the next signal, or of what wake() wrote; 0: none is there.
  int next() const;
  /// As if this signal had come; any thread.
  void wake(int number) const;

 private:
  int pipe_[2] = {-1, -1};
  std::vector<std::pair<int, struct sigaction>> before_;
};

}  // namespace spell::cli
