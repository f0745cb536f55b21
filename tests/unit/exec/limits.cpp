// Limits of memory and cores: where control groups can be made, by what the kernel says of v1, v2
// and containers, on trees of plain files; and real runs under real limits, where this machine lets
// its user make groups.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "base/fd.hpp"
#include "base/file.hpp"
#include "base/text.hpp"
#include "exec/guest.hpp"
#include "exec/limits.hpp"
#include "exec/spec.hpp"
#include "exec/spool.hpp"
#include "proc/spawn.hpp"
#include "runs.hpp"
#include "supervisor/protocol.hpp"

using namespace spell;
using namespace spell::exec;
using namespace spell::exec::testing;

namespace {

constexpr std::int64_t mebi = 1 << 20;

void make_file(const std::string& path, const std::string& text) {
  REQUIRE(base::make_folders(path.substr(0, path.rfind('/')), 0755).ok());
  REQUIRE(base::write_file(path, text, 0644, false).ok());
}

std::string text_of(const std::string& path) {
  auto text = base::read_file(path, 1 << 16);
  return text ? std::string(base::trim(*text)) : "there is no " + path;
}

/// A machine of plain files: what the kernel would say of a process on it, and its hierarchies.
struct Made {
  Scratch scratch;
  std::string top = scratch.path() + "/fs", process = scratch.path() + "/process", mounts;
  void mount(const std::string& at, const std::string& type, const std::string& options,
             const std::string& root = "/") {
    mounts += "31 23 0:28 " + root + " " + top + at + " rw,relatime shared:9 - " + type +
              " none rw," + options + "\n";
    REQUIRE(base::make_folders(top + at, 0755).ok());
  }
  void unified(const std::string& at, const std::string& controllers,
               const std::string& passed = "") {
    make_file(top + at + "/cgroup.controllers", controllers + "\n");
    make_file(top + at + "/cgroup.subtree_control", passed);
    make_file(top + at + "/cgroup.procs", "");
  }
  GroupPlaces find(const std::string& cgroup) {
    make_file(process + "/cgroup", cgroup);
    make_file(process + "/mountinfo", "22 1 8:1 / / rw - ext4 /dev/sda rw\n" + mounts);
    return find_groups(process);
  }
};

}  // namespace

TEST_CASE("of v1 each controller has a hierarchy, alone or with others") {
  Made made;
  made.mount("/memory", "cgroup", "memory");
  made.mount("/cpu,cpuacct", "cgroup", "cpuacct,cpu");
  made.mount("/unified", "cgroup2", "nsdelegate");
  for (auto* path : {"/memory/box/a:b", "/cpu,cpuacct/box"})
    REQUIRE(base::make_folders(made.top + path, 0755).ok());
  auto found = made.find("4:memory:/box/a:b\n2:cpu,cpuacct:/box\n1:name=systemd:/x\n0::/x\n");
  CHECK(found.memory.folder == made.top + "/memory/box/a:b");
  CHECK(found.cpu.folder == made.top + "/cpu,cpuacct/box");
  CHECK_FALSE(found.memory.unified);
  CHECK(found.memory.why_not == "");
}

TEST_CASE("v2 has all in one, also beside hierarchies of v1 that lack what is asked for") {
  Made made;
  made.mount("", "cgroup2", "nsdelegate");
  made.unified("/unit.service", "cpuset cpu io memory pids");
  auto found = made.find("0::/unit.service\n");
  CHECK(found.memory.folder == made.top + "/unit.service");
  CHECK(found.cpu.folder == found.memory.folder);
  CHECK(found.memory.unified);
  CHECK_FALSE(found.memory.top);

  // A controller that the group was not given.
  made.unified("/unit.service", "memory");
  found = made.find("5:devices:/\n0::/unit.service\n");
  CHECK(found.memory.folder == made.top + "/unit.service");
  CHECK(found.cpu.folder == "");
  CHECK(found.cpu.why_not == "no control groups with the controller 'cpu' are to be had here");
}

