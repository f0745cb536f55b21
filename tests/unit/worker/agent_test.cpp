#include "catch.hpp"
#include "fake_world.hpp"
#include "worker/ending.hpp"
#include "worker/environment.hpp"

using namespace spell;
using namespace spell::worker;
using namespace spell::worker::testing;

namespace {
const std::string id = start_command().run;
const std::vector<std::string> whole_life{"building", "running", "saving", "pushing"};
}  // namespace

TEST_CASE("a run goes its whole way and is forgotten") {
  World world;
  world.service.assign(start_with_code());
  world.run();
  auto& run = world.service.runs[id];
  CHECK(run.statuses() == whole_life);
  std::vector<std::string> texts;
  for (auto& event : run.events) texts.push_back(event.text);
  CHECK(texts == std::vector<std::string>{"Run is building", "Machine acquired -- commencing run",
                                          "submodule left out", "Run is running", "Run is saving",
                                          "Scanning for modified or new files from the run",
                                          "Saved 12 files, 3.4 MiB (1.2 MiB stored, 2.2 MiB "
                                          "deduplicated or compressed away) in 0.8 s, 4.2 MiB/s",
                                          "Run is pushing"});
  CHECK(run.events[3].log_offset == 0);
  CHECK(run.events[4].log_offset == 100);
  REQUIRE(run.result);
  CHECK(run.result->status == "complete");
  CHECK(run.result->exit_code == 0);
  CHECK(run.result->log_bytes == 100);
  CHECK(run.result->outputs == "tree of " + id);
  CHECK(run.log_bytes == 100);
  CHECK(run.metric_bytes == 80);
  CHECK(world.agent->idle());
  CHECK(world.journals.empty());
}

TEST_CASE("event numbers are dense and grow") {
  World world;
  world.service.assign(start_with_code());
  world.run();
  std::int64_t number = 0;
  for (auto& event : world.service.runs[id].events) CHECK(event.number == ++number);
}

TEST_CASE("a short run is told in one report") {
  World world;
  world.next_command.writes.clear();
  world.service.assign(start_command());
  world.run();
  std::vector<std::size_t> reported;
  for (auto& request : world.service.heard)
    if (!request.reports.empty()) reported.push_back(request.reports[0].events.size());
  CHECK(reported.size() == 1);
}

TEST_CASE("building is told when its step takes long") {
  RunTracker run;
  Actions actions;
  run = RunTracker::begin(FakeService::start_of(start_command()), "boot", 1000, actions);
  REQUIRE(run.report_due());
  CHECK(*run.report_due() == 1000 + RunTracker::patience_us);
}

TEST_CASE("ages are as of the report") {
  Actions actions;
  auto run = RunTracker::begin(FakeService::start_of(start_command()), "boot", 1000, actions);
  CHECK(run.report(5000).events[0].age_us == 4000);
}

TEST_CASE("the start is on disk before anything else is done for the run") {
  Agent agent({}, "boot");
  Actions actions;
  auto poll = agent.next_poll(0);
  model::SyncAnswer answer;
  answer.incarnation = "first";
  auto command = FakeService::start_of(start_command());
  command.number = 1;
  answer.commands.push_back(command);
  agent.poll_answered(poll.session, answer, 1, actions);
  REQUIRE(!actions.empty());
  CHECK(actions.front().type == Action::Type::create);
  auto journal = read_journal(actions.front().text);
  REQUIRE(journal);
  CHECK(journal->start.request.command == "python3 train.py");
  CHECK(agent.next_poll(0).request.seen == 1);
}

TEST_CASE("a run without code is not built, one with code is") {
  World world;
  auto built = [&] {
    world.fails.emplace("build", base::error("commit_not_found", "no such commit"));
    world.run();
    return world.service.runs[id].result->status;
  };
  SECTION("without") {
    world.service.assign(start_command());
    CHECK(built() == "complete");
  }
  SECTION("with") {
    world.service.assign(start_with_code());
    CHECK(built() == "build_failed");
    CHECK(world.service.runs[id].result->reason_code == "commit_not_found");
    CHECK(world.launches[id] == 0);
    CHECK(world.agent->idle());
  }
}

TEST_CASE("a full disk fails the build by name, wherever it is met") {
  for (std::string step : {"create", "build", "launch"}) {
    INFO(step);
    World world;
    world.fails.emplace(step, base::error("disk_full", "cannot write: no space left"));
    world.service.assign(start_with_code());
    world.run();
    auto& result = world.service.runs[id].result;
    REQUIRE(result);
    CHECK(result->status == "build_failed");
    CHECK(result->reason_code == "disk_full");
    CHECK(world.agent->idle());
  }
}

