#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <optional>
#include <thread>
#include <tuple>

#include "command.hpp"
#include "raw_terminal.hpp"
#include "signal_pipe.hpp"
#include "text.hpp"

namespace spell::cli {

namespace {

constexpr int enough = 127;  // no signal has this number

/// What is typed, the terminal's size and signals, until told that it is enough.
void pass_on(Session& session, int in, int out, const SignalPipe& signals) {
  bool reading = true;
  char buffer[32 * 1024];
  for (;;) {
    pollfd files[] = {{signals.fd(), POLLIN, 0}, {reading ? in : -1, POLLIN, 0}};
    if (::poll(files, 2, -1) < 0) continue;
    while (int number = signals.next()) {
      if (number == enough) return;
      if (number != SIGWINCH) {
        session.signal(number);
        continue;
      }
      auto [columns, rows] = terminal_size(out);
      session.resize(columns, rows);
    }
    if (files[1].revents == 0) continue;
    ssize_t n = ::read(in, buffer, sizeof buffer);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n <= 0) {
      reading = false;
      session.close_input();
    } else if (!session.write({buffer, static_cast<std::size_t>(n)})) {
      reading = false;
    }
  }
}

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

  SignalPipe signals({SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH});
  std::optional<RawTerminal> raw;
  if (terminal) {
    raw.emplace(streams.in);
    signals.wake(SIGWINCH);  // it may have changed since it was asked
  }
  std::thread input([&] { pass_on(*session, streams.in, streams.out, signals); });
  struct Join {
    const SignalPipe& signals;
    std::thread& thread;
    ~Join() {
      signals.wake(enough);
      thread.join();
    }
  } join{signals, input};
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
