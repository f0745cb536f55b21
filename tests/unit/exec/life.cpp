// What a run is told of its command's life: exit, signals, stop, kill, timeout, and what it starts
// with.
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "base/clock.hpp"
#include "base/file.hpp"
#include "base/text.hpp"
#include "runs.hpp"

using namespace spell;
using namespace spell::exec;
using namespace spell::exec::testing;

TEST_CASE("a command's end is reported as a shell would") {
  auto level = GENERATE(from_range(levels()));
  CAPTURE(name_of(level));
  struct Case {
    const char* command;
    int code, signal;
  };
  auto [command, code, signal] =
      GENERATE(Case{"true", 0, 0}, Case{"exit 7", 7, 0}, Case{"kill -9 $$", 137, 9},
               Case{"kill -SEGV $$", 139, 11}, Case{"no-such-program", 127, 0},
               Case{"/etc/passwd", 126, 0}, Case{"exec no-such-program", 127, 0});
  Scratch scratch;
  auto state = run(launch(scratch.run_folder(), command, level));
  REQUIRE(state.phase == State::Phase::ended);
  CHECK(state.exit->code == code);
  CHECK(state.exit->signal.value_or(0) == signal);
  CHECK(state.exit->ended_by == "");
  CHECK(state.exit->error == "");
  CHECK(state.started_us > 0);
  CHECK(state.exit->time_us >= state.started_us);
  CHECK(state.containment == name_of(level));
}

TEST_CASE("a run leaves its spool and its lock file, no mount and no socket") {
  Scratch scratch;
  auto before = *base::read_file("/proc/self/mountinfo");
  auto folder = scratch.run_folder();
  auto state = run(
      launch(folder, "echo hello > $SPELL_ROOT/file; echo $SPELL_ROOT $TMPDIR; touch $TMPDIR/t"));
  CHECK(*base::read_file("/proc/self/mountinfo") == before);
  CHECK(*base::read_file(folder + "/spell/file") == "hello\n");
  CHECK(base::exists(folder + "/tmp/t"));
  CHECK_FALSE(base::exists(folder + "/sock"));
  CHECK(run_program({"/bin/sh", "-c",
                     "[ \"$(cd " + folder + "; echo *)\" = 'lock spell spool tmp' ]"}) == 0);
  if (best_level() != Containment::best_effort)
    CHECK(output_of(folder).all == "/spell /spell-tmp\n");
}

TEST_CASE("a folder's kept lock becomes the lock of its next run, and never one in use") {
  Scratch scratch;
  auto folder = scratch.run_folder();
  auto inode = [&](const char* name) {
    struct stat st;
    return ::stat((folder + name).c_str(), &st) == 0 ? st.st_ino : 0;
  };
  REQUIRE(base::write_file(folder + "/lock.kept", ""));
  auto kept = inode("/lock.kept");
  auto first = start(launch(folder, "exec sleep 1000"));
  CHECK(inode("/lock") == kept);
  CHECK(inode("/lock.kept") == 0);
  REQUIRE(base::write_file(folder + "/lock.kept", ""));
  CHECK(Supervised::start(launch(folder, "true")).error().code() == "in_use");
  CHECK(inode("/lock") == kept);
  REQUIRE(first.kill().ok());
  CHECK(finish(first).exit->signal == 9);
}

TEST_CASE("a run starts in its working folder; one that is not there is said") {
  auto level = GENERATE(from_range(levels()));
  CAPTURE(name_of(level));
  Scratch scratch;
  auto there = launch(scratch.run_folder("a"), "[ $PWD = $SPELL_ROOT/sub/deep ]", level);
  REQUIRE(base::make_folders(there.folder + "/spell/sub/deep").ok());
  there.working_folder = "sub/deep";
  CHECK(run(there).exit->code == 0);

  auto missing = launch(scratch.run_folder("b"), "echo started", level);
  missing.working_folder = "nowhere";
  auto state = run(missing);
  REQUIRE(state.exit);
  CHECK_FALSE(state.exit->code);
  CHECK(state.exit->error_code == "no_such_folder");
  CHECK(state.exit->error.find("nowhere") != std::string::npos);
  CHECK(state.output_bytes == 0);
}

