// Places and GPUs of a machine, and the runs that wait for them there.
#include "catch.hpp"
#include "fake_world.hpp"
#include "worker/environment.hpp"

using namespace spell;
using namespace spell::worker;
using namespace spell::worker::testing;

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
