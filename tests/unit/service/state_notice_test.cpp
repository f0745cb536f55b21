// Machines that will be taken away, in the state: what is placed there, what their workers are
// told, and what survives a crash.
#include "team_house.hpp"

using namespace spell;
using namespace spell::service;

namespace {

model::WorkerHello able(const std::string& boot = "boot-1") {
  auto hello = hello_of(8);
  hello.capabilities["notice"] = "1";
  hello.boot_id = boot;
  return hello;
}

struct Going : Team {
  std::string box = machine("box", {"spot"}, able());
  Result<> interrupt(std::int64_t seconds, const std::string& name = "box") {
    return change(
        [&] { return state->interrupt_machine("ada", name, seconds * second, "eve", now); });
  }
  Result<> resume() {
    return change([&] { return state->change_machine("ada", "box", {{}, false}); });
  }
  const store::MachineRecord& record() { return state->machine_by_id(box)->record; }
  /// The notices that its worker has not seen yet.
  std::vector<model::Command> notices() {
    std::vector<model::Command> out;
    for (auto& command : state->machine_by_id(box)->commands)
      if (command.type == "notice") out.push_back(command);
    return out;
  }
  Result<bool> told(const std::string& kind, std::int64_t remaining_ms,
                    const std::string& text = "spot interruption, AWS") {
    return change([&] { return state->heed_notice(box, {kind, text, remaining_ms}, now); });
  }
};

}  // namespace