TEST_CASE("a command starts with a clean slate") {
  auto level = GENERATE(from_range(levels()));
  CAPTURE(name_of(level));
  Scratch scratch;
  int leak = ::open("/dev/null", O_RDONLY);  // without close-on-exec
  mode_t mask = ::umask(077);
  struct sigaction ignore {
  }, before{};
  ignore.sa_handler = SIG_IGN;
  REQUIRE(::sigaction(SIGUSR2, &ignore, &before) == 0);
  auto what = launch(
      scratch.run_folder(),
      "echo; ls /proc/self/fd | tr '\\n' ' '; echo; tr '\\0' '\\n' < /proc/$$/environ | sort; "
      "umask; readlink /proc/$$/fd/0;"
      "[ $(cut -d' ' -f6 /proc/$$/stat) = $$ ] && echo own session;"
      "grep -E '^Sig(Blk|Ign)' /proc/self/status | sed 's/.*\\(.\\{7\\}\\)$/\\1/'; ulimit -n",
      level);
  what.env = {"PATH=/usr/bin:/bin", "EMPTY=", "LINES=a\nb", "EQUAL=a=b"};
  auto state = run(what);
  ::sigaction(SIGUSR2, &before, nullptr);
  ::umask(mask);
  ::close(leak);
  CHECK(state.exit->code == 0);
  bool fenced = level != Containment::best_effort;
  std::string root = fenced ? "/spell" : what.folder + "/spell",
              tmp = fenced ? "/spell-tmp" : what.folder + "/tmp";
  std::vector<std::string> env = {
      "EMPTY=",        "EQUAL=a=b", "LINES=a", "PATH=/usr/bin:/bin", "SPELL_ROOT=" + root,
      "TMPDIR=" + tmp, "b"};
  auto lines = base::split(output_of(what.folder).all, '\n');
  REQUIRE(lines.size() == 2 + env.size() + 7);
  CHECK(lines[1] == "0 1 2 3 ");  // 3 is the folder that ls reads
  auto after = lines.begin() + 2 + static_cast<long>(env.size());
  std::vector<std::string> got(lines.begin() + 2, after);
  std::sort(got.begin(), got.end());
  CHECK(got == env);
  // Of the signals the first 28 count: 32 and 33 are the C library's own.
  CHECK(std::vector<std::string>(after, lines.end()) ==
        std::vector<std::string>{"0022", "/dev/null", "own session", "0000000", "0000000", "1024",
                                 ""});
}

TEST_CASE("stop lets the command finish in its own way") {
  auto level = GENERATE(from_range(levels()));
  CAPTURE(name_of(level));
  Scratch scratch;
  auto folder = scratch.run_folder();
  auto run = start(launch(
      folder, "trap 'echo saving; exit 3' TERM; echo ready; while :; do sleep 0.01; done", level));
  REQUIRE(await_output(run, folder, "ready"));
  REQUIRE(run.stop("budget").ok());
  REQUIRE(run.stop("again").ok());
  auto state = finish(run);
  CHECK(state.exit->code == 3);
  CHECK_FALSE(state.exit->signal);
  CHECK(state.exit->ended_by == "budget");
  CHECK(output_of(folder).all.find("saving\n") != std::string::npos);
  CHECK(run.stop().ok());
}

TEST_CASE("a command that does not heed a stop is killed after the grace, or by a kill at once") {
  auto level = GENERATE(from_range(levels()));
  bool by_kill = GENERATE(false, true);
  CAPTURE(name_of(level), by_kill);
  Scratch scratch;
  auto what =
      launch(scratch.run_folder(), "trap '' TERM; echo ready; while :; do sleep 0.01; done", level);
  what.stop_grace_s = by_kill ? 1000 : 1;
  auto run = start(what);
  REQUIRE(await_output(run, what.folder, "ready"));
  REQUIRE(run.stop().ok());
  if (by_kill) REQUIRE(run.kill().ok());
  auto state = finish(run);
  CHECK(state.exit->code == 137);
  CHECK(state.exit->signal == 9);
  CHECK(state.exit->ended_by == (by_kill ? "kill" : "stop"));
}

