// A run whose program is built on its machine first.
#include "catch.hpp"
#include "fake_world.hpp"

using namespace spell;
using namespace spell::worker;
using namespace spell::worker::testing;

TEST_CASE("a run's program is built before it is started") {
  World world;
  world.service.assign(start_with_build());
  world.run();
  auto& run = world.service.runs[id];
  CHECK(run.statuses() == std::vector<std::string>{"building", "running", "saving", "pushing"});
  CHECK(run.count("Mounted uploads/x") == 1);
  CHECK(run.count("Program built with c++") == 1);
  CHECK(run.result->status == "complete");
}

TEST_CASE("a program that cannot be built ends the run, and its log has what the compiler said") {
  World world;
  world.fails.emplace("compile",
                      base::error("build_failed", "cannot be built: no x\nline 1\nline 2"));
  world.service.assign(start_with_build());
  world.run();
  auto& run = world.service.runs[id];
  CHECK(run.result->status == "build_failed");
  CHECK(run.result->reason_code == "build_failed");
  CHECK(run.result->reason == "cannot be built: no x");
  CHECK(run.count("line 1") == 1);
  CHECK(run.count("line 2") == 1);
  CHECK(world.launches[id] == 0);
  CHECK(world.agent->idle());
}

TEST_CASE("what a program is built of and cannot be had fails the build") {
  World world;
  world.fails.emplace("mount", base::error("mount_failed", "Cannot mount resource 'uploads/x'"));
  world.service.assign(start_with_build());
  world.run();
  CHECK(world.service.runs[id].result->status == "build_failed");
  CHECK(world.launches[id] == 0);
}

TEST_CASE("a build is given up when the run is not wanted any more") {
  check_given_up(start_with_build(), &World::compiling_takes_long);
}

TEST_CASE("a worker that is killed while it builds does it anew") {
  check_done_anew(start_with_build(), "Program built with c++");
}