TEST_CASE(
    "a machine that is interrupted tells its worker, and gets nothing more until it is resumed") {
  Going team;
  REQUIRE(team.interrupt(30));
  REQUIRE(team.notices().size() == 1);
  CHECK(team.notices()[0].remaining_ms == 30'000);
  CHECK(team.notices()[0].reason == "asked for by eve");
  CHECK(team.record().going_us == team.now + 30 * second);
  CHECK(team.record().drained);
  REQUIRE(team.submit_to("spot"));
  CHECK(team.run(1).machine.empty());
  // A nearer time counts, a later one does not.
  REQUIRE(team.interrupt(3600));
  CHECK(team.record().going_us < team.now + 31 * second);
  REQUIRE(team.interrupt(0));
  CHECK(team.record().going_us == team.now);
  CHECK(team.notices().size() == 1);
  CHECK(team.notices()[0].remaining_ms == 0);

  REQUIRE(team.resume());
  CHECK(team.record().going_us == 0);
  CHECK(team.record().going.empty());
  REQUIRE(team.notices().size() == 1);
  CHECK(team.notices()[0].reason_code == "withdrawn");
  CHECK(team.run(1).machine == "box");
}

TEST_CASE("a notice survives a crash of the service, and its worker hears it again") {
  Going team;
  REQUIRE(team.interrupt(30));
  team.open();
  CHECK(team.record().going == "asked for by eve");
  team.now += 10 * second;
  team.greet(team.box, able());
  REQUIRE(team.notices().size() == 1);
  CHECK(team.notices()[0].remaining_ms <= 20'000);
  CHECK(team.notices()[0].remaining_ms > 19'000);
  // One that says so itself knows it.
  REQUIRE(team.change([&] {
    return team.state->hello(team.box, able(), {}, team.now,
                             model::MachineNotice{"asked", "asked for by eve", 19'000});
  }));
  CHECK(team.notices().empty());
  // And one that was away while it was resumed hears of that.
  REQUIRE(team.resume());
  REQUIRE(team.change([&] {
    return team.state->hello(team.box, able(), {}, team.now,
                             model::MachineNotice{"asked", "asked for by eve", 19'000});
  }));
  REQUIRE(team.notices().size() == 1);
  CHECK(team.notices()[0].reason_code == "withdrawn");
}

TEST_CASE("an interruption that the store could not take has not been") {
  Going team;
  team.lost_change([&] { return team.state->interrupt_machine("ada", "box", 0, "eve", team.now); });
  CHECK(team.record().going_us == 0);
  CHECK(!team.record().drained);
  CHECK(team.notices().empty());
}

TEST_CASE("what cannot be interrupted") {
  Going team;
  CHECK(team.interrupt(30, "none").error().code() == "machine_not_found");
  team.machine("old");
  CHECK(team.interrupt(30, "old").error().code() == "not_available");
  CHECK(team.change([&] { return team.state->interrupt_machine("eve", "box", 0, "eve", team.now); })
            .error()
            .code() == "machine_not_found");
  // One that is away hears of it when it is back.
  auto session = team.state->machine_by_id(team.box)->session;
  REQUIRE(team.change([&] { return team.state->away(team.box, session, team.now), ok(); }));
  CHECK(team.interrupt(30));
}

TEST_CASE("a worker says that its machine goes: once it is news, and nothing is placed there") {
  Going team;
  CHECK(team.told("aws", 120'000).value());
  CHECK(!team.told("aws", 119'000).value());
  CHECK(team.record().going_us == team.now - 1000 + 120 * second);
  CHECK(team.record().going == "spot interruption, AWS");
  CHECK(!team.record().drained);
  REQUIRE(team.submit_to("spot"));
  CHECK(team.run(1).machine.empty());
  team.open();
  CHECK(team.record().going == "spot interruption, AWS");
  CHECK(team.run(1).machine.empty());
  // The same boot, so it has still to go.
  team.greet(team.box, able());
  CHECK(team.run(1).machine.empty());
  CHECK(team.notices().size() == 1);
  // It went, and is back.
  team.greet(team.box, able("boot-2"));
  CHECK(team.record().going_us == 0);
  CHECK(team.run(1).machine == "box");
}

TEST_CASE("what was asked for here is not news from there, and stays withdrawn") {
  Going team;
  CHECK(!team.told("asked", 1000, "asked for by eve").value());
  CHECK(team.record().going_us == 0);
  auto text = std::string(5000, 'x') + "\n\x1b[31m";
  CHECK(team.told("signal", 1000, text).value());
  CHECK(team.record().going.size() < 300);
}

TEST_CASE("a notice that its cloud takes back is none, unless somebody has asked for it too") {
  Going team;
  CHECK(!team.told("withdrawn", 0, "").value());
  CHECK(team.told("azure", 60'000, "preempted, Azure").value());
  REQUIRE(team.submit_to("spot"));
  CHECK(team.run(1).machine.empty());
  CHECK(team.told("withdrawn", 0, "").value());
  CHECK(team.record().going_us == 0);
  CHECK(team.record().going.empty());
  CHECK(team.run(1).machine == "box");
  CHECK(!team.told("withdrawn", 0, "").value());
  team.open();
  CHECK(team.record().going_us == 0);
  // One that says so with its hello is not told of the old one.
  team.greet(team.box, able());
  CHECK(team.told("azure", 60'000, "preempted, Azure").value());
  REQUIRE(team.change([&] {
    return team.state->hello(team.box, able(), {{team.run(1).id, team.run(1).epoch}}, team.now,
                             model::MachineNotice{"withdrawn", "", 0});
  }));
  CHECK(team.notices().empty());

  REQUIRE(team.resume());
  REQUIRE(team.interrupt(60));
  CHECK(!team.told("withdrawn", 0, "").value());
  CHECK(team.record().going_us != 0);
}

TEST_CASE("a pool's machine that goes on is kept, as long as it has not begun to end") {
  Going team;
  auto pooled = team.Team::record("pooled", {"pooled-type"});
  pooled.pool = "pooled-type";
  pooled.phase = "up";
  REQUIRE(team.change([&] { return team.state->create_machine(pooled); }));
  REQUIRE(team.join(team.token(pooled.id), able()));
  team.greet(pooled.id, able());
  auto told = [&](const std::string& kind) {
    return team
        .change([&] {
          return team.state->heed_notice(pooled.id, {kind, "preempted, Azure", 60'000}, team.now);
        })
        .value();
  };
  auto phase = [&] { return team.state->machine_by_id(pooled.id)->record.phase; };
  CHECK(told("azure"));
  CHECK(phase() == "ending");
  CHECK(!told("withdrawn"));  // it is empty, so it ends at once
  CHECK(phase() == "ending");

  auto other = pooled;
  other.id = base::hex(base::random_bytes(16));
  other.name = "other";
  REQUIRE(team.change([&] { return team.state->create_machine(other); }));
  REQUIRE(team.join(team.token(other.id), able()));
  team.greet(other.id, able());
  pooled = other;
  REQUIRE(team.submit_to("pooled-type"));
  REQUIRE(team.run(1).machine == "other");
  CHECK(told("azure"));
  CHECK(phase() == "ending");
  CHECK(told("withdrawn"));
  CHECK(phase() == "up");
  CHECK(team.run(1).machine == "other");
}

TEST_CASE("a pool's machine ends then") {
  Going team;
  auto pooled = team.Team::record("pooled", {"spot"});
  pooled.pool = "spot";
  pooled.phase = "up";
  REQUIRE(team.change([&] { return team.state->create_machine(pooled); }));
  REQUIRE(team.join(team.token(pooled.id), able()));
  team.greet(pooled.id, able());
  REQUIRE(team.interrupt(5, "pooled"));
  auto& record = team.state->machine_by_id(pooled.id)->record;
  CHECK(record.phase == "ending");
  CHECK(record.phase_us == team.now);
  CHECK(!record.drained);
  CHECK(record.going_us == team.now + 5 * second);
}

TEST_CASE(
    "this computer's own machine can be taken away, too, and a crash does not bring it back") {
  House house;
  model::WorkerHello hello;
  hello.capabilities["notice"] = "1";
  REQUIRE(house.change([&] { return house.state->hello("here", hello, {}, house.now); }));
  REQUIRE(house.change([&] {
    return house.state->interrupt_machine("ada", "here", 30 * second, "ada", house.now);
  }));
  auto at = house.now + 30 * second;
  REQUIRE(house.submit("train"));
  CHECK(house.run(1).machine.empty());
  house.open();
  auto& record = house.state->machines().at("here").record;
  CHECK(record.going_us == at);
  REQUIRE(house.change([&] { return house.state->hello("here", hello, {}, house.now); }));
  auto& commands = house.state->machines().at("here").commands;
  REQUIRE(commands.size() == 1);
  CHECK(commands[0].type == "notice");
  CHECK(house.run(1).machine.empty());
  REQUIRE(house.change([&] { return house.state->change_machine("ada", "here", {{}, false}); }));
  CHECK(house.run(1).machine == "here");
  house.open();
  CHECK(house.state->machines().at("here").record.going_us == 0);
}
