#include "proc/run.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <thread>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/pipe.hpp"

namespace spell::proc {

namespace {

constexpr std::size_t input_limit = 4096;  // fits into a pipe at once

/// What is there to be read; false: nothing comes any more.
bool drain(int fd, std::string& into) {
  for (;;) {
    char buffer[16384];
    ssize_t n = ::read(fd, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return n < 0 && errno == EAGAIN;
    into.append(buffer, static_cast<std::size_t>(n));
  }
}

}  // namespace

Result<Ended> run(const RunOptions& options) {
  if (options.input.size() > input_limit)
    return base::error("too_large", "a program is told at most 4096 bytes");
  base::Pipe pipes[4];  // input, output, errors; the last one closes with the program's end
  for (auto& pipe : pipes) {
    auto made = base::make_pipe();
    if (!made) return made.error();
    pipe = std::move(*made);
  }
  auto& [input, output, errors, end] = pipes;
  if (!options.input.empty()) SPELL_TRY(base::write_all(input.write.get(), options.input));
  input.write.reset();
  auto spawning = options.spawn;
  spawning.descriptors = {{input.read.get(), 0}, {output.write.get(), 1}, {errors.write.get(), 2}};
  auto pid = spawn(spawning);
  if (!pid) return pid.error();
  input.read.reset();
  output.write.reset();
  errors.write.reset();
  for (auto* pipe : {&output, &errors}) ::fcntl(pipe->read.get(), F_SETFL, O_NONBLOCK);

  auto kill_all = [&] { ::kill(options.spawn.new_session ? -*pid : *pid, SIGKILL); };
  std::thread waiter([&] {
    siginfo_t info{};
    // It stays a zombie, so that its number is nobody else's.
    while (::waitid(P_PID, static_cast<id_t>(*pid), &info, WEXITED | WNOWAIT) < 0 &&
           errno == EINTR) {
    }
    end.write.reset();
  });
  Ended ended;
  std::int64_t until = base::boot_ns() / 1'000'000 + options.limit.count();
  for (bool killed = false;;) {
    pollfd events[] = {{end.read.get(), POLLIN, 0},
                       {output.read ? output.read.get() : -1, POLLIN, 0},
                       {errors.read ? errors.read.get() : -1, POLLIN, 0},
                       {killed ? -1 : options.stop_fd, POLLIN, 0}};
    std::int64_t left = std::max<std::int64_t>(0, until - base::boot_ns() / 1'000'000);
    int ready =
        ::poll(events, 4, killed ? -1 : static_cast<int>(std::min<std::int64_t>(left, INT_MAX)));
    if (ready < 0 && errno == EINTR) continue;
    bool over = events[0].revents != 0;
    if (output.read && !drain(output.read.get(), ended.output)) output.read.reset();
    if (errors.read && !drain(errors.read.get(), ended.errors)) errors.read.reset();
    if (ended.errors.size() > options.error_limit)
      ended.errors.erase(0, ended.errors.size() - options.error_limit);
    if (over) break;
    if (killed) continue;
    if (ended.output.size() > options.output_limit)
      ended.how = Ended::How::talked_too_much;
    else if (events[3].revents != 0)
      ended.how = Ended::How::stopped;
    else if (ready == 0)
      ended.how = Ended::How::timed_out;
    else
      continue;
    kill_all();
    killed = true;
    output.read.reset();  // what it still says is of no interest
  }
  waiter.join();
  if (options.spawn.new_session) kill_all();  // whom it has left behind
  int status = 0;
  while (::waitpid(*pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (ended.how == Ended::How::exited && WIFSIGNALED(status)) ended.how = Ended::How::signalled;
  ended.code = WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status);
  return ended;
}

}  // namespace spell::proc