TEST_CASE("outputs wait for a disk that is full, and say so") {
  World world;
  world.fails.emplace("save", base::error("disk_full", "cannot write the pack: no space left"));
  world.service.assign(start_command());
  world.run_until([&] { return world.service.runs[id].count("saving waits") > 0; });
  for (int i = 0; i < 50; ++i) world.step();
  auto& run = world.service.runs[id];
  CHECK(run.count("saving waits") == 1);
  CHECK(!run.result);
  CHECK(world.journals.contains(id));

  SECTION("until there is room") {
    world.fails.clear();
    world.run();
    CHECK(run.result->status == "complete");
    CHECK(run.outputs.size() == 1);
  }
  SECTION("or somebody gives up") {
    world.service.want(id, "kill");
    world.run();
    CHECK(run.result->status == "killed");
    CHECK(run.outputs.empty());
  }
}

TEST_CASE("stop saves, kill does not") {
  World world;
  world.next_command.never_ends = true;
  world.service.assign(start_command());
  REQUIRE(world.run_until(
      [&] { return world.commands.contains(id) && world.commands[id].state.started_us != 0; }));
  auto& run = world.service.runs[id];
  SECTION("stop") {
    world.service.want(id, "stop");
    world.run();
    CHECK(run.statuses() == whole_life);
    CHECK(run.result->status == "stopped");
    CHECK(run.result->reason_code == "stopped_by_user");
    CHECK(run.result->exit_code == 143);
    CHECK(run.outputs.size() == 1);
  }
  SECTION("kill") {
    world.service.want(id, "kill");
    world.run();
    CHECK(run.statuses() == std::vector<std::string>{"building", "running"});
    CHECK(run.result->status == "killed");
    CHECK(run.outputs.empty());
  }
  SECTION("stop, then kill") {
    world.service.want(id, "stop");
    world.service.want(id, "kill");
    world.run();
    CHECK(run.result->status == "killed");
  }
  CHECK(run.log_bytes == run.result->log_bytes);
  CHECK(world.agent->idle());
}

TEST_CASE("a stop or kill before the command is started means that it never is") {
  for (std::string how : {"stop", "kill"}) {
    World world;
    world.service.assign(start_with_code());
    world.service.want(id, how);
    world.run();
    auto& run = world.service.runs[id];
    REQUIRE(run.result);
    CHECK(run.result->status == "killed");
    CHECK(run.result->exit_code == std::nullopt);
    CHECK(world.launches[id] == 0);
  }
}

TEST_CASE("a kill while saving ends the run without outputs") {
  World world;
  world.fails.emplace("push", base::error("bad_pack", "refused").with_http_status(400));
  world.service.assign(start_command());
  REQUIRE(world.run_until([&] { return world.service.runs[id].count("saving waits") > 0; }));
  world.service.want(id, "kill");
  world.run();
  CHECK(world.service.runs[id].result->status == "killed");
  CHECK(world.service.runs[id].result->outputs.empty());
}

TEST_CASE("what the ends of commands are called") {
  using Phase = exec::State::Phase;
  auto request = start_command().request;
  request.timeout = 120;
  exec::Exit exit;
  exit.code = 1;
  auto ending = [&](std::string by) {
    exit.ended_by = std::move(by);
    return ending_of(Phase::ended, true, exit, std::nullopt, request);
  };
  CHECK(ending("").result.status == "complete");
  CHECK(ending("").result.exit_code == 1);
  CHECK(ending("timeout").result.status == "stopped");
  CHECK(ending("timeout").result.reason_code == "timeout");
  CHECK(ending("timeout").result.reason == "ran longer than its timeout of 2 min");
  CHECK(ending("timeout").save);
  CHECK(ending("log_limit").result.reason_code == "log_full");
  CHECK(ending("kill").result.status == "killed");
  CHECK(!ending("kill").save);
  CHECK(ending("shutdown").result.status == "interrupted");
  CHECK(ending("shutdown").result.reason_code == "host_reboot");
  CHECK(ending("shutdown").save);

  auto lost = ending_of(Phase::supervisor_lost, true, std::nullopt, std::nullopt, request);
  CHECK(lost.result.status == "failed");
  CHECK(lost.result.reason_code == "supervisor_lost");
  CHECK(lost.save);
  auto rebooted = ending_of(Phase::host_rebooted, true, std::nullopt, std::nullopt, request);
  CHECK(rebooted.result.status == "interrupted");
  CHECK(rebooted.result.reason_code == "host_reboot");
  CHECK(rebooted.save);
  exec::Exit unstarted;
  unstarted.error_code = "no_such_folder";
  unstarted.error = "there is no folder 'x' in the run's code";
  auto failed = ending_of(Phase::ended, false, unstarted, std::nullopt, request);
  CHECK(failed.result.status == "failed");
  CHECK(failed.result.reason_code == "no_such_folder");
  CHECK(!failed.save);
}

