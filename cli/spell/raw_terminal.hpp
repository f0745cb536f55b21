// The terminal while something else speaks through it: every key goes on as it is.
#pragma once
#include <termios.h>

#include <utility>

namespace spell::cli {

/// Columns and rows; 80 and 24 where it does not say.
std::pair<int, int> terminal_size(int fd);

/// Nothing happens where `fd` is no terminal. One at a time.
class RawTerminal {
 public:
  explicit RawTerminal(int fd);
  ~RawTerminal();
  RawTerminal(const RawTerminal&) = delete;
  RawTerminal& operator=(const RawTerminal&) = delete;

 private:
  int fd_;
  bool changed_ = false;
  termios before_{};
};

}  // namespace spell::cli