TEST_CASE("a stop before the command has started is not lost") {
  Scratch scratch;
  auto run = start(launch(scratch.run_folder(), "exec sleep 1000"));
  REQUIRE(run.stop().ok());
  auto state = finish(run);
  CHECK(state.exit->signal == SIGTERM);
  CHECK(state.exit->ended_by == "stop");
}

TEST_CASE("a run that takes too long is stopped") {
  Scratch scratch;
  auto what = launch(scratch.run_folder(), "exec sleep 1000");
  what.timeout_s = 1;
  auto state = run(what);
  CHECK(state.exit->signal == SIGTERM);
  CHECK(state.exit->ended_by == "timeout");
  CHECK(state.exit->time_us - state.started_us >= 1'000'000);
}

TEST_CASE("SIGTERM to the supervisor, as at a shutdown, stops the run and records its end") {
  Scratch scratch;
  auto folder = scratch.run_folder();
  auto run = start(launch(folder, "trap 'exit 4' TERM; echo ready; while :; do sleep 0.01; done"));
  REQUIRE(await_output(run, folder, "ready"));
  REQUIRE(::kill(supervisor_pid(folder), SIGTERM) == 0);
  auto state = finish(run);
  CHECK(state.exit->code == 4);
  CHECK(state.exit->ended_by == "shutdown");
}

TEST_CASE("nothing of a run outlives it") {
  auto level = GENERATE(from_range(levels()));
  std::string end = GENERATE("itself", "stop", "kill");
  CAPTURE(name_of(level), end);
  Scratch scratch;
  auto folder = scratch.run_folder();
  auto seconds = unique_sleep();
  auto script =
      "sleep S & nohup sleep S >/dev/null 2>&1 & setsid sleep S & (setsid sh -c 'sleep S & sleep "
      "S' & );"
      "(trap '' TERM HUP; exec sleep S) & echo ready; " +
      std::string(end == "itself" ? "exit 5" : "wait");
  for (std::size_t at; (at = script.find(" S")) != std::string::npos;)
    script.replace(at, 2, " " + seconds);
  auto run = start(launch(folder, script, level));
  REQUIRE(await_output(run, folder, "ready"));
  if (end == "stop") REQUIRE(run.stop().ok());
  if (end == "kill") REQUIRE(run.kill().ok());
  auto state = finish(run);
  CHECK(state.phase == State::Phase::ended);
  if (end == "itself") CHECK(state.exit->code == 5);
  CHECK(processes_with(seconds) == 0);
}

TEST_CASE("a folder is used for one run") {
  Scratch scratch;
  auto folder = scratch.run_folder();
  auto first = start(launch(folder, "exec sleep 1000"));
  auto second = Supervised::start(launch(folder, "true"));
  REQUIRE(!second.ok());
  CHECK(second.error().code() == "in_use");
  REQUIRE(first.kill().ok());
  finish(first);
  CHECK(Supervised::start(launch(folder, "true")).error().code() == "in_use");
}

TEST_CASE("a launch that cannot be is refused") {
  Scratch scratch;
  auto what = launch(scratch.run_folder(), std::string("echo \0", 6));
  CHECK(Supervised::start(what).error().code() == "invalid_request");
  what = launch(scratch.path() + "/nowhere", "true");
  CHECK(!Supervised::start(what).ok());
  what.supervisor = "/nowhere/spell-supervisor";
  CHECK(Supervised::start(what).error().message().find("/nowhere/spell-supervisor") !=
        std::string::npos);
}

TEST_CASE("a lease that is not renewed ends the tree, whoever is there to say so") {
  auto level = GENERATE(from_range(levels()));
  CAPTURE(name_of(level));
  Scratch scratch;
  auto now = base::boot_ns() / 1000;
  auto sleep = unique_sleep();
  auto what =
      launch(scratch.run_folder(), "trap '' TERM; sleep " + sleep + " & sleep " + sleep, level);
  what.lease_until_us = now + 300'000;
  { auto begun = start(what); }
  auto run = Supervised::attach(what.folder);
  REQUIRE(run);
  auto state = finish(*run);
  REQUIRE(state.exit);
  CHECK(state.exit->ended_by == "lease_expired");
  CHECK(state.exit->signal == 9);
  CHECK(state.exit->stopped_us >= what.lease_until_us);
  CHECK(state.exit->started_us == state.started_us);
  CHECK(processes_with(sleep) == 0);
}

