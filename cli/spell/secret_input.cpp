#include "secret_input.hpp"

#include <signal.h>
#include <termios.h>
#include <unistd.h>

namespace spell::cli {

namespace {

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

/// ^C is a character here, since the terminal makes no signal of it.
Result<std::string> read_line(int fd) {
  std::string line;
  char c = 0;
  while (line.size() < 4096 && ::read(fd, &c, 1) == 1 && c != '\n') {
    if (c == '\x03') return Error("canceled", "the question was not answered");
    line += c;
  }
  if (line.ends_with('\r')) line.pop_back();
  return line;
}

}  // namespace

Result<std::string> read_secret(Context& context, std::string_view question, bool from_stdin,
                                std::string_view option) {
  Output& out = context.out;
  if (from_stdin) return read_line(out.streams().in);
  if (!out.terminal().can_ask)
    return usage_error("there is no terminal to ask for the password on: " + std::string(option) +
                       " reads it from standard input");
  Result<std::string> line;
  {
    Silence silence(
        out.streams().in);  // before the question: no answer is shown, however quick it comes
    out.write_error(out.shown(question) + ": ");
    line = read_line(out.streams().in);
  }
  out.write_error("\n");
  return line;
}

Result<std::string> read_new_password(Context& context, bool from_stdin) {
  if (from_stdin) return read_secret(context, "", true);
  for (int attempt = 0; attempt < 3; ++attempt) {
    auto first = read_secret(context, "New password (at least 10 characters)", false);
    if (!first) return first;
    auto second = read_secret(context, "The same again", false);
    if (!second) return second;
    if (*first == *second) return first;
    context.out.warn("these were not the same");
  }
  return Error("canceled", "the password was not changed");
}

}  // namespace spell::cli