TEST_CASE("a container sees a part of the hierarchies") {
  Made made;
  made.mount("/memory", "cgroup", "memory", "/docker/12");
  made.mount("", "cgroup2", "nsdelegate");
  made.unified("", "memory cpu");
  REQUIRE(base::make_folders(made.top + "/memory/inner", 0755).ok());
  CHECK(made.find("4:memory:/docker/12\n").memory.folder == made.top + "/memory");
  CHECK(made.find("4:memory:/docker/12/inner\n").memory.folder == made.top + "/memory/inner");
  CHECK(made.find("4:memory:/docker/123\n").memory.folder == "");
  CHECK(made.find("4:memory:/../other\n").memory.folder == "");
  auto own = made.find("0::/\n");
  CHECK(own.memory.folder == made.top);
  CHECK(own.memory.top);
  CHECK(made.find("0::/spell\n").memory.folder == made.top);  // it has made room before
  CHECK(made.find("0::/../other\n").memory.folder == "");
}

TEST_CASE("where no group can be made it is said why") {
  Made made;
  CHECK(made.find("").memory.why_not ==
        "no control groups with the controller 'memory' are to be had here");
  CHECK(made.find("4:memory:/\nnonsense\n0:\n").memory.why_not != "");
  made.mount("/memory", "cgroup", "memory");
  CHECK(made.find("4:memory:/gone\n").memory.why_not ==
        "cannot make a control group in " + made.top + "/memory/gone: No such file or directory");
  CHECK(find_groups(made.scratch.path() + "/nowhere").memory.why_not != "");
}

TEST_CASE("v2 is told its limits, and to end all of a group at once") {
  Made made;
  made.mount("", "cgroup2", "nsdelegate");
  made.unified("/unit", "memory cpu", "memory");
  auto places = made.find("0::/unit\n");
  auto run_folder = made.scratch.run_folder();
  auto groups = make_groups(places, "run-7", {64 * mebi, 3}, run_folder, 0);
  CHECK(not_limited(groups) == "");
  std::string folder = made.top + "/unit/run-7";
  CHECK(groups.folders == std::vector<std::string>{folder});
  CHECK(text_of(run_folder + "/groups") == folder);
  CHECK(text_of(folder + "/memory.max") == "67108864");
  CHECK(text_of(folder + "/memory.swap.max") == "0");
  CHECK(text_of(folder + "/memory.oom.group") == "1");
  CHECK(text_of(folder + "/cpu.max") == "300000 100000");
  CHECK(text_of(made.top + "/unit/cgroup.subtree_control").starts_with("+cpu"));
}

TEST_CASE("only what is asked for is limited, and what cannot be is said in one line") {
  Made made;
  made.mount("/memory", "cgroup", "memory");
  auto places = made.find("4:memory:/\n");
  auto run_folder = made.scratch.run_folder();
  CHECK(make_groups(places, "none", {}, run_folder, 0).folders.empty());
  CHECK_FALSE(base::exists(run_folder + "/groups"));

  auto groups = make_groups(places, "run-7", {64 * mebi, 0}, run_folder, 0);
  CHECK(not_limited(groups) == "");
  CHECK(text_of(made.top + "/memory/run-7/memory.limit_in_bytes") == "67108864");
  CHECK(text_of(made.top + "/memory/run-7/memory.memsw.limit_in_bytes") == "67108864");

  auto why = "no control groups with the controller 'cpu' are to be had here";
  CHECK(not_limited(make_groups(places, "run-8", {64 * mebi, 1}, run_folder, 0)) ==
        std::string("cores are not limited on this machine: ") + why);
  CHECK(not_limited(make_groups(made.find(""), "run-9", {mebi, 1}, run_folder, 0))
            .starts_with("memory and cores are not limited on this machine: no control groups"));
  CHECK(not_limited(make_groups(made.find(""), "run-9", {mebi, 0}, run_folder, 0))
            .starts_with("memory is not limited on this machine: "));
  // One that cannot be named in the run's folder would be left behind by a crash.
  auto unknown = make_groups(places, "run-10", {mebi, 0}, made.scratch.path() + "/nowhere", 0);
  CHECK(unknown.folders.empty());
  CHECK_FALSE(base::exists(made.top + "/memory/run-10"));
}

