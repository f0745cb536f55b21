#include "proc/run.hpp"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "base/fd.hpp"
#include "catch.hpp"

using namespace spell;
using How = proc::Ended::How;

namespace {

proc::RunOptions shell_run(const std::string& script) {
  proc::RunOptions options;
  options.spawn.arguments = {"/bin/sh", "-c", script};
  options.spawn.environment = {"PATH=/usr/bin:/bin"};
  options.spawn.new_session = true;
  return options;
}

proc::Ended ended(const proc::RunOptions& options) {
  auto out = proc::run(options);
  REQUIRE(out);
  return *out;
}

}  // namespace

TEST_CASE("a program is told its input, and what it says and how it ended is told") {
  auto options = shell_run("read -r line; echo got $line; echo oh >&2; exit 75");
  options.input = "a secret\n";
  auto end = ended(options);
  CHECK(end.how == How::exited);
  CHECK(end.code == 75);
  CHECK(end.output == "got a secret\n");
  CHECK(end.errors == "oh\n");
  end = ended(shell_run("kill -TERM $$"));
  CHECK(end.how == How::signalled);
  CHECK(end.code == SIGTERM);
  CHECK(ended(shell_run("cat")).output.empty());  // the input ends
  options.input = std::string(5000, 'x');
  CHECK(proc::run(options).error().code() == "too_large");
  auto nobody = shell_run("");
  nobody.spawn.arguments = {"/nobody/is/here"};
  CHECK_FALSE(proc::run(nobody));
}

TEST_CASE("who takes too long, or talks too much, is killed with all that he has started") {
  auto options = shell_run("sleep 1000 & echo $!; sleep 1000");
  options.limit = std::chrono::milliseconds(100);
  auto end = ended(options);
  CHECK(end.how == How::timed_out);
  options = shell_run("sleep 1000 & echo $!");
  end = ended(options);
  CHECK(end.how == How::exited);
  auto child = static_cast<pid_t>(std::stoi(end.output));
  // Killed; gone when whoever reaps it has.
  while (::kill(child, 0) == 0) {
    char state = ' ';
    auto stat = base::open("/proc/" + std::to_string(child) + "/stat", O_RDONLY);
    char text[64] = {};
    if (!stat || ::read(stat->get(), text, sizeof text - 1) <= 0) break;
    state = std::string(text).substr(std::string(text).rfind(')') + 2)[0];
    if (state == 'Z' || state == 'X') break;
  }
  options = shell_run("while :; do echo much; done");
  options.output_limit = 1000;
  CHECK(ended(options).how == How::talked_too_much);
  options = shell_run("i=0; while [ $i -lt 2000 ]; do echo $i; i=$((i+1)); done >&2");
  options.error_limit = 100;
  end = ended(options);
  CHECK(end.errors.size() == 100);
  CHECK(end.errors.ends_with("1999\n"));
}

TEST_CASE("who is told to stop is killed") {
  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
  base::Fd read(ends[0]), write(ends[1]);
  auto options = shell_run("sleep 1000");
  options.stop_fd = read.get();
  write.reset();
  CHECK(ended(options).how == How::stopped);
}