TEST_CASE("a stop that comes too late changes nothing") {
  exec::Exit exit;
  exit.code = 0;
  auto want = FakeService::command("stop", start_command());
  CHECK(ending_of(exec::State::Phase::ended, true, exit, want, {}).result.status == "complete");
}

TEST_CASE("after a reboot the run is interrupted, and what is on disk is saved") {
  World world;
  world.next_command.never_ends = true;
  world.service.assign(start_command());
  REQUIRE(world.run_until([&] { return world.service.runs[id].count("Run is running") > 0; }));
  world.reboot();
  world.run();
  auto& run = world.service.runs[id];
  CHECK(run.statuses() == whole_life);
  CHECK(run.result->status == "interrupted");
  CHECK(run.outputs.size() == 1);
  CHECK(run.result->ended_age_us < 1'000'000);
}

TEST_CASE("an hour without the service: all of the run is told once afterwards") {
  World world;
  world.next_command.never_ends = true;
  world.service.assign(start_command());
  REQUIRE(world.run_until([&] { return world.service.runs[id].count("Run is running") > 0; }));
  int before = world.requests;
  std::int64_t began = world.now;
  world.cut_until = began + std::int64_t{3600} * 1'000'000;
  REQUIRE(world.run_until([&] { return world.now > began + 60'000'000; }));
  // The command ends, and the worker dies too.
  auto& state = world.commands[id].state;
  state.phase = exec::State::Phase::ended;
  state.exit.emplace();
  state.exit->code = 0;
  state.exit->time_us = world.now;
  auto printed = state.output_bytes;
  world.crash();
  world.run(50'000);
  CHECK(world.now >= world.cut_until);
  CHECK(world.now < world.cut_until + 10'000'000);
  CHECK(world.requests - before < 3600);
  auto& run = world.service.runs[id];
  CHECK(run.statuses() == whole_life);
  CHECK(run.result->status == "complete");
  CHECK(run.result->ended_age_us > std::int64_t{3500} * 1'000'000);
  CHECK(run.log_bytes == printed);
  CHECK(run.outputs.size() == 1);
  CHECK(world.launches[id] == 1);
  CHECK(world.journals.empty());
}

TEST_CASE("a full log is told once") {
  World world;
  world.next_command.never_ends = true;
  auto start = start_command();
  start.request.log_limit = 10LL << 30;
  world.service.assign(start);
  REQUIRE(world.run_until([&] { return world.service.runs[id].count("Run is running") > 0; }));
  for (int i = 0; i < 3; ++i) {
    world.commands[id].state.log_full = true;
    Actions actions;
    world.agent->observed(id, world.commands[id].state, world.now, actions);
  }
  world.run();
  auto& run = world.service.runs[id];
  CHECK(run.count("log is full (10.0 GiB): the command waits") == 1);
  CHECK(run.events.back().reason_code == "log_full");

  world.crash();
  world.run();
  CHECK(run.count("log is full") == 1);
  world.commands[id].state.log_full = false;
  Actions actions;
  world.agent->observed(id, world.commands[id].state, world.now, actions);
  world.run();
  CHECK(run.events.back().reason_code == "");
}

TEST_CASE("commands are obeyed once, however often they come") {
  World world;
  world.next_command.never_ends = true;
  world.service.assign(start_command());
  REQUIRE(world.run_until([&] { return world.service.runs[id].count("Run is running") > 0; }));
  auto poll = world.agent->next_poll(0);
  auto again = FakeService::start_of(start_command());
  for (std::int64_t number : {1, 2, 3}) {
    model::SyncAnswer answer;
    answer.incarnation = "first";
    again.number = number;
    answer.commands.push_back(again);
    Actions actions;
    world.agent->poll_answered(poll.session, answer, world.now, actions);
    CHECK(actions.empty());
  }
  CHECK(world.launches[id] == 1);
}

TEST_CASE("a stream is dialled for once, also for a run that is not here: who waits is told so") {
  World world;
  auto poll = world.agent->next_poll(0);
  model::SyncAnswer answer;
  answer.incarnation = "first";
  model::Command command;
  command.number = 1;
  command.type = "open_stream";
  command.run = id;
  command.epoch = 1;
  command.stream = "5f";
  command.kind = "exec";
  answer.commands.push_back(command);
  Actions actions;
  world.agent->poll_answered(poll.session, answer, world.now, actions);
  world.agent->poll_answered(poll.session, answer, world.now, actions);
  auto dials = std::count_if(actions.begin(), actions.end(), [](auto& action) {
    return action.type == Action::Type::open_stream && action.run == id && action.stream == "5f" &&
           action.text == "exec";
  });
  CHECK(dials == 1);
}

TEST_CASE("what a service refuses is killed and parked, not deleted") {
  World world;
  world.next_command.never_ends = true;
  world.service.assign(start_command());
  REQUIRE(world.run_until([&] { return world.commands.contains(id); }));
  world.service.refuses.push_back(id);
  world.run();
  CHECK(world.parked.contains(id));
  CHECK(!world.logged.empty());
  CHECK(world.agent->idle());
}

TEST_CASE("a later epoch of a run begins when the earlier one has left") {
  World world;
  world.next_command.never_ends = true;
  world.service.assign(start_command());
  REQUIRE(world.run_until([&] { return world.service.runs[id].count("Run is running") > 0; }));
  world.service.runs[id] = {};
  world.next_command = {};
  world.service.assign(start_command(id, 2));
  world.run();
  CHECK(world.parked.contains(id));
  CHECK(world.launches[id] == 2);
  REQUIRE(world.service.runs[id].result);
  CHECK(world.service.runs[id].result->status == "complete");
}

TEST_CASE("another incarnation is told what is held before it is obeyed") {
  World world;
  world.next_command.never_ends = true;
  world.service.assign(start_command());
  REQUIRE(world.run_until([&] { return world.service.runs[id].count("Run is running") > 0; }));
  world.service.incarnation = "second";
  world.service.restart();
  world.service.heard.clear();
  world.service.want(id, "stop");
  world.run();
  bool held = false;
  for (auto& request : world.service.heard)
    held = held || (request.hello && request.holds.contains(id));
  CHECK(held);
  CHECK(world.launches[id] == 1);
  CHECK(world.service.runs[id].result->status == "stopped");
}

TEST_CASE("answers of an earlier session are not obeyed") {
  Agent agent({}, "boot");
  Actions actions;
  auto old = agent.next_poll(0);
  agent.poll_answered(old.session, base::error("connection_lost", "cut"), 1, actions);
  auto poll = agent.next_poll(0);
  CHECK(poll.request.hello);
  model::SyncAnswer answer;
  answer.incarnation = "first";
  auto command = FakeService::start_of(start_command());
  command.number = 9;
  answer.commands.push_back(command);
  agent.poll_answered(old.session, answer, 2, actions);
  CHECK(actions.empty());
  CHECK(agent.idle());
}

TEST_CASE("an idle worker only waits for its poll") {
  World world;
  world.run();
  CHECK(world.agent->wake_at() == std::nullopt);
  CHECK(world.agent->next_poll(0).request.wait_ms == 25'000);
}

TEST_CASE("one run that the service cannot take does not hold up the others") {
  World world;
  std::string bad = start_command().run, good = bad.substr(0, 31) + "b";
  world.service.chokes_on = bad;
  world.service.assign(start_command(bad));
  world.service.assign(start_command(good));
  CHECK(world.run_until([&] { return world.service.runs[good].result.has_value(); }));
  CHECK(world.service.runs[bad].events.empty());
  world.service.chokes_on.clear();
  world.run();
  CHECK(world.service.runs[bad].result->status == "complete");
}

namespace {
model::StartCommand numbered(int number, std::int64_t places) {
  auto start = start_command();
  start.run.back() = static_cast<char>('0' + number);
  start.number = number;
  start.places = places;
  return start;
}
}  // namespace

TEST_CASE("a run that was given ahead begins when a place is free here") {
  World world;
  world.next_command.never_ends = true;
  auto first = numbered(1, 1), second = numbered(2, 1), third = numbered(3, 1);
  for (auto& start : {first, second, third}) world.service.assign(start);
  world.run();
  CHECK(world.commands.contains(first.run));
  CHECK(world.journals.size() == 1);
  CHECK(world.service.runs[second.run].events.empty());

  world.commands[first.run].never_ends = false;
  CHECK(world.run_until([&] { return world.commands.contains(second.run); }));
  CHECK(!world.commands.contains(third.run));
}

TEST_CASE("a place is free at the end of the command, whose tree and outputs are seen to beside") {
  Actions actions;
  auto run = RunTracker::begin(FakeService::start_of(start_command()), "boot", 1000, actions);
  exec::State state;
  state.phase = exec::State::Phase::running;
  state.started_us = 2000;
  run.observed(state, 3000, actions);
  CHECK(run.under_way());
  state.command_ended = true;
  actions.clear();
  run.observed(state, 4000, actions);
  CHECK(!run.under_way());
  for (auto& action : actions) CHECK(action.type != Action::Type::save);
}

TEST_CASE("a result waits a moment for others where the next runs are here already") {
  Actions actions;
  auto start = FakeService::start_of(start_command());
  auto run = RunTracker::begin(start, "boot", 1000, actions);
  run.told(FakeService::command("kill", *start.start), "boot", 5000, actions);
  CHECK(run.report_due() == 0);
  CHECK(run.report_due(Agent::result_patience_us) == 5000 + Agent::result_patience_us);
}

TEST_CASE("a run that was given ahead is lost by a crash, and given again") {
  World world;
  world.next_command.never_ends = true;
  auto first = numbered(1, 1), second = numbered(2, 1);
  world.service.assign(first);
  world.service.assign(second);
  world.run();
  world.crash();
  world.run();
  world.commands[first.run].never_ends = false;
  world.next_command.never_ends = false;
  world.run();
  CHECK(world.service.runs[second.run].result);
  CHECK(world.launches[second.run] == 1);
}

TEST_CASE("a run that waits for a place is ended at once, or forgotten") {
  World world;
  world.next_command.never_ends = true;
  auto first = numbered(1, 1), second = numbered(2, 1);
  world.service.assign(first);
  world.service.assign(second);
  world.run();
  world.service.want(second.run, "kill");
  world.run();
  auto& ended = world.service.runs[second.run];
  REQUIRE(ended.result);
  CHECK(ended.result->status == "killed");
  CHECK(ended.events.empty());
  CHECK(world.launches[second.run] == 0);
  CHECK(world.journals.size() == 1);
}

TEST_CASE("metrics are with the service before the result, whatever crashes or is lost") {
  for (int step = 0; step < 60; ++step)
    for (int kind = 0; kind < 3; ++kind) {
      INFO(step << " " << kind);
      World world;
      (kind == 0 ? world.crash_at : world.unreachable_at) = step;
      world.lost_answer = kind == 2;
      world.service.assign(start_with_code());
      REQUIRE(world.run_until([&] { return world.service.runs[id].result.has_value(); }));
      CHECK(world.service.runs[id].metric_bytes == 80);
      world.run();
      CHECK(world.agent->idle());
    }
}

TEST_CASE("a service that takes no metrics is told everything else, and the log says so") {
  World world;
  world.fails.emplace(
      "ship_metrics",
      base::error("route_not_found", "there is no such path").with_http_status(404));
  world.service.assign(start_with_code());
  world.run();
  auto& run = world.service.runs[id];
  REQUIRE(run.result);
  CHECK(run.result->status == "complete");
  CHECK(run.log_bytes == 100);
  CHECK(run.count("metrics are not kept: there is no such path") == 1);
  CHECK(world.agent->idle());
}

TEST_CASE("a run with mounts is mounted before it is started") {
  World world;
  world.service.assign(start_with_mount());
  world.run();
  auto& run = world.service.runs[id];
  CHECK(run.statuses() ==
        std::vector<std::string>{"building", "mounting", "running", "saving", "pushing"});
  CHECK(run.count("Mounted uploads/x") == 1);
  CHECK(run.result->status == "complete");
}

TEST_CASE("a mount that fails ends the run, which is not started") {
  World world;
  world.fails.emplace("mount", base::error("mount_failed", "Cannot mount resource 'uploads/x'"));
  world.service.assign(start_with_mount());
  world.run();
  auto& run = world.service.runs[id];
  CHECK(run.result->status == "mount_failed");
  CHECK(run.result->reason_code == "mount_failed");
  CHECK(run.result->reason == "Cannot mount resource 'uploads/x'");
  CHECK(world.launches[id] == 0);
  CHECK(world.agent->idle());
}

TEST_CASE("mounting is given up when the run is not wanted any more") {
  for (auto* how : {"kill", "stop"}) {
    World world;
    world.mounting_takes_long = true;
    world.service.assign(start_with_mount());
    world.run();
    CHECK_FALSE(world.service.runs[id].result);
    world.service.want(id, how);
    world.run();
    auto& run = world.service.runs[id];
    REQUIRE(run.result);
    CHECK(run.result->status == "killed");
    CHECK(world.launches[id] == 0);
    CHECK(world.agent->idle());
  }
}

TEST_CASE("a worker that is killed while it mounts does it anew") {
  for (int crash = 0; crash < 60; ++crash) {
    World world;
    world.crash_at = crash;
    world.service.assign(start_with_mount());
    world.run();
    auto& run = world.service.runs[id];
    REQUIRE(run.result);
    CHECK(run.result->status == "complete");
    CHECK(run.count("Mounted uploads/x") == 1);
  }
}

TEST_CASE("a mount that the supervisor cannot make is a failed mount") {
  exec::Exit exit;
  exit.error_code = "mount_failed";
  exit.error = "cannot mount on /mnt/x: Permission denied";
  auto ending = ending_of(exec::State::Phase::ended, false, exit, {}, {});
  CHECK(ending.result.status == "mount_failed");
  CHECK_FALSE(ending.save);
}

TEST_CASE("values of secrets are in no journal, and a run that lost them waits for its start") {
  auto start = start_command();
  start.request.secrets = {{"X", "token"}};
  start.secrets = {{"X", "a hidden value"}};
  auto line = journal_line(FakeService::start_of(start), "boot");
  CHECK(line.find("hidden") == std::string::npos);
  auto journal = read_journal(line);
  REQUIRE(journal);
  auto run = RunTracker::resume(std::move(*journal), false, "boot", 1000);
  Actions actions;
  run.advance(1000, actions);
  CHECK(actions.empty());
  run.started_again(start, 2000, actions);
  REQUIRE(actions.size() == 1);
  CHECK(actions[0].type == Action::Type::launch);
  CHECK(run.start().secrets.at("X") == "a hidden value");
}

TEST_CASE("the hello says how high the numbers of runs are that were heard of") {
  auto journal = read_journal(journal_line(FakeService::start_of(start_command()), "boot"));
  REQUIRE(journal);
  std::string owner = journal->start.owner;
  Agent agent({}, "boot");
  Actions actions;
  CHECK(agent.next_poll(0).request.numbers.empty());
  agent.resume(std::move(*journal), false, 1000, actions);
  CHECK(agent.next_poll(0).request.numbers == std::map<std::string, std::int64_t>{{owner, 7}});
}

namespace {

/// A machine with four GPUs.
struct Rig : World {
  Rig() {
    for (int i = 0; i < 4; ++i) gpus.push_back({i, "G" + std::to_string(i), "V100", 16});
    crash();
    next_command.never_ends = true;
  }
  std::string begin(char name, std::int64_t count) {
    auto start = start_command("0190a0b0c0d0700080000000000000" + std::string(2, name));
    start.gpus = count;
    service.assign(start);
    run();
    return start.run;
  }
  /// "none": it has not begun; "unset": the variable is the user's.
  std::string sees(const std::string& run) const {
    auto* found = agent->find(run);
    if (!found) return "none";
    auto own = found->start().env.find(gpu_variable);
    return own == found->start().env.end() ? "unset" : own->second;
  }
};

}  // namespace

TEST_CASE("each run gets GPUs of its own, and keeps them when the worker dies") {
  Rig rig;
  auto three = rig.begin('1', 3), none = rig.begin('2', 0), one = rig.begin('3', 1);
  auto check = [&] {
    CHECK(rig.sees(three) == "G0,G1,G2");
    CHECK(rig.sees(none) == "");
    CHECK(rig.sees(one) == "G3");
  };
  check();
  rig.crash();
  rig.run();
  check();
  // More than are free: it begins when they are.
  auto late = rig.begin('4', 2);
  CHECK(rig.sees(late) == "none");
  rig.service.want(three, "kill");
  rig.run();
  CHECK(rig.sees(late) == "G0,G1");
}

TEST_CASE("on a machine without GPUs the variable is the user's") {
  Rig rig;
  rig.gpus.clear();
  rig.crash();
  CHECK(rig.sees(rig.begin('1', 0)) == "unset");
}
