// The loss of the supervisor and of its init, a disk that is full, a service that is away.
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "../../unit/exec/runs.hpp"
#include "base/fd.hpp"
#include "base/file.hpp"
#include "exec/spool.hpp"

using namespace spell;
using namespace spell::exec;
using namespace spell::exec::testing;

namespace {

template <class Condition>
bool comes_true(Condition condition) {
  for (int tries = 0; tries < 6000; ++tries) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return false;
}

}  // namespace

TEST_CASE("kill -9 of the supervisor or of its init takes the whole tree with it") {
  auto level = GENERATE(from_range(levels()));
  bool dropped = GENERATE(false, true), of_init = GENERATE(false, true);
  CAPTURE(name_of(level), dropped, of_init);
  Scratch scratch;
  auto folder = scratch.run_folder();
  auto seconds = unique_sleep();
  auto script =
      "sleep S & setsid sleep S & (setsid sh -c 'trap \"\" TERM HUP; sleep S & sleep S' & ); echo "
      "ready; exec sleep S";
  std::string text = script;
  for (std::size_t at; (at = text.find(" S")) != std::string::npos;)
    text.replace(at, 2, " " + seconds);
  auto run = start(launch(folder, text, level));
  REQUIRE(await_output(run, folder, "ready"));
  int victim = of_init ? read_lock(folder)->init : supervisor_pid(folder);
  REQUIRE(victim > 0);
  if (dropped) {
    { auto gone = std::move(run); }
    REQUIRE(::kill(victim, SIGKILL) == 0);
    REQUIRE(comes_true([&] { return !read_lock(folder)->held; }));
    auto again = Supervised::attach(folder);
    REQUIRE(again.ok());
    run = std::move(*again);
  } else {
    REQUIRE(::kill(victim, SIGKILL) == 0);
  }
  auto state = finish(run);
  CHECK(state.phase == State::Phase::supervisor_lost);
  CHECK_FALSE(state.exit);
  CHECK(state.output_bytes == 6);
  CHECK(processes_with(seconds) == 0);
  CHECK(run.stop().ok());
}

TEST_CASE(
    "a supervisor or init killed at any moment leaves a spool that can be read, and no process") {
  bool of_init = GENERATE(false, true);
  for (int delay_us = 0; delay_us < 6000; delay_us += 300) {
    CAPTURE(delay_us, of_init);
    Scratch scratch;
    auto folder = scratch.run_folder();
    auto seconds = unique_sleep();
    auto run = start(launch(folder, "echo some output; exec sleep " + seconds));
    std::this_thread::sleep_for(std::chrono::microseconds(delay_us));
    // Both ids are written as one of its first acts.
    auto victim = [&] { return of_init ? read_lock(folder)->init : supervisor_pid(folder); };
    REQUIRE(comes_true([&] { return victim() > 0; }));
    REQUIRE(::kill(victim(), SIGKILL) == 0);
    auto state = finish(run);
    // Also where the fence was not whole yet: it is not tried again with a weaker one.
    CHECK(state.phase == State::Phase::supervisor_lost);
    CHECK(output_of(folder).gapless);
    CHECK(comes_true([&] { return processes_with(seconds) == 0; }));
  }
}

// Needs a mount of its own: run by the next case in a mount namespace.
TEST_CASE("as root: a disk that fills and is freed", "[.full]") {
  REQUIRE(::unshare(CLONE_NEWNS) == 0);
  REQUIRE(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0);
  Scratch scratch;
  auto disk = scratch.path() + "/disk";
  REQUIRE(base::make_folders(disk).ok());
  REQUIRE(::mount("small", disk.c_str(), "tmpfs", 0, "size=300k") == 0);
  auto folder = scratch.run_folder("disk/run");
  SECTION("the command waits, and then goes on") {
    auto run = start(launch(folder, "seq 1 200000"));
    CHECK(await_state(run, [](const State& state) { return state.log_full; }));
    REQUIRE(::mount("small", disk.c_str(), "tmpfs", MS_REMOUNT, "size=10m") == 0);
    auto state = finish(run);
    CHECK(state.exit->code == 0);
    CHECK(state.exit->ended_by == "");
    std::string expected;
    for (int i = 1; i <= 200000; ++i) expected += std::to_string(i) + "\n";
    CHECK((output_of(folder).all == expected));
    CHECK(output_of(folder).gapless);
  }
  SECTION("or is stopped, and what it wrote is still written when there is space") {
    auto what = launch(folder, "seq 1 1000000");
    what.log_wait_s = 1;
    auto run = start(what);
    CHECK(await_state(run, [](const State& state) { return state.log_full; }));
    CHECK(comes_true([] { return processes_with(std::string("seq\0001\0001000000", 13)) == 0; }));
    CHECK(run.state()->phase == State::Phase::running);
    REQUIRE(::mount("small", disk.c_str(), "tmpfs", MS_REMOUNT, "size=20m") == 0);
    auto state = finish(run);
    CHECK(state.exit->ended_by == "log_limit");
    auto output = output_of(folder);
    CHECK(output.gapless);
    // All of the pipe was kept: a full pipe is a mebibyte, and there was at most that on the disk
    // before.
    CHECK(output.all.size() > 1'000'000);
  }
  REQUIRE(::umount2(disk.c_str(), MNT_DETACH) == 0);
}

TEST_CASE("a full disk makes the command wait and loses nothing") {
  if (::geteuid() != 0 || run_program({"/usr/bin/unshare", "-m", "true"}) != 0) {
    WARN("skipped: mounts need root");
    return;
  }
  CHECK(run_program({self(), "[.full]"}) == 0);
}

TEST_CASE(
    "a run whose service is away at its end brings it back; one whose service lives does not") {
  Scratch scratch;
  auto lock = scratch.path() + "/service.lock";
  auto ended_with = [&](const std::string& name) {
    auto what = launch(scratch.run_folder(name), "read -r line < $SPELL_ROOT/gate");
    what.service_lock = lock;
    what.revive = {"/bin/sh", "-c",
                   "echo $0 > " + scratch.path() + "/revived-$0.new && mv " + scratch.path() +
                       "/revived-$0.new " + scratch.path() + "/revived-$0",
                   name};
    REQUIRE(run_program({"/usr/bin/mkfifo", what.folder + "/spell/gate"}) == 0);
    { auto run = start(what); }
    auto gate = base::open(what.folder + "/spell/gate", O_WRONLY);  // waits for the reader
    REQUIRE(gate.ok());
    REQUIRE(base::write_all(gate->get(), "go\n").ok());
    REQUIRE(comes_true([&] { return !read_lock(what.folder)->held; }));
  };
  {
    auto service = base::open(lock, O_RDWR | O_CREAT);
    REQUIRE(service.ok());
    REQUIRE(::flock(service->get(), LOCK_EX | LOCK_NB) == 0);
    ended_with("alive");
  }
  ended_with("away");
  CHECK(comes_true([&] { return base::exists(scratch.path() + "/revived-away"); }));
  CHECK_FALSE(base::exists(scratch.path() + "/revived-alive"));
}
