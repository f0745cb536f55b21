// What becomes of a run on its machine, from its start to its end.
#include "catch.hpp"
#include "fake_world.hpp"
#include "worker/ending.hpp"

using namespace spell;
using namespace spell::worker;
using namespace spell::worker::testing;

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
                                          "Saved 12 files, 3.4 MiB (1.0 MiB deduplicated, 1.2 MiB "
                                          "stored) in 0.8 s, 4.2 MiB/s",
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
  exit.code = 137, exit.signal = 9;
  auto over = ending_of(Phase::ended, true, (exit.ended_by = "memory", exit), std::nullopt, request,
                        nullptr, 64 << 20);
  CHECK(over.result.status == "complete");
  CHECK(over.result.exit_code == 137);
  CHECK(over.result.reason_code == "memory_limit");
  CHECK(over.result.reason == "went over its memory limit of 64.0 MiB");
  CHECK(over.save);
  CHECK(ending("machine_memory").result.reason_code == "machine_memory");
  CHECK(ending("machine_memory").save);
  exit.code = 1, exit.signal.reset();
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

TEST_CASE("a run that went over its memory says so once, and what is on disk is saved") {
  World world;
  world.next_command.never_ends = true;
  auto start = start_command();
  start.memory = 8LL << 30;
  world.service.assign(start);
  REQUIRE(world.run_until([&] { return world.service.runs[id].count("Run is running") > 0; }));
  world.commands[id].told = "memory";
  world.run();
  world.crash();
  world.run();
  auto& run = world.service.runs[id];
  CHECK(run.statuses() == whole_life);
  CHECK(run.count("the run went over its memory limit of 8.0 GiB and was ended (--memory asks for "
                  "more)") == 1);
  CHECK(run.result->status == "complete");
  CHECK(run.result->exit_code == 137);
  CHECK(run.result->reason == "went over its memory limit of 8.0 GiB");
  CHECK(run.outputs.size() == 1);
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
