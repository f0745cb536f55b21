#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <optional>
#include <stop_token>
#include <thread>
#include <tuple>

#include "command.hpp"
#include "raw_terminal.hpp"
#include "signal_pipe.hpp"
#include "text.hpp"

namespace spell::cli {

namespace {

constexpr int enough = 127;  // no signal has this number

/// What goes to the command while it runs: what is typed, signals, the terminal's size. A thread
/// for what is typed, which waits while the command does not take it, and one for the others, which
/// must not. When this is gone nothing more goes there.
class Input {
 public:
  Input(Session& session, int in, int out) : session_(session), in_(in), out_(out) {
    if (::pipe(wake_) == 0)
      for (int fd : wake_) ::fcntl(fd, F_SETFD, FD_CLOEXEC);
    typed_ = std::thread([this] { pass_typed(); });
    told_ = std::thread([this] { pass_signals(); });
  }
  ~Input() {
    stop_.request_stop();
    signals_.wake(enough);
    ::close(wake_[1]);
    typed_.join();
    told_.join();
    ::close(wake_[0]);
  }
  Input(const Input&) = delete;
  Input& operator=(const Input&) = delete;

 private:
  void pass_typed() {
    char buffer[32 * 1024];
    for (;;) {
      pollfd files[] = {{in_, POLLIN, 0}, {wake_[0], POLLIN, 0}};
      if (::poll(files, 2, -1) < 0) continue;
      if (files[1].revents != 0) return;
      ssize_t n = ::read(in_, buffer, sizeof buffer);
      if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
      if (n <= 0) return session_.close_input();
      CallOptions call{.timeout = {}, .stop = stop_.get_token()};
      if (!session_.write({buffer, static_cast<std::size_t>(n)}, call)) return;
    }
  }

  void pass_signals() {
    auto resize = [this] {
      auto [columns, rows] = terminal_size(out_);
      session_.resize(columns, rows);
    };
    resize();  // it may have changed since it was asked
    for (;;) {
      pollfd file{signals_.fd(), POLLIN, 0};
      if (::poll(&file, 1, -1) < 0) continue;
      while (int number = signals_.next()) {
        if (number == enough) return;
        if (number == SIGWINCH)
          resize();
        else
          session_.signal(number);
      }
    }
  }

  Session& session_;
  const int in_, out_;
  SignalPipe signals_{SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH};
  int wake_[2] = {-1, -1};
  std::stop_source stop_;
  std::thread typed_, told_;
};

}  // namespace

Result<int> exec_command(Context& context) {
  Options options("exec", "[OPTIONS] ID COMMAND [ARGS]...",
                  "Runs a command inside a running run: it sees the same files, processes and "
                  "variables. It ends\n"
                  "with the run, and with this program. Ends with the command's exit code.");
  Words words, env;
  bool terminal = false;
  options.command(words)
      .flag("-t,--tty", terminal, "give it a terminal, for shells and editors")
      .list("-e,--env", env, "NAME[=VALUE]",
            "a variable for the command; NAME alone takes its value here")
      .notes(
          "Options stand before ID. A single word goes to the shell as it is; several are "
          "quoted.\n\n"
          "Examples:\n  spell exec -t 7 bash\n  spell exec 7 nvidia-smi\n"
          "  spell exec 7 'cat > notes.txt' < notes.txt\n");
  if (auto done = context.parse(options)) return *done;
  if (words.size() < 2)
    return usage_error("give a run's number and a command (see spell exec --help)");
  auto number = parse_run_id(words[0]);
  if (!number) return number.error();
  ExecOptions how;
  how.terminal = terminal;
  for (auto& text : env) {
    auto variable = parse_env(text, [](const char* name) { return std::getenv(name); });
    if (!variable) return variable.error();
    how.env.insert(*variable);
  }
  auto& streams = context.out.streams();
  if (terminal) {
    std::tie(how.columns, how.rows) = terminal_size(streams.out);
    const char* kind = std::getenv("TERM");
    how.env.emplace("TERM", kind && *kind ? kind : "xterm");
  }
  auto client = context.client();
  if (!client) return client.error();
  auto run = client->runs().get(*number);
  if (!run) return run.error();
  auto session = run->exec(join_command({words.begin() + 1, words.end()}), how);
  if (!session) return session.error();

  std::optional<RawTerminal> raw;
  if (terminal) raw.emplace(streams.in);
  Input input(*session, streams.in, streams.out);
  for (;;) {
    auto piece = session->read();
    if (!piece) return piece.error();
    if (!*piece) break;
    if ((*piece)->is_stderr)
      context.out.write_error((*piece)->bytes);
    else
      context.out.write((*piece)->bytes);
  }
  auto exit = session->wait();
  if (!exit) return exit.error();
  return exit->code;
}

}  // namespace spell::cli
