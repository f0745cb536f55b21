// What a worker and its service say to each other, and what they do when it is lost.
#include "catch.hpp"
#include "fake_world.hpp"
#include "worker/ending.hpp"

using namespace spell;
using namespace spell::worker;
using namespace spell::worker::testing;

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

TEST_CASE("outputs that were freed before the service heard of them are saved and sent once more") {
  World world;
  bool crashes = GENERATE(false, true);
  world.service.loses_outputs = 2;
  world.service.assign(start_with_code());
  REQUIRE(world.run_until([&] { return world.service.loses_outputs == 0; }));
  if (crashes) world.crash();
  world.run();
  auto& run = world.service.runs[start_command().run];
  REQUIRE(run.result);
  CHECK(run.result->status == "complete");
  CHECK(run.result->exit_code == 0);
  CHECK(run.outputs.contains(run.result->outputs));
}

namespace {

model::StartCommand exclusive_start() {
  auto start = start_command();
  start.request.exclusive = true;
  return start;
}

/// What a poll that was sent at `sent` brings now.
void renew(World& world, std::int64_t sent) {
  model::SyncAnswer answer;
  answer.incarnation = world.service.incarnation;
  answer.lost_after = world.service.lost_after;
  Actions actions;
  world.agent->renewed(world.agent->session(), answer, sent);
  world.agent->poll_answered(world.agent->session(), answer, world.now, actions);
  for (auto& action : actions)
    if (action.type == Action::Type::lease)
      world.leases[action.run].push_back(std::stoll(action.text));
}

}  // namespace