TEST_CASE("what has no lease any more when it is to begin is not begun") {
  auto level = GENERATE(from_range(levels()));
  CAPTURE(name_of(level));
  Scratch scratch;
  auto what = launch(scratch.run_folder(), "touch $SPELL_ROOT/began", level);
  what.lease_until_us = base::boot_ns() / 1000;
  auto state = exec::testing::run(what);
  REQUIRE(state.exit);
  CHECK(state.exit->ended_by == "lease_expired");
  CHECK(state.started_us == 0);
  CHECK_FALSE(base::exists(what.folder + "/spell/began"));
}

TEST_CASE("a lease that is renewed goes on, until it is not") {
  Scratch scratch;
  auto what = launch(scratch.run_folder(), "read -r line < $SPELL_ROOT/gate; exit 3");
  REQUIRE(::mkfifo((what.folder + "/spell/gate").c_str(), 0666) == 0);
  auto began = base::boot_ns() / 1000;
  what.lease_until_us = began + 60'000'000;
  auto run = start(what);
  REQUIRE(run.renew(began + 120'000'000).ok());
  // Less than before: what is said last counts.
  REQUIRE(run.renew(base::boot_ns() / 1000 + 50'000).ok());
  auto state = finish(run);
  CHECK(state.exit->ended_by == "lease_expired");
  CHECK(base::boot_ns() / 1000 < began + 60'000'000);

  auto other = launch(scratch.run_folder("other"), "exit 3");
  other.lease_until_us = base::boot_ns() / 1000 + 60'000'000;
  auto whole = exec::testing::run(other);
  CHECK(whole.exit->code == 3);
  CHECK(whole.exit->ended_by == "");
  CHECK(whole.exit->stopped_us == 0);
}

TEST_CASE("an allowance that is not extended stops the command, whoever is there to say so") {
  Scratch scratch;
  auto what = launch(scratch.run_folder(), "trap 'exit 5' TERM; while :; do sleep 0.01; done");
  what.stop_grace_s = 60;
  auto began = base::boot_ns() / 1000;
  what.allowed_until_us = began + 300'000;
  auto state = exec::testing::run(what);
  CHECK(state.exit->ended_by == "allowance");
  CHECK(state.exit->code == 5);
  CHECK(state.exit->stopped_us >= what.allowed_until_us);

  // Extended, and then there is one where none was.
  for (auto first : {std::int64_t{60'000'000}, std::int64_t{0}}) {
    auto other = launch(scratch.run_folder("other" + std::to_string(first)),
                        "trap 'exit 6' TERM; while :; do sleep 0.01; done");
    began = base::boot_ns() / 1000;
    if (first > 0) other.allowed_until_us = began + first;
    auto run = start(other);
    REQUIRE(run.allow(began + 120'000'000).ok());
    REQUIRE(run.allow(base::boot_ns() / 1000 + 50'000).ok());
    auto ended = finish(run);
    CHECK(ended.exit->ended_by == "allowance");
    CHECK(ended.exit->code == 6);
    CHECK(base::boot_ns() / 1000 < began + 60'000'000);
  }
  auto quick = launch(scratch.run_folder("quick"), "exit 3");
  quick.allowed_until_us = base::boot_ns() / 1000 + 60'000'000;
  auto whole = exec::testing::run(quick);
  CHECK(whole.exit->code == 3);
  CHECK(whole.exit->ended_by == "");
}

TEST_CASE("an end tells when it was asked for first") {
  Scratch scratch;
  auto what = launch(scratch.run_folder(),
                     "trap 'sleep 0.1; exit 5' TERM; echo ready; while :; do sleep 0.01; done");
  auto run = start(what);
  REQUIRE(await_output(run, what.folder, "ready"));
  auto before = base::boot_ns() / 1000;
  REQUIRE(run.stop().ok());
  auto state = finish(run);
  CHECK(state.exit->code == 5);
  CHECK(state.exit->stopped_us >= before);
  CHECK(state.exit->stopped_us <= state.exit->time_us - 90'000);
  CHECK(state.exit->started_us <= before);
}
