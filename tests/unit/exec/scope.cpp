// Runs as units of systemd of their own. Where systemd does not run this computer, or does not
// obey this user, they stay where their starter is.
#include <unistd.h>

#include <algorithm>

#include "exec/scope.hpp"
#include "runs.hpp"

using namespace spell;
using namespace spell::exec;
using namespace spell::exec::testing;

TEST_CASE("a run that asks for a scope runs, in it or not, and it is known which") {
  Scratch scratch;
  auto folder = scratch.run_folder();
  auto what = launch(folder, "cat /proc/self/cgroup; exit 7");
  what.scope = {"spell-test-" + std::to_string(::getpid()), "A run of a test", 10};
  auto run = start(what);
  auto state = finish(run);
  REQUIRE(state.phase == State::Phase::ended);
  CHECK(state.exit->code == 7);
  bool there = output_of(folder).all.find(what.scope.name + ".scope") != std::string::npos;
  CHECK(run.in_scope() == there);
}

TEST_CASE("a run that asks for none has none") {
  Scratch scratch;
  auto run = start(launch(scratch.run_folder(), "true"));
  CHECK_FALSE(run.in_scope());
  CHECK(finish(run).exit->code == 0);
}

TEST_CASE("only the main process of a unit asks for scopes") {
  ::setenv("SYSTEMD_EXEC_PID", std::to_string(::getpid() + 1).c_str(), 1);
  CHECK_FALSE(can_make_scopes());
  ::unsetenv("SYSTEMD_EXEC_PID");
  CHECK_FALSE(can_make_scopes());
}

TEST_CASE("a scope's command line ends with the program, and leaves nothing to its shell") {
  auto words =
      in_scope({"spell-run-7", "Run 7 of ada; $HOME", 40}, {"/program", "--folder", "x y"});
  auto end = std::find(words.begin(), words.end(), "--");
  REQUIRE(end != words.end());
  CHECK(std::vector<std::string>(end + 1, words.end()) ==
        std::vector<std::string>{"/program", "--folder", "x y"});
  CHECK(std::count(words.begin(), end, "--unit=spell-run-7.scope") == 1);
  CHECK(std::count(words.begin(), end, "--description=Run 7 of ada; $HOME") == 1);
  CHECK(std::count(words.begin(), end, "--property=TimeoutStopSec=40") == 1);
}