TEST_CASE("an exclusive run's supervisor hears until when it is this machine's") {
  World world;
  world.service.lost_after = 20;
  world.next_command.never_ends = true;
  world.service.assign(exclusive_start());
  REQUIRE(world.run_until([&] { return world.service.runs[id].count("Run is running") > 0; }));
  REQUIRE_FALSE(world.leases[id].empty());
  // Counted from before the poll was sent, and over before the service may give it to another.
  auto sent = world.now - 1'000'000;
  renew(world, sent);
  CHECK(world.leases[id].back() == sent + 20'000'000 - Agent::lease_margin_us);
  CHECK(world.agent->next_poll(0).request.wait_ms <= 20'000 / 3);
  // What the service says last counts, also when it is less.
  world.service.lost_after = 4;
  renew(world, sent);
  CHECK(world.leases[id].back() == sent + 3'000'000);
  // An answer of an earlier session is none.
  auto told = world.leases[id].size();
  model::SyncAnswer late;
  late.lost_after = 600;
  late.incarnation = world.service.incarnation;
  Actions actions;
  auto session = world.agent->session();
  world.agent->renewed(session - 1, late, world.now);
  late.lost_after = 4;
  world.agent->poll_answered(session, late, world.now, actions);
  CHECK(actions.empty());
  CHECK(world.leases[id].size() == told);
}

TEST_CASE("other runs have no lease, nor has a worker that is never lost") {
  World world;
  world.next_command.never_ends = true;
  world.service.assign(exclusive_start());
  world.run();
  CHECK(world.launches[id] == 1);
  CHECK(world.leases[id].empty());

  World other;
  other.service.lost_after = 20;
  other.next_command.never_ends = true;
  other.service.assign(start_command());
  other.run();
  CHECK(other.leases[id].empty());
  CHECK(other.agent->next_poll(0).request.wait_ms > 20'000 / 3);
}

/// The run's data is being mounted, on a machine that counts as lost after four seconds.
static void begin_mounting(World& world, model::StartCommand start) {
  world.service.lost_after = 4;
  start.request.mounts = {{"uploads/x", ""}};
  start.mounts.emplace_back();
  world.mounting_takes_long = true;
  world.service.assign(start);
  world.run();
}

TEST_CASE("an exclusive run is not begun when another may have it") {
  World world;
  begin_mounting(world, exclusive_start());
  CHECK(world.launches[id] == 0);
  world.cut_until = world.now + 60'000'000;
  world.now += 4'000'000;
  Actions actions;
  world.agent->mounted(id, std::vector<std::string>{}, world.now, actions);
  for (auto& action : actions) CHECK(action.type != Action::Type::launch);
  REQUIRE(world.run_until([&] { return world.service.runs[id].result.has_value(); }, 20'000));
  auto& result = *world.service.runs[id].result;
  CHECK(result.status == "interrupted");
  CHECK(result.reason_code == "lease_expired");
  CHECK(world.launches[id] == 0);
}

TEST_CASE(
    "a worker that was started anew begins an exclusive run only when it has met the service") {
  World world;
  begin_mounting(world, exclusive_start());
  world.mounting_takes_long = false;
  world.cut_until = world.now + 3'000'000;
  world.crash();
  REQUIRE(world.run_until([&] { return world.launches[id] == 1; }, 20'000));
  CHECK(world.now >= world.cut_until);
}

TEST_CASE("an exclusive run whose end is on its way is not begun by a worker that is back") {
  auto how = GENERATE("stop", "kill");
  auto dies = GENERATE(true, false);
  CAPTURE(how, dies);
  World world;
  begin_mounting(world, exclusive_start());
  // Meanwhile all is ready for its command, which waits for a lease alone.
  world.cut_until = world.now + 3'000'000;
  if (dies) world.crash();
  world.mounting_takes_long = false;
  world.service.want(id, how);
  if (!dies) {
    world.now += 2'999'000;
    world.befall([&](Agent& agent, Actions& out) {
      agent.poll_answered(agent.session(), base::error("connection_lost", "cut"), world.now, out);
      agent.renewed(agent.session(), {}, world.now - 60'000'000);
    });
    world.now = world.cut_until;
  }
  world.run(20'000);
  REQUIRE(world.service.runs[id].result);
  CHECK(world.service.runs[id].result->status == "killed");
  CHECK(world.launches[id] == 0);
}

TEST_CASE("one that counted as lost, and went on nowhere, is interrupted and not begun") {
  World world;
  begin_mounting(world, exclusive_start());
  world.service.why = "lease_expired";
  world.service.want(id, "stop");
  world.run();
  REQUIRE(world.service.runs[id].result);
  CHECK(world.service.runs[id].result->status == "interrupted");
  CHECK(world.service.runs[id].result->reason_code == "lease_expired");
  CHECK(world.launches[id] == 0);
}

TEST_CASE("an exclusive run that comes with the first answer after a long silence is begun") {
  World world;
  world.service.lost_after = 4;
  world.run();
  world.cut_until = world.now + 60'000'000;
  world.befall([&](Agent& agent, Actions& out) {
    agent.poll_answered(agent.session(), base::error("connection_lost", "cut"), world.now, out);
  });
  world.service.assign(exclusive_start());
  world.run(20'000);
  CHECK(world.now > world.cut_until);
  REQUIRE(world.service.runs[id].result);
  CHECK(world.service.runs[id].result->status == "complete");
}

TEST_CASE("a tree that its lease has ended is an interruption, and is saved") {
  exec::Exit exit;
  exit.code = 137;
  exit.signal = 9;
  exit.ended_by = "lease_expired";
  auto ending = ending_of(exec::State::Phase::ended, true, exit, std::nullopt, {});
  CHECK(ending.result.status == "interrupted");
  CHECK(ending.result.reason_code == "lease_expired");
  CHECK(ending.save);
  CHECK_FALSE(ending_of(exec::State::Phase::ended, false, exit, std::nullopt, {}).save);
}

TEST_CASE("what is reserved for a run pays for its command and for its end") {
  auto until = [](model::StartCommand start) {
    World world;
    world.next_command.never_ends = true;
    world.service.assign(start);
    REQUIRE(world.run_until([&] { return world.service.runs[id].count("Run is running") > 0; }));
    return (world.agent->find(id)->allowed_until_us() - world.now) / 1'000'000;
  };
  auto start = start_command();
  start.request.stop_grace = 10;
  start.allowance_ms = 100'000;
  // Ten seconds until SIGKILL, five to save.
  auto left = until(start);
  CHECK((left > 75 && left <= 85));
  // Half of it at most is for the end.
  start.request.stop_grace = 3600;
  auto half = until(start);
  CHECK((half > 40 && half <= 50));
  World free;
  free.next_command.never_ends = true;
  free.service.assign(start_command());
  REQUIRE(free.run_until([&] { return free.service.runs[id].count("Run is running") > 0; }));
  CHECK(free.agent->find(id)->allowed_until_us() == 0);
}

namespace {

/// Tells the run that so long is reserved for it; what its supervisor hears of it.
std::vector<std::int64_t> allow(World& world, std::int64_t number, std::int64_t ms) {
  model::Command command;
  command.type = "allowance";
  command.number = number;
  command.run = id;
  command.epoch = world.agent->find(id)->start().epoch;
  command.allowance_ms = ms;
  model::SyncAnswer answer;
  answer.incarnation = world.service.incarnation;
  answer.commands = {command};
  Actions actions;
  world.agent->poll_answered(world.agent->session(), answer, world.now, actions);
  std::vector<std::int64_t> told;
  for (auto& action : actions) {
    if (action.type == Action::Type::allow) told.push_back(std::stoll(action.text));
    if (action.type == Action::Type::append) world.journals[id] += action.text;
  }
  return told;
}

}  // namespace

TEST_CASE("more is reserved for a run that goes on, and never less") {
  World world;
  world.next_command.never_ends = true;
  world.service.assign(start_command());
  REQUIRE(world.run_until([&] { return world.service.runs[id].count("Run is running") > 0; }));
  auto first = allow(world, 1000, 100'000);
  REQUIRE(first.size() == 1);
  CHECK(first[0] == world.agent->find(id)->allowed_until_us());
  auto more = allow(world, 1001, 300'000);
  REQUIRE(more.size() == 1);
  CHECK(more[0] > first[0] + 150'000'000);
  CHECK(allow(world, 1002, 200'000).empty());
  CHECK(allow(world, 1003, 300'000) == more);  // its worker may have died before it passed it on
  // A worker that starts anew knows it.
  world.crash();
  REQUIRE(world.run_until([&] { return world.agent->find(id) != nullptr; }));
  CHECK(world.agent->find(id)->allowed_until_us() == more[0]);
}

TEST_CASE("what comes before the command ends when it is not paid for any more") {
  World world;
  world.mounting_takes_long = true;
  auto start = start_command();
  start.mounts.emplace_back();
  start.allowance_ms = 60'000;
  world.service.assign(start);
  auto began = world.now;
  REQUIRE(world.run_until([&] { return world.service.runs[id].result.has_value(); }));
  CHECK(world.now - began < 60'000'000);
  auto& result = *world.service.runs[id].result;
  CHECK(result.status == "stopped");
  CHECK(result.reason_code == "allowance_used_up");
  CHECK(world.launches[id] == 0);
}

TEST_CASE("a command that its allowance has ended is saved") {
  exec::Exit exit;
  exit.code = 143;
  exit.ended_by = "allowance";
  auto ending = ending_of(exec::State::Phase::ended, true, exit, std::nullopt, {});
  CHECK(ending.result.status == "stopped");
  CHECK(ending.result.reason_code == "allowance_used_up");
  CHECK(ending.save);
  CHECK_FALSE(ending_of(exec::State::Phase::ended, false, exit, std::nullopt, {}).save);
}
