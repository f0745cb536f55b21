// A run whose environment is brought to its machine, or built there, first.
#include "catch.hpp"
#include "fake_world.hpp"

using namespace spell;
using namespace spell::worker;
using namespace spell::worker::testing;

namespace {

model::StartCommand start_with_environment() {
  auto start = start_with_mount();
  start.request.pip = {"numpy"};
  return start;
}

}  // namespace

TEST_CASE("a run's environment is there before anything is mounted or started") {
  World world;
  world.service.assign(start_with_environment());
  world.run();
  auto& run = world.service.runs[id];
  CHECK(run.statuses() ==
        std::vector<std::string>{"building", "mounting", "running", "saving", "pushing"});
  CHECK(run.count("environment is there") == 1);
  CHECK(run.result->status == "complete");
}

TEST_CASE("an environment that cannot be built ends the run, and its log has what the tool said") {
  World world;
  world.fails.emplace("prepare", base::error("build_failed", "pip failed\nline 1\nline 2"));
  world.service.assign(start_with_environment());
  world.run();
  auto& run = world.service.runs[id];
  CHECK(run.result->status == "build_failed");
  CHECK(run.result->reason == "pip failed");
  CHECK(run.count("line 1") == 1);
  CHECK(run.count("line 2") == 1);
  CHECK(run.count("Run is mounting") == 0);
  CHECK(world.launches[id] == 0);
  CHECK(world.agent->idle());
}

TEST_CASE("a build of an environment is given up when the run is not wanted any more") {
  check_given_up(start_with_environment(), &World::preparing_takes_long);
}

TEST_CASE("a worker that is killed while it builds an environment does it anew") {
  check_done_anew(start_with_environment(), "environment is there");
}

TEST_CASE("a run without an environment has no such step") {
  World world;
  world.service.assign(start_with_mount());
  world.run();
  CHECK(world.service.runs[id].count("environment is there") == 0);
}
