// Pools in the state: what is launched and ended, for what runs, and what a crash in between
// leaves.
#include "pooled_house.hpp"

using namespace spell;
using namespace spell::service;

TEST_CASE("a run that waits has a machine launched, which takes it and ends when it is idle") {
  Pooled team;
  REQUIRE(team.launches().empty());
  REQUIRE(team.submit_to("spot"));  // though no machine has joined
  REQUIRE(team.launches().size() == 1);
  CHECK(team.why(1) == "waiting for a spot machine: 1 is starting");
  auto task = team.up();
  CHECK(task.name.starts_with("spot-"));
  CHECK(team.phase(task) == "up");
  CHECK(team.run(1).machine == task.name);
  CHECK(team.launches().empty());
  team.pass(1000);
  CHECK(team.ends().empty());  // busy
  REQUIRE(team.say(task.id, team.end_of(1)));
  team.pass(99);
  CHECK(team.ends().empty());
  CHECK(team.state->next_pool_us() > team.now);
  team.pass(2);
  REQUIRE(team.ends().size() == 1);
  // It is given nothing any more; another one is.
  REQUIRE(team.submit_to("spot"));
  CHECK(team.run(2).machine.empty());
  CHECK(team.launches().size() == 1);
  team.ended(task);
  CHECK(team.phase(task) == "gone");
}

TEST_CASE("as many machines as runs need, and no more than there may be") {
  Pooled team(0, 3);
  for (int i = 0; i < 5; ++i) REQUIRE(team.submit_to("spot"));
  CHECK(team.launches().size() == 3);
  // 8 cores: two runs of 4. The other two are enough for what waits then.
  team.up(8);
  CHECK(team.launches().size() == 2);
  team.up(8);
  team.up(8);
  CHECK(team.launches().empty());
  CHECK(team.why(5).find("none") == std::string::npos);

  Pooled other(0, 5);
  REQUIRE(other.submit_to("spot"));
  other.up(8);
  for (int i = 0; i < 5; ++i) REQUIRE(other.submit_to("spot"));  // one beside the first, 4 are 2
  CHECK(other.launches().size() == 2);
}

TEST_CASE("runs that may not start, or never fit, launch nothing") {
  Pooled team(0, 5);
  REQUIRE(team.writer->put_quota({"ada", "ada", "runs", 1}));
  REQUIRE(team.change([&] { return team.state->load_quotas(); }));
  for (int i = 0; i < 3; ++i) REQUIRE(team.submit_to("spot"));
  CHECK(team.launches().size() == 1);

  Pooled small;
  REQUIRE(small.submit_to("spot"));
  small.up(4);
  CHECK(small.submit_to("spot", 1).error().code() == "machine_too_small");
  CHECK(small.launches().empty());
}

TEST_CASE("a run that is too large for its pool's machines launches none, and says so") {
  Pooled team;
  REQUIRE(team.submit_to("spot"));
  auto task = team.up(4);
  REQUIRE(team.say(task.id, team.end_of(1)));
  team.pass(101);
  team.ended(task);
  REQUIRE(team.phase(task) == "gone");
  Submission s{"ada", "ada", "", "", {}};
  s.request.command = "train";
  s.request.machine_type = "spot";
  s.request.cpus = 64;
  REQUIRE(team.change([&] { return team.state->submit(s, team.now); }));
  auto beyond = "64 cores wanted, 4 on " + task.name;
  CHECK(team.why(2) == "waiting for a spot machine: none of its pool can take it: " + beyond);
  auto said = [&] {
    int n = 0;
    for (auto& event : team.writer->events(team.run(2).id, 0, 1000).value())
      n += event.text.find("No machine of the pool of spot can take this run: " + beyond) == 0;
    return n;
  };
  CHECK(said() == 1);
  for (int i = 0; i < 5; ++i) team.pass(1000);
  CHECK(team.launches().empty());
  CHECK(said() == 1);
  // Others are not held up by it.
  REQUIRE(team.submit_to("spot"));
  REQUIRE(team.launches().size() == 1);
  auto other = team.up(4);
  CHECK(team.run(3).machine == other.name);
  REQUIRE(team.say(other.id, team.end_of(3)));
  team.pass(101);
  team.ended(other);
  CHECK(team.launches().empty());
  // The type is another one now: there is something to be tried.
  team.declare(0, 1);
  REQUIRE(team.launches().size() == 1);
  auto large = team.up(64);
  CHECK(team.run(2).machine == large.name);
  CHECK(team.run(2).reason.empty());
}