TEST_CASE("nobody needs a limit of more than there is") {
  auto cores = static_cast<std::int64_t>(std::max(1L, ::sysconf(_SC_NPROCESSORS_ONLN)));
  CHECK(limits_that_bind({64 * mebi, 0}).memory == 64 * mebi);
  CHECK(limits_that_bind({1LL << 60, cores}).any() == false);
  CHECK(limits_that_bind({0, 0}).any() == false);
}

// ---- real runs

namespace {

/// Whether runs can be limited here, as this user.
bool limits_here() {
  auto why = why_no_limits(false);
  if (why.empty()) return true;
  WARN("skipped: " << why);
  return false;
}

/// Uses more and more memory until it is ended.
const std::string hog = "tail /dev/zero";

struct Limited {
  Scratch scratch;
  Launch what;
  Limited(const std::string& command, Containment level, Limits limits) {
    what = launch(scratch.run_folder(), command, level);
    what.limits = limits;
  }
  std::vector<std::string> groups() const {
    return base::split(text_of(what.folder + "/groups"), '\n');
  }
  bool groups_there() const {
    for (auto& folder : groups())
      if (base::exists(folder)) return true;
    return false;
  }
  std::string output() const { return output_of(what.folder).all; }
};

}  // namespace

TEST_CASE("a run that is over its memory is ended as a whole, and that is known") {
  if (!limits_here()) return;
  for (auto level : levels()) {
    CAPTURE(name_of(level));
    auto sleeper = unique_sleep();
    // The one that is too large is a child alone; a daemon has nothing to do with either.
    Limited run(
        "(setsid sleep " + sleeper + " &); echo begin; " + hog + "; echo goes on; sleep " + sleeper,
        level, {64 * mebi, 0});
    auto state = testing::run(run.what);
    REQUIRE(state.phase == State::Phase::ended);
    CHECK(state.exit->ended_by == "memory");
    CHECK(state.exit->code == 137);
    CHECK(state.exit->signal == 9);
    CHECK(run.output().starts_with("begin\n"));
    CHECK(processes_with(sleeper) == 0);
    CHECK_FALSE(run.groups_there());
  }
}

TEST_CASE("the command itself may be the one that is over its memory") {
  if (!limits_here()) return;
  Limited run("exec " + hog, best_level(), {64 * mebi, 0});
  auto state = testing::run(run.what);
  CHECK(state.exit->ended_by == "memory");
  CHECK(state.exit->code == 137);
  CHECK_FALSE(run.groups_there());
}

