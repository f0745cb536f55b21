// A machine that will be taken away: what becomes of its runs, by when.
#include "catch.hpp"
#include "fake_world.hpp"
#include "worker/ending.hpp"

using namespace spell;
using namespace spell::worker;
using namespace spell::worker::testing;

namespace {

constexpr std::int64_t second = 1'000'000;

/// A run that goes on until it is ended, and the machine goes in so long.
struct Going : World {
  std::int64_t told_at = 0;
  explicit Going(bool ends_never = true) {
    next_command.never_ends = ends_never;
    service.assign(start_command());
    REQUIRE(run_until([&] { return service.runs[id].count("Run is running") > 0; }));
  }
  void take_away(std::int64_t remaining_ms) {
    told_at = now;
    service.take_away(remaining_ms);
  }
  ServedRun& served() { return service.runs[id]; }
};

}  // namespace

TEST_CASE("a run is told, halted in time, and ends interrupted with what is safe") {
  Going world;
  world.take_away(30'000);
  REQUIRE(world.run_until([&] { return world.notices[id] > 0; }));
  CHECK(world.now < world.told_at + second);
  CHECK(world.halts[id] == 0);
  REQUIRE(world.run_until([&] { return world.served().result.has_value(); }));
  auto& result = *world.served().result;
  CHECK(result.status == "interrupted");
  CHECK(result.reason_code == "machine_notice");
  CHECK(result.reason == "its machine is taken away (asked for by ada)");
  CHECK(result.outputs == "tree of the backup");
  CHECK(result.output_files == 5);
  CHECK(result.log_bytes == 100);
  CHECK(world.halts[id] == 1);
  CHECK(world.saves[id] == 0);
  CHECK(world.now > world.told_at + 27 * second);
  CHECK(world.now < world.told_at + 30 * second);
  CHECK(world.served().count("This machine is taken away in 30 s (asked for by ada)") == 1);
  CHECK(world.served().count("Halted to make safe what it has finished, 2 s before the end") == 1);
  world.run();
  CHECK(world.agent->idle());
  CHECK(world.notices[id] == 1);
}

TEST_CASE("who needs more time is halted earlier, and at once where there is none") {
  std::int64_t needs = GENERATE(0, 8 * second, 300 * second);
  Going world;
  world.needs_us = needs;
  world.take_away(30'000);
  REQUIRE(world.run_until([&] { return world.halts[id] > 0; }));
  auto after = world.now - world.told_at;
  if (needs == 0) CHECK(after > 27 * second);
  if (needs == 8 * second) CHECK((after > 17 * second && after < 19 * second));
  if (needs == 300 * second) CHECK(after < second);
}

TEST_CASE("a machine that goes at once takes its runs along at once") {
  Going world;
  world.take_away(0);
  REQUIRE(world.run_until([&] { return world.served().result.has_value(); }));
  CHECK(world.served().result->status == "interrupted");
  CHECK(world.notices[id] == 1);
  CHECK(world.now < world.told_at + second);
}

TEST_CASE("what was not safe and what was torn is named, no more of it than can be read") {
  Going world;
  for (int i = 10; i < 67; ++i) world.flush_gives.left.push_back("file" + std::to_string(i));
  world.flush_gives.torn = {"model.part"};
  world.take_away(1000);
  REQUIRE(world.run_until([&] { return world.served().result.has_value(); }));
  CHECK(world.served().count("finished, but not safe before the machine goes: file10, file11") ==
        1);
  CHECK(world.served().count("file29, and 37 more") == 1);
  CHECK(world.served().count("so not restored: model.part") == 1);
  // No time is left for anything else.
  CHECK(world.saves[id] == 0);
}

TEST_CASE("what was torn is put aside where there is time for it") {
  Going world;
  world.flush_gives.torn = {"model.part"};
  world.take_away(1000);
  REQUIRE(world.run_until([&] { return world.served().result.has_value(); }));
  CHECK(world.saves[id] == 1);
  CHECK(world.served().result->status == "interrupted");
  CHECK(world.served().result->outputs == "tree of " + id);
}

TEST_CASE("a save that does not come to an end in time leaves what is safe") {
  Going world;
  world.flush_gives.known = false;
  world.fails.emplace("save", base::error("timeout", "no answer"));
  world.take_away(3000);
  REQUIRE(world.run_until([&] { return world.served().result.has_value(); }));
  CHECK(world.saves[id] >= 1);
  CHECK(world.served().result->status == "interrupted");
  CHECK(world.served().result->outputs.empty());
  CHECK(world.now < world.told_at + 4 * second);
}

TEST_CASE("who ends by himself after the notice was interrupted, unless it was a success") {
  model::RunRequest request;
  std::string why = "spot interruption, AWS";
  exec::Exit exit;
  exit.code = 1;
  auto ending = [&](std::optional<model::Command> want = {}) {
    return ending_of(exec::State::Phase::ended, true, exit, want, request, &why).result;
  };
  CHECK(ending().status == "interrupted");
  CHECK(ending().reason_code == "machine_notice");
  CHECK(
      ending().reason ==
      "its machine is taken away (spot interruption, AWS); it ended with exit code 1 after it had "
      "been told");
  CHECK(ending().exit_code == std::nullopt);
  exit.code = 0;
  CHECK(ending().status == "complete");
  exit.code = 137;
  exit.ended_by = ended_by_notice;
  CHECK(ending().status == "interrupted");
  CHECK(ending(FakeService::command("stop", start_command())).status == "stopped");
  CHECK(ending(FakeService::command("kill", start_command())).status == "killed");
  exit.ended_by = "timeout";
  CHECK(ending().status == "stopped");
}

TEST_CASE("who had ended when the notice came has ended as he did") {
  World world;
  world.fails.emplace("save", base::error("io_error", "no"));
  world.next_command.writes.clear();
  world.service.assign(start_command());
  REQUIRE(world.run_until([&] { return world.saves[id] > 0; }));
  world.service.take_away(0);
  REQUIRE(world.run_until([&] { return world.agent->notice() != nullptr; }));
  world.fails.clear();
  world.run();
  CHECK(world.service.runs[id].result->status == "complete");
}

TEST_CASE("what has not begun does not begin any more") {
  World world;
  world.service.take_away(30'000);
  world.service.assign(start_with_code());
  world.run();
  auto& result = world.service.runs[id].result;
  REQUIRE(result);
  CHECK(result->status == "interrupted");
  CHECK(result->reason_code == "machine_notice");
  CHECK(world.launches[id] == 0);
  CHECK(world.agent->idle());
}

TEST_CASE("a machine that stays after all goes on with its runs, and takes new ones") {
  Going world;
  world.take_away(30'000);
  REQUIRE(world.run_until([&] { return world.notices[id] > 0; }));
  world.service.keep();
  REQUIRE(world.run_until([&] { return world.served().count("The machine stays after all") > 0; }));
  world.now += 60 * second;
  world.run();
  CHECK(!world.served().result);
  CHECK(world.halts[id] == 0);
  CHECK(!world.agent->notice());
  CHECK(world.notices[id] == 2);  // that it goes, and that it stays
  world.take_away(0);
  world.run();
  CHECK(world.notices[id] == 3);
  CHECK(world.served().result->status == "interrupted");
}

TEST_CASE("a notice that its cloud takes back is none any more, and the service hears of it") {
  Going world;
  auto cloud_says = [&](std::int64_t in) {
    world.befall([&](Agent& agent, Actions& out) {
      agent.notice({"azure", "preempted, Azure", world.now + in}, world.now, out);
    });
  };
  auto cloud_withdraws = [&] {
    world.befall(
        [&](Agent& agent, Actions& out) { agent.notice_withdrawn("azure", world.now, out); });
  };
  auto heard = [&] {
    std::vector<std::string> kinds;
    for (auto& request : world.service.heard)
      if (request.notice && (kinds.empty() || kinds.back() != request.notice->kind))
        kinds.push_back(request.notice->kind);
    return kinds;
  };
  cloud_withdraws();  // of nothing
  for (int times = 1; times <= 2; ++times) {
    cloud_says(30 * second);
    REQUIRE(world.run_until([&] { return heard().size() == 1; }));
    cloud_withdraws();
    world.now += 60 * second;
    world.run();
    CHECK(world.served().count("This machine is taken away in") == times);
    CHECK(world.served().count("The machine stays after all") == times);
    CHECK(heard() == std::vector<std::string>{"azure", "withdrawn"});
    CHECK(world.notices[id] == 2 * times);
    world.service.heard.clear();
    // Once is enough.
    world.befall([&](Agent& agent, Actions& out) {
      agent.poll_answered(agent.session(), base::error("connection_lost", "cut"), world.now, out);
    });
    world.run();
    CHECK(heard().empty());
  }
  CHECK(world.halts[id] == 0);
  CHECK(!world.served().result);

  // What somebody else has said stays.
  world.take_away(40'000);
  REQUIRE(world.run_until([&] { return world.agent->notice() != nullptr; }));
  cloud_says(10 * second);
  CHECK(world.agent->notice()->kind == "azure");
  cloud_withdraws();
  REQUIRE(world.agent->notice());
  CHECK(world.agent->notice()->kind == "asked");
  REQUIRE(world.run_until([&] { return world.served().result.has_value(); }));
  CHECK(world.now > world.told_at + 30 * second);
  CHECK(world.served().result->reason == "its machine is taken away (asked for by ada)");
  CHECK(heard().back() == "asked");
}

TEST_CASE("a withdrawal that the service did not hear is said again") {
  Going world;
  world.befall([&](Agent& agent, Actions& out) {
    agent.notice({"azure", "preempted, Azure", world.now + 600 * second}, world.now, out);
  });
  REQUIRE(world.run_until([&] { return world.notices[id] == 1; }));
  world.cut_until = world.now + 30 * second;
  world.befall(
      [&](Agent& agent, Actions& out) { agent.notice_withdrawn("azure", world.now, out); });
  world.service.heard.clear();
  world.run(20'000);
  REQUIRE_FALSE(world.service.heard.empty());
  bool said = false;
  for (auto& request : world.service.heard)
    said = said || (request.notice && request.notice->kind == "withdrawn");
  CHECK(said);
}

TEST_CASE("what was given up for a notice that is withdrawn is done after all") {
  World world;
  world.mounting_takes_long = true;
  world.service.assign(start_with_mount());
  world.run();
  world.befall([&](Agent& agent, Actions& out) {
    agent.notice({"azure", "preempted, Azure", world.now + 600 * second}, world.now, out);
    agent.notice_withdrawn("azure", world.now, out);
  });
  world.mounting_takes_long = false;
  world.run();
  auto& result = world.service.runs[id].result;
  REQUIRE(result);
  CHECK(result->status == "complete");
  CHECK(world.launches[id] == 1);
}

TEST_CASE("a machine that nobody hears is ready to go when its runs are at rest") {
  Going world;
  world.cut_until = INT64_MAX;
  world.flush_gives.left = {"model"};
  world.befall([&](Agent& agent, Actions& out) {
    agent.poll_answered(agent.session(), base::error("connection_lost", "cut"), world.now, out);
    agent.notice({notice_alone, "its service is away", world.now + 5 * second}, world.now, out);
  });
  CHECK_FALSE(world.agent->is_ready_to_go());
  auto began = world.now;
  for (int i = 0; i < 500 && world.commands[id].told.empty(); ++i) {
    world.befall([&](Agent& agent, Actions& out) { agent.advance(world.now, out); });
    world.step();
  }
  CHECK(world.halts[id] == 1);
  CHECK(world.commands[id].told == ended_by_notice);
  CHECK(world.now > began + 2 * second);
  CHECK(world.now < began + 8 * second);
  CHECK_FALSE(world.agent->is_ready_to_go());
  auto& state = world.commands[id].state;
  state.phase = exec::State::Phase::ended;
  state.exit.emplace();
  state.exit->ended_by = ended_by_notice;
  state.exit->signal = 9;
  world.befall([&](Agent& agent, Actions& out) { agent.observed(id, state, world.now, out); });
  CHECK(world.agent->is_ready_to_go());
  CHECK_FALSE(world.agent->idle());  // it waits for who delivers it
  CHECK(world.journals[id].find("its service is away") != std::string::npos);
}

TEST_CASE("of two notices the earlier time counts") {
  Going world;
  world.take_away(3'600'000);
  REQUIRE(world.run_until([&] { return world.notices[id] > 0; }));
  world.service.take_away(7'200'000);
  world.service.take_away(10'000);
  REQUIRE(world.run_until([&] { return world.served().result.has_value(); }));
  CHECK(world.now < world.told_at + 12 * second);
  CHECK(world.notices[id] == 1);
}

TEST_CASE(
    "whoever kills the worker, and whenever, the run ends interrupted, told once in its log") {
  int steps = 0;
  {
    Going world;
    int from = world.steps;
    world.take_away(30'000);
    world.run();
    steps = world.steps - from;
  }
  for (int at = 0; at < steps; ++at) {
    INFO(at);
    Going world;
    world.crash_at = world.steps + at;
    world.take_away(30'000);
    world.run();
    auto& run = world.served();
    REQUIRE(run.result);
    CHECK(run.result->status == "interrupted");
    CHECK(run.result->reason_code == "machine_notice");
    CHECK(run.result->reason == "its machine is taken away (asked for by ada)");
    CHECK(run.count("This machine is taken away in") == 1);
    CHECK(world.notices[id] <= 2);
    CHECK(world.launches[id] == 1);
  }
}

TEST_CASE("the service hears of a notice with each request from then on, and at once") {
  Going world;
  world.service.heard.clear();
  Actions actions;
  auto at = world.now + 120 * second;
  world.agent->notice({"aws", "spot interruption, AWS", at}, world.now, actions);
  REQUIRE(world.run_until([&] { return !world.service.heard.empty(); }));
  auto& first = world.service.heard.front().notice;
  REQUIRE(first);
  CHECK(first->kind == "aws");
  CHECK(first->text == "spot interruption, AWS");
  CHECK(first->remaining_ms > 119'000);
  CHECK(world.agent->next_poll(0, world.now).request.notice);
  SECTION("one that is older does not hear it, and the rest goes on") {
    Going other;
    other.service.knows_notices = false;
    Actions more;
    other.agent->notice({"aws", "spot", other.now}, other.now, more);
    other.run();
    CHECK(!other.agent->next_poll(0, other.now).request.notice);
  }
}

TEST_CASE("a machine is ready to go when the service has heard the end of all") {
  Going world;
  CHECK(!world.agent->is_ready_to_go());
  world.take_away(1000);
  REQUIRE(world.run_until([&] { return world.halts[id] > 0; }));
  CHECK(!world.agent->is_ready_to_go());
  world.run();
  CHECK(world.agent->is_ready_to_go());
}