TEST_CASE("a minimum is kept, and a maximum that is lowered is kept too") {
  Pooled team(1, 2);
  REQUIRE(team.launches().size() == 1);
  auto task = team.up();
  team.pass(1000);
  CHECK(team.ends().empty());
  team.declare(0, 0);
  CHECK(team.ends().size() == 1);
  CHECK(team.phase(task) == "ending");
  CHECK(team.submit_to("spot").error().code() == "unknown_machine_type");
  team.declare(2, 2);
  CHECK(team.launches().size() == 2);
  team.declare(0, 0);  // those that only start, too
  CHECK(team.launches().empty());
  CHECK(team.ends().size() == 3);
}

TEST_CASE("a pool's machine joins with its token alone, and only while it is launched") {
  Pooled team;
  REQUIRE(team.submit_to("spot"));
  auto task = team.launches().at(0);
  auto token = team.begin_launch(task);
  team.pass(61);
  CHECK(team.phase(task) == "ending");
  CHECK(team.join(token).error().code() == "unauthorized");
  CHECK(team.begin_launch(task).empty());
  CHECK(team.why(1) == "waiting for a spot machine: the pool says: machine " + task.name +
                           " has not joined within 60 s");
  // Another try, after a while.
  CHECK(team.launches().empty());
  team.pass(2);
  CHECK(team.launches().size() == 1);
  team.up();
  CHECK(team.state->cluster().pool("ada", "spot")->problem.empty());
}

TEST_CASE("what fails is tried again later and later; what is wrong waits for a change") {
  Pooled team(0, 3);
  REQUIRE(team.submit_to("spot"));
  auto fail = [&](bool for_good) {
    auto task = team.launches().at(0);
    REQUIRE_FALSE(team.begin_launch(task).empty());
    REQUIRE(team.change([&] {
      return team.state->pool_launch_failed(task.id, "no capacity", for_good, team.now);
    }));
    CHECK(team.launches().empty());
    CHECK(team.phase(task) == "ending");
    team.ended(task);
    CHECK(team.why(1) == "waiting for a spot machine: the pool says: no capacity");
  };
  for (std::int64_t pause : {1, 2, 4, 8}) {
    fail(false);
    std::int64_t due = team.state->next_pool_us();
    CHECK(due > team.now + (pause - 1) * second);
    CHECK(due <= team.now + pause * second);
    team.pass(pause + 1);
    CHECK(team.launches().size() == 1);
  }
  fail(true);
  team.pass(200);
  CHECK(team.launches().empty());
  team.declare(0, 2);
  CHECK(team.launches().size() == 1);
}

TEST_CASE("a restart in the middle of a launch loses no machine") {
  for (bool listed : {true, false}) {
    Pooled team;
    REQUIRE(team.submit_to("spot"));
    auto task = team.launches().at(0);
    auto token = team.begin_launch(task);
    team.open();  // killed before the program's end
    // Whether it is there only the list can say.
    CHECK(team.launches().empty());
    CHECK(team.phase(task) == "launching");
    CHECK(team.listed(listed ? std::set{task.name} : std::set<std::string>{}).empty());
    if (listed) {
      CHECK(team.launches().empty());
      REQUIRE(team.join(token, hello_of(4)));
      team.greet(task.id, hello_of(4));
      CHECK(team.run(1).machine == task.name);
    } else {
      CHECK(team.phase(task) == "ending");
      REQUIRE(team.launches().size() == 1);
      CHECK(team.launches()[0].name != task.name);
      CHECK(team.join(token).error().code() == "unauthorized");
    }
  }
}

TEST_CASE("a row that was not stored launches nothing") {
  Pooled team;
  team.lost_change([&] {
    Submission s{"ada", "ada", "", "", {}};
    s.request.command = "train";
    s.request.machine_type = "spot";
    return team.state->submit(s, team.now);
  });
  CHECK(team.launches().empty());
}

TEST_CASE("what a list shows and nobody knows is named; what it does not show has vanished") {
  Pooled team;
  REQUIRE(team.submit_to("spot"));
  CHECK(team.listed({"spot-stranger"}) == Words{"spot-stranger"});
  auto task = team.up();
  REQUIRE(team.run(1).machine == task.name);
  team.pass(10);
  CHECK(team.listed({}).empty());  // it is connected, so it is there
  CHECK(team.phase(task) == "up");
  REQUIRE(team.change([&] {
    team.state->away(task.id, team.state->machine_by_id(task.id)->session, team.now);
    return ok();
  }));
  CHECK(team.listed({task.name}).empty());
  CHECK(team.run(1).status == "machine_requested");
  CHECK(team.listed({}).empty());
  CHECK(team.run(1).status == "interrupted");
  CHECK(team.run(1).reason_code == "machine_lost");
  CHECK(team.phase(task) == "ending");
  team.open();
  CHECK(team.ends().size() == 1);
}