TEST_CASE("one that has ended well beside a child that was over its memory has not ended well") {
  if (!limits_here()) return;
  Limited run("echo begin; read -r _ < gate; " + hog + "; exit 0", best_level(), {64 * mebi, 0});
  auto gate = run.what.folder + "/spell/gate";
  REQUIRE(::mkfifo(gate.c_str(), 0600) == 0);
  auto started = start(run.what);
  REQUIRE(await_output(started, run.what.folder, "begin"));
  // Its supervisor sees the end of the child and that of the command at once.
  auto lock = read_lock(run.what.folder);
  base::Fd init(static_cast<int>(::syscall(SYS_pidfd_open, lock->init, 0)));
  REQUIRE(::kill(lock->pid, SIGSTOP) == 0);
  {
    auto open = base::open(gate, O_WRONLY);
    REQUIRE(base::write_all(open->get(), "go\n").ok());
  }
  pollfd end{init.get(), POLLIN, 0};
  CHECK(::poll(&end, 1, 60'000) == 1);
  REQUIRE(::kill(lock->pid, SIGCONT) == 0);
  auto state = finish(started);
  CHECK(state.exit->ended_by == "memory");
  CHECK(state.exit->code == 137);
}

TEST_CASE("a run within its limits is left alone, and its supervisor is not in its groups") {
  if (!limits_here()) return;
  for (auto level : levels()) {
    CAPTURE(name_of(level));
    Limited run("cat /proc/self/cgroup; exit 7", level, {256 * mebi, 0});
    auto name = "spell-run-" + run.what.run_id;
    auto state = testing::run(run.what);
    CHECK(state.exit->code == 7);
    CHECK(state.exit->ended_by == "");
    CHECK(run.output().find("/" + name + "\n") != std::string::npos);
    CHECK_FALSE(run.groups_there());
  }
}

TEST_CASE("cores are limited where that is less than all of them") {
  if (!limits_here() || !find_groups("/proc/self").cpu.why_not.empty()) return;
  Limited run("cat /proc/self/cgroup; exec sleep 1000", best_level(), {0, 1});
  auto started = start(run.what);
  CHECK(started.not_limited() == "");
  REQUIRE(await_output(started, run.what.folder, "spell-run-" + run.what.run_id));
  REQUIRE(run.groups().size() == 1);
  auto folder = run.groups()[0];
  bool unified = base::exists(folder + "/cpu.max");
  CHECK(text_of(folder + (unified ? "/cpu.max" : "/cpu.cfs_quota_us")) ==
        (unified ? "100000 100000" : "100000"));
  // Neither the supervisor nor this process is in there.
  auto inside = base::split(text_of(folder + "/cgroup.procs"), '\n');
  for (auto process : {supervisor_pid(run.what.folder), static_cast<int>(::getpid())})
    CHECK(std::find(inside.begin(), inside.end(), std::to_string(process)) == inside.end());
  auto init = std::to_string(read_lock(run.what.folder)->init);
  CHECK(std::find(inside.begin(), inside.end(), init) != inside.end());
  REQUIRE(started.kill());
  finish(started);
  CHECK_FALSE(base::exists(folder));
}

TEST_CASE("a command that is let in is in the run's groups") {
  if (!limits_here()) return;
  Limited run("echo begin; exec sleep 1000", best_level(), {64 * mebi, 0});
  auto started = start(run.what);
  REQUIRE(await_output(started, run.what.folder, "begin"));
  GuestOptions options;
  options.command = hog;
  auto guest = Guest::start(*started.connection(), options);
  REQUIRE(guest);
  while (!guest->started()) {
    auto event = guest->event();
    REQUIRE(::poll(&event, 1, 60'000) == 1);
    auto next = guest->next();
    if (!next) FAIL(next.error().message());
  }
  CHECK(finish(started).exit->ended_by == "memory");
}

TEST_CASE("a supervisor that is killed leaves no group to whoever looks for the run") {
  if (!limits_here()) return;
  for (auto level : levels()) {
    CAPTURE(name_of(level));
    Limited run("echo begin; exec sleep 1000", level, {64 * mebi, 1});
    auto started = start(run.what);
    REQUIRE(await_output(started, run.what.folder, "begin"));
    REQUIRE(run.groups_there());
    ::kill(supervisor_pid(run.what.folder), SIGKILL);
    CHECK(finish(started).phase == State::Phase::supervisor_lost);
    CHECK_FALSE(run.groups_there());
  }
}

TEST_CASE("what is left in the groups of a run that is over is ended with them") {
  if (!limits_here()) return;
  Limited run("", best_level(), {64 * mebi, 0});
  auto made = make_groups(find_groups("/proc/self"), "spell-test-" + run.what.run_id,
                          {64 * mebi, 0}, run.what.folder, 0);
  REQUIRE(made.folders.size() == 1);
  auto sleeper = unique_sleep();
  REQUIRE(run_program({"/bin/sh", "-c",
                       "echo $$ > " + made.folders[0] + "/cgroup.procs; sleep " + sleeper +
                           " > /dev/null 2>&1 &"}) == 0);
  CHECK(processes_with(sleeper) > 0);
  remove_groups(run.what.folder);
  CHECK(processes_with(sleeper) == 0);
  CHECK_FALSE(run.groups_there());
}

TEST_CASE("a group that an earlier attempt has left makes room for the run's") {
  if (!limits_here()) return;
  Limited run("true", best_level(), {64 * mebi, 0});
  auto made = make_groups(find_groups("/proc/self"), "spell-run-" + run.what.run_id, {64 * mebi, 0},
                          run.what.folder, 0);
  REQUIRE(run.groups_there());
  CHECK(testing::run(run.what).exit->code == 0);
  CHECK_FALSE(run.groups_there());
}

TEST_CASE("a supervisor that cannot start leaves no group") {
  if (!limits_here()) return;
  Limited run("true", best_level(), {64 * mebi, 0});
  REQUIRE(base::write_file(run.what.folder + "/spool", "of another run", 0600, false).ok());
  CHECK(Supervised::start(run.what).error().code() == "in_use");
  CHECK_FALSE(run.groups_there());
}

TEST_CASE("a run that is ended for its memory while it is being stopped was stopped") {
  if (!limits_here()) return;
  Limited run("trap '" + hog + "' TERM; echo begin; while :; do sleep 1000 & wait; done",
              best_level(), {64 * mebi, 0});
  auto started = start(run.what);
  REQUIRE(await_output(started, run.what.folder, "begin"));
  REQUIRE(started.stop());
  auto state = finish(started);
  CHECK(state.exit->ended_by == "stop");
  CHECK(state.exit->code == 137);
}

TEST_CASE("who is within its limit is not ended for a group around it") {
  auto place = find_groups("/proc/self").memory;
  if (!limits_here() || place.unified) return;
  // Of v1 this process can be in a group that has others below it.
  std::string around = place.folder + "/spell-test-around-" + std::to_string(::getpid());
  REQUIRE(::mkdir(around.c_str(), 0755) == 0);
  auto set = [](const std::string& path, std::int64_t value) {
    auto file = base::open(path, O_WRONLY);
    return file && base::write_all(file->get(), std::to_string(value)).ok();
  };
  auto move_to = [&](const std::string& folder) {
    return set(folder + "/cgroup.procs", ::getpid());
  };
  REQUIRE(set(around + "/memory.limit_in_bytes", 100 * mebi));
  REQUIRE(move_to(around));
  Limited run(hog + "; echo goes on; exit 3", best_level(), {1000 * mebi, 0});
  auto state = testing::run(run.what);
  CHECK(move_to(place.folder));
  CHECK(state.exit->ended_by == "");
  CHECK(state.exit->code == 3);
  CHECK(run.output().ends_with("goes on\n"));
  CHECK(::rmdir(around.c_str()) == 0);
}

// ---- v2, as its kernel tells a supervisor

namespace {

/// A supervisor whose run is in this group of v2.
Supervised start_in(const std::string& group, const Launch& what) {
  SpecWriter spec;
  spec.put("run", what.run_id);
  spec.put("containment", static_cast<int>(what.containment));
  spec.put("command", what.command);
  for (auto& entry : what.env) spec.put("env", entry);
  spec.put("log_limit", 1000);
  spec.put("group", group);
  auto text = std::move(spec).finish();
  REQUIRE(text);
  auto file = file_with(*text);
  int ends[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0);
  base::Fd ours(ends[0]), theirs(ends[1]);
  proc::SpawnOptions options;
  options.arguments = {what.supervisor, what.folder};
  options.descriptors = {{file->get(), 0}, {theirs.get(), supervisor::client_descriptor}};
  options.new_session = true;
  REQUIRE(proc::spawn(options));
  theirs.reset();
  char word[supervisor::packet_limit];
  REQUIRE(::read(ours.get(), word, sizeof word) > 0);  // it stands
  ours.reset();
  auto run = Supervised::attach(what.folder);
  if (!run) FAIL(run.error().message());
  return std::move(*run);
}

std::string events(int oom, int killed) {
  return "low 0\nhigh 0\nmax 9\noom " + std::to_string(oom) + "\noom_kill " +
         std::to_string(killed) + "\noom_group_kill 0\n";
}

}  // namespace

TEST_CASE("of v2 the end of init and what the kernel has counted say what it was") {
  struct Row {
    int oom, killed;
    const char* ended_by;
    bool known;
  };
  for (auto row : {Row{1, 3, "memory", true}, Row{0, 3, "machine_memory", true},
                   Row{1, 0, "", false}, Row{0, 0, "", false}}) {
    CAPTURE(row.oom, row.killed);
    Scratch scratch;
    auto group = scratch.path() + "/group";
    make_file(group + "/cgroup.procs", "");
    make_file(group + "/memory.events", events(0, 0));
    auto what = launch(scratch.run_folder(), "echo begin; exec sleep 1000");
    auto run = start_in(group, what);
    REQUIRE(await_output(run, what.folder, "begin"));
    CHECK(text_of(group + "/cgroup.procs") == "0");                // by init itself
    auto counts = base::open(group + "/memory.events", O_WRONLY);  // the same file, as the kernel's
    REQUIRE(base::pwrite_all(counts->get(), events(row.oom, row.killed), 0).ok());
    REQUIRE(::kill(read_lock(what.folder)->init, SIGKILL) == 0);
    auto state = finish(run);
    if (!row.known) {
      CHECK(state.phase == State::Phase::supervisor_lost);
      continue;
    }
    REQUIRE(state.phase == State::Phase::ended);
    CHECK(state.exit->ended_by == row.ended_by);
    CHECK(state.exit->code == 137);
    CHECK(state.exit->signal == 9);
  }
}

TEST_CASE("who has ended by itself beside another's victim has ended as it says") {
  Scratch scratch;
  auto group = scratch.path() + "/group";
  make_file(group + "/cgroup.procs", "");
  make_file(group + "/memory.events", events(0, 1));
  auto what = launch(scratch.run_folder(), "exit 3");
  auto run = start_in(group, what);
  auto state = finish(run);
  CHECK(state.exit->ended_by == "");
  CHECK(state.exit->code == 3);
}

TEST_CASE("a run that cannot enter its group is not started") {
  Scratch scratch;
  auto run = start_in(scratch.path() + "/gone", launch(scratch.run_folder(), "true"));
  auto state = finish(run);
  CHECK(state.exit->error_code == "start_failed");
  CHECK(state.exit->error ==
        "cannot enter the control group that limits the run: No such file or directory");
}

TEST_CASE("of v2 a run is in its group from its first moment on") {
  std::string group;
  for (auto* top : {"/sys/fs/cgroup/unified", "/sys/fs/cgroup"})
    if (base::exists(std::string(top) + "/cgroup.controllers") && group.empty())
      group = std::string(top) + "/spell-test-" + std::to_string(::getpid());
  if (group.empty() || ::mkdir(group.c_str(), 0755) != 0) {
    WARN("skipped: no group of v2 can be made here");
    return;
  }
  Scratch scratch;
  auto what = launch(scratch.run_folder(), "cat /proc/self/cgroup");
  auto run = start_in(group, what);
  CHECK(finish(run).exit->code == 0);
  auto name = group.substr(group.rfind('/'));
  CHECK(output_of(what.folder).all.find("0::" + name + "\n") != std::string::npos);
  CHECK_FALSE(base::exists(group));
}
