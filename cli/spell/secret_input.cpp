#include "secret_input.hpp"

#include <signal.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>

#include "text.hpp"

namespace spell::cli {

namespace {

constexpr std::size_t most_typed = 4096;

/// What is typed is not shown while this lives. Signals that would leave the terminal so wait.
class Silence {
 public:
  explicit Silence(int terminal) : terminal_(terminal) {
    sigset_t blocked;
    sigemptyset(&blocked);
    for (int number : {SIGINT, SIGTERM, SIGHUP, SIGTSTP, SIGQUIT}) sigaddset(&blocked, number);
    ::pthread_sigmask(SIG_BLOCK, &blocked, &before_mask_);
    if (::tcgetattr(terminal_, &before_) != 0) return;
    termios silent = before_;
    silent.c_lflag &= ~static_cast<tcflag_t>(ECHO | ISIG);
    silent_ = ::tcsetattr(terminal_, TCSADRAIN, &silent) == 0;
  }
  ~Silence() {
    if (silent_) ::tcsetattr(terminal_, TCSADRAIN, &before_);
    ::pthread_sigmask(SIG_SETMASK, &before_mask_, nullptr);
  }
  Silence(const Silence&) = delete;
  Silence& operator=(const Silence&) = delete;

 private:
  int terminal_;
  termios before_{};
  sigset_t before_mask_{};
  bool silent_ = false;
};

enum class Upto { line, end };

/// The first line without its end, or all without the line's end at its end. ^C is a character
/// here, since a silenced terminal makes no signal of it.
Result<std::string> read_input(int in, Upto upto, std::size_t limit) {
  std::string text;
  char piece[4096];
  bool line = upto == Upto::line;
  for (;;) {
    ssize_t n = ::read(in, piece, line ? 1 : sizeof piece);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return usage_error("standard input cannot be read");
    if (n == 0 || (line && piece[0] == '\n')) break;
    if (line && piece[0] == '\x03') return Error("canceled", "the question was not answered");
    text.append(piece, static_cast<std::size_t>(n));
    if (text.size() > limit + 2)
      return usage_error("standard input has more than " + std::to_string(limit) + " bytes");
  }
  if (!line && text.ends_with('\n')) text.pop_back();
  if (text.ends_with('\r')) text.pop_back();
  return text;
}

Result<std::string> ask(Context& context, std::string_view question, std::string_view way_out) {
  Output& out = context.out;
  if (!out.terminal().can_ask)
    return usage_error("there is no terminal to ask on: " + std::string(way_out));
  Result<std::string> line;
  {
    // Before the question: no answer is shown, however quick it comes.
    Silence silence(out.streams().in);
    out.write_error(out.shown(question) + ": ");
    line = read_input(out.streams().in, Upto::line, most_typed);
  }
  out.write_error("\n");
  return line;
}

}  // namespace

Result<std::string> read_secret(Context& context, std::string_view question, std::size_t limit) {
  int in = context.out.streams().in;
  return ::isatty(in) ? ask(context, question, "give it on standard input")
                      : read_input(in, Upto::end, limit);
}

Result<std::string> read_password(Context& context, std::string_view question, bool from_stdin) {
  if (from_stdin) return read_input(context.out.streams().in, Upto::line, most_typed);
  return ask(context, question, "--password-stdin reads the password from standard input");
}

Result<std::string> read_new_password(Context& context, bool from_stdin) {
  if (from_stdin) return read_password(context, "", true);
  for (int attempt = 0; attempt < 3; ++attempt) {
    auto first = read_password(context, "New password (at least 10 characters)", false);
    if (!first) return first;
    auto second = read_password(context, "The same again", false);
    if (!second) return second;
    if (*first == *second) return first;
    context.out.warn("these were not the same");
  }
  return Error("canceled", "the password was not changed");
}

}  // namespace spell::cli