TEST_CASE("a list that began before a machine was up says nothing of it") {
  Pooled team;
  REQUIRE(team.submit_to("spot"));
  std::int64_t began = team.now;
  auto task = team.launches().at(0);
  auto token = team.begin_launch(task);
  REQUIRE(team.join(token, hello_of(4)));
  REQUIRE(team.change([&] { return team.state->pool_listed("ada", "spot", {}, began, team.now); }));
  CHECK(team.phase(task) == "up");
}

TEST_CASE("a machine that is lost or about to go makes room for another one, and ends") {
  Pooled team(0, 1);
  Submission s{"ada", "ada", "", "", {}};
  s.request.command = "train";
  s.request.machine_type = "spot";
  s.request.auto_resume = true;
  REQUIRE(team.change([&] { return team.state->submit(s, team.now); }));
  auto task = team.up();
  REQUIRE(team.change([&] { return team.state->lost(task.id, team.now), ok(); }));
  CHECK(team.run(1).status == "interrupted");
  CHECK(team.run(1).resumed_as == 2);
  CHECK(team.launches().size() == 1);  // though one may be there at most
  CHECK(team.phase(task) == "up");     // it may come back with what it has
  team.pass(601);
  CHECK(team.phase(task) == "ending");

  Pooled other(0, 1);
  REQUIRE(other.submit_to("spot"));
  auto going = other.up();
  REQUIRE(other.change(
      [&] { return other.state->remove_machine("ada", going.name, true, other.now); }));
  CHECK(other.run(1).status == "interrupted");
  CHECK(other.phase(going) == "ending");
  other.ended(going);
  CHECK(other.phase(going) == "gone");
}

TEST_CASE("a pool that has machines stays as it is, and its machines keep their names") {
  Pooled team;
  REQUIRE(team.submit_to("spot"));
  auto task = team.up();
  auto changed = team.type(0, 2);
  changed.pool_options = R"({"zone":"b"})";
  auto refused = team.change([&] { return team.state->put_machine_type(changed, true); });
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == "machine_in_use");
  CHECK(
      team.change([&] { return team.state->remove_machine_type("ada", "spot"); }).error().code() ==
      "machine_in_use");
  MachineChange rename{"other", {}};
  CHECK(team.change([&] { return team.state->change_machine("ada", task.name, rename); })
            .error()
            .code() == "not_permitted");
  team.declare(0, 5);  // how many there may be is another matter
  REQUIRE(team.say(task.id, team.end_of(1)));
  team.pass(101);
  team.ended(task);
  CHECK(team.change([&] { return team.state->put_machine_type(changed, true); }));
  CHECK(team.change([&] { return team.state->remove_machine_type("ada", "spot"); }));
}

TEST_CASE("a spot machine is lost after 10 s where nobody has said another time") {
  Pooled team;
  REQUIRE(team.submit_to("spot"));
  auto task = team.up();
  auto lost_after = [&](bool spot, std::int64_t seconds) {
    auto type = team.type(0, 2);
    type.spot = spot;
    type.lost_after = seconds;
    REQUIRE(team.change([&] { return team.state->put_machine_type(type, true); }));
    return team.state->lost_after(*team.state->machine_by_id(task.id));
  };
  CHECK(lost_after(false, 0) == 600);
  CHECK(lost_after(true, 0) == 10);
  CHECK(lost_after(true, 60) == 60);
}

TEST_CASE("a type is not deleted while runs wait for what only its pool makes") {
  Pooled team(0, 1);
  REQUIRE(team.submit_to("spot"));
  REQUIRE(team.submit_to("spot"));
  team.declare(0, 0);  // its machine is not launched any more
  team.look();
  for (auto& task : team.ends()) team.ended(task);
  REQUIRE(team.launches().empty());
  auto remove = [&] {
    return team.change([&] { return team.state->remove_machine_type("ada", "spot"); });
  };
  auto refused = remove();
  REQUIRE(!refused);
  CHECK(refused.error().code() == "machine_in_use");
  CHECK(refused.error().message() ==
        "2 runs wait for a machine of type 'spot', and nothing else serves it: `spell kill 1 2` "
        "first");
  team.machine("box", {"spot"});  // serves it too
  CHECK(remove());
}
