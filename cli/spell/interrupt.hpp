// ^C as a stop request: while one of these lives, SIGINT asks for a stop instead of ending the
// program; a second one ends it. One at a time.
#pragma once
#include <stop_token>
#include <thread>

namespace spell::cli {

class Interrupt {
 public:
  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  std::stop_token token() const { return source_.get_token(); }
  bool happened() const { return source_.stop_requested(); }

 private:
  std::stop_source source_;
  int pipe_[2] = {-1, -1};
  std::thread listener_;
};

}  // namespace spell::cli
