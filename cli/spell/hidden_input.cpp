#include "hidden_input.hpp"

#include <termios.h>
#include <unistd.h>

#include <cerrno>

#include "text.hpp"

namespace spell::cli {

namespace {

/// The terminal without echo, as long as this lives.
class NoEcho {
 public:
  NoEcho() {
    on_ = ::tcgetattr(0, &before_) == 0;
    termios quiet = before_;
    quiet.c_lflag &= ~static_cast<tcflag_t>(ECHO);
    if (on_) ::tcsetattr(0, TCSADRAIN, &quiet);
  }
  ~NoEcho() {
    if (on_) ::tcsetattr(0, TCSADRAIN, &before_);
  }
  NoEcho(const NoEcho&) = delete;
  NoEcho& operator=(const NoEcho&) = delete;

 private:
  termios before_{};
  bool on_ = false;
};

/// Up to the end, or with `line` to the first line's end, which is not taken along.
Result<std::string> read_input(int in, bool line, std::size_t limit) {
  std::string text;
  char piece[4096];
  for (;;) {
    ssize_t n = ::read(in, piece, line ? 1 : sizeof piece);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return usage_error("standard input cannot be read");
    if (n == 0 || (line && piece[0] == '\n')) break;
    text.append(piece, static_cast<std::size_t>(n));
    if (text.size() > limit + 2)
      return usage_error("standard input has more than " + std::to_string(limit) + " bytes");
  }
  if (!line && text.ends_with('\n')) text.pop_back();
  if (text.ends_with('\r')) text.pop_back();
  return text;
}

}  // namespace

Result<std::string> ask_hidden(Context& context, std::string_view question) {
  if (!context.out.terminal().can_ask)
    return usage_error("nobody can be asked here; give it on standard input");
  NoEcho unseen;  // before the question: nobody's answer is shown, however quick it comes
  context.out.write_error(std::string(question) + " ");
  return read_input(context.out.streams().in, true, 64 << 10);
}

Result<std::string> read_hidden(Context& context, std::string_view question, std::size_t limit) {
  return ::isatty(context.out.streams().in) ? ask_hidden(context, question)
                                            : read_input(context.out.streams().in, false, limit);
}

}  // namespace spell::cli
