// Every step of a run failed once: the worker killed before it, the service away at it, its answer
// lost.
#include "../../unit/worker/fake_world.hpp"
#include "catch.hpp"

using namespace spell;
using namespace spell::worker;
using namespace spell::worker::testing;

namespace {

/// Runs the scenario; true if it had been undisturbed: no step was left to fail.
void check_whole(World& world) {
  auto& run = world.service.runs[id];
  CHECK(run.statuses() == std::vector<std::string>{"building", "running", "saving", "pushing"});
  REQUIRE(run.result);
  CHECK(run.result->status == "complete");
  CHECK(run.result->exit_code == 0);
  CHECK(run.result->log_bytes == 100);
  CHECK(run.result->outputs == "tree of " + id);
  CHECK(run.log_bytes == 100);
  CHECK(run.outputs.size() == 1);
  CHECK(run.events.size() == 8);
  for (std::size_t i = 0; i < run.events.size(); ++i)
    CHECK(run.events[i].number == static_cast<std::int64_t>(i) + 1);
  CHECK(world.launches[id] == 1);
  CHECK(world.journals.empty());
  CHECK(world.agent->idle());
}

}  // namespace

TEST_CASE("a worker that is killed before any step goes on as if nothing had been") {
  int step = 0, whole = 0;
  {
    World world;
    world.service.assign(start_with_code());
    world.run();
    whole = world.steps;
  }
  REQUIRE(whole > 20);
  for (; step < whole; ++step) {
    INFO("killed before step " << step);
    World world;
    world.crash_at = step;
    world.service.assign(start_with_code());
    world.run();
    check_whole(world);
  }
}

TEST_CASE("a worker that is killed before each step in a row") {
  World world;
  world.service.assign(start_with_code());
  int steps = 0;
  // Killed after every 12th step, so that it always gets a little further.
  while (world.step() && ++steps < 2000)
    if (steps % 12 == 0) world.crash();
  CHECK(steps < 2000);
  check_whole(world);
}

TEST_CASE("a service that is away at any request loses nothing") {
  int whole = 0;
  {
    World world;
    world.service.assign(start_with_code());
    world.run();
    whole = world.requests;
  }
  REQUIRE(whole > 6);
  for (bool lost_answer : {false, true})
    for (int request = 0; request < whole; ++request) {
      INFO("request " << request << (lost_answer ? ", carried out" : ", not carried out"));
      World world;
      world.unreachable_at = request;
      world.lost_answer = lost_answer;
      world.service.assign(start_with_code());
      world.run();
      check_whole(world);
    }
}

TEST_CASE("a stop is not forgotten by a worker that is killed") {
  int step = 0;
  for (bool more = true; more; ++step) {
    INFO("killed " << step << " steps after the stop");
    World world;
    world.next_command.never_ends = true;
    world.service.assign(start_command());
    REQUIRE(world.run_until([&] { return world.service.runs[id].count("Run is running") > 0; }));
    world.service.want(id, "stop");
    world.crash_at = world.steps + step;
    world.run();
    more = world.steps > world.crash_at;
    REQUIRE(world.service.runs[id].result);
    CHECK(world.service.runs[id].result->status == "stopped");
    CHECK(world.service.runs[id].outputs.size() == 1);
    CHECK(world.launches[id] == 1);
  }
}

TEST_CASE("a journal may be cut at any byte") {
  World world;
  world.service.assign(start_with_code());
  REQUIRE(world.run_until([&] { return world.service.runs[id].count("Run is saving") > 0; }));
  std::string text = world.journals[id];
  auto first_line = text.find('\n');
  REQUIRE(first_line != std::string::npos);
  std::size_t events = 0;
  for (std::size_t size = 0; size <= text.size(); ++size) {
    auto journal = read_journal(std::string_view(text).substr(0, size));
    CHECK(journal.ok() == (size > first_line));
    if (!journal) continue;
    CHECK(journal->start.run == id);
    CHECK(journal->events.size() >= events);
    events = journal->events.size();
  }
  CHECK(events >= 5);
}
