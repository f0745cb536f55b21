// Mounts of a run: made before its command, or its end.
#include "catch.hpp"
#include "fake_world.hpp"
#include "worker/ending.hpp"

using namespace spell;
using namespace spell::worker;
using namespace spell::worker::testing;

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
  check_given_up(start_with_mount(), &World::mounting_takes_long);
}

TEST_CASE("a worker that is killed while it mounts does it anew") {
  check_done_anew(start_with_mount(), "Mounted uploads/x");
}

TEST_CASE("a mount that the supervisor cannot make is a failed mount") {
  exec::Exit exit;
  exit.error_code = "mount_failed";
  exit.error = "cannot mount on /mnt/x: Permission denied";
  auto ending = ending_of(exec::State::Phase::ended, false, exit, {}, {});
  CHECK(ending.result.status == "mount_failed");
  CHECK_FALSE(ending.save);
}
