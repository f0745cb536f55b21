// Costs in the state: what is recorded of a run's time on its machine, and that it is recorded once
// whatever happens.
#include <random>

#include "priced_house.hpp"

using namespace spell;
using namespace spell::service;

TEST_CASE("a run costs what its type cost when it got its machine, until its end") {
  Priced team;
  auto box = team.machine("box", {"v100"});
  REQUIRE(team.submit_to("V100"));
  auto leased = team.run(1).cost.leased_us;
  CHECK(leased > 0);
  CHECK(team.run(1).cost.price == 2 * nano);
  CHECK(team.run(1).cost.type == "v100");
  team.pass(60);
  team.declare(50 * nano);
  team.pass(60);
  REQUIRE(team.submit_to("v100"));
  REQUIRE(team.say(box, team.end_of(1)));
  auto ms = (team.run(1).ended_us - leased) / 1000;
  CHECK(ms >= 120'000);
  CHECK(team.total() == units(2 * nano, ms));
  CHECK(team.run(2).cost.price == 50 * nano);
  // A price that is not known any more alters nothing either.
  team.declare({});
  team.pass(10);
  REQUIRE(team.say(box, team.end_of(2)));
  CHECK(team.total() == team.of(1) + team.of(2));
  CHECK(team.of(2) >= units(50 * nano, 10'000));
  // Nor does the run's removal.
  auto all = team.total();
  REQUIRE(team.change([&] { return team.state->remove("ada", 1); }));
  CHECK(team.total() == all);
}

TEST_CASE("more of a machine costs more") {
  Priced team;
  team.machine("box", {"v100"});
  Submission s{"ada", "ada", "", "", {}};
  s.request.command = "train";
  s.request.machine_type = "v100";
  s.request.cpus = 6;
  REQUIRE(team.change([&] { return team.state->submit(s, team.now); }));
  CHECK(team.run(1).cost.price == 6 * nano);
}

TEST_CASE("spot machines have a price of their own, and say what they would cost without") {
  Priced team;
  team.declare(3 * nano, nano, "cheap");
  auto box = team.machine("box", {"cheap"});
  REQUIRE(team.submit_to("cheap"));
  team.pass(100);
  REQUIRE(team.say(box, team.end_of(1)));
  auto entries = team.entries();
  REQUIRE(entries.size() == 1);
  CHECK(entries[0].spot);
  CHECK(entries[0].price == nano);
  CHECK(entries[0].on_demand == 3 * nano);
  auto total = team.report().total();
  CHECK(total.on_demand == 3 * total.amount);
}

TEST_CASE("a run on a machine by its name pays for the machine's type") {
  Priced team;
  team.machine("box", {"other", "v100"});
  REQUIRE(team.submit_to("box"));
  CHECK(team.run(1).cost.type == "v100");
  CHECK(team.run(1).cost.price == 2 * nano);
}

TEST_CASE("what has no price is noted, not counted") {
  Priced team;
  auto box = team.machine("box", {"plain"});
  REQUIRE(team.submit_to("plain"));
  team.pass(10);
  CHECK(team.unpriced().empty());
  REQUIRE(team.say(box, team.end_of(1)));
  CHECK(team.entries().empty());
  CHECK(team.unpriced() == Words{"plain"});
  CHECK_FALSE(team.run(1).cost.price);
  CHECK(team.run(1).cost.billed_ms >= 10'000);
  // Waiting costs nothing and is nothing that lacks a price.
  team.declare({}, {}, "idle");
  team.machine("late", {"idle"});
  auto leased = team.writer->leased_runs("ada");
  REQUIRE(leased);
  CHECK(leased->empty());
}

TEST_CASE("an end is billed once, however often it is told, and not at all if it was not stored") {
  Priced team;
  auto box = team.machine("box", {"v100"});
  REQUIRE(team.submit_to("v100"));
  team.pass(30);
  auto end = team.end_of(1);
  team.lost_change([&] { return team.state->report(box, end, team.now); });
  CHECK(team.entries().empty());
  CHECK(team.run(1).cost.billed_ms == -1);
  team.pass(30);
  REQUIRE(team.say(box, end));
  auto once = team.total();
  CHECK(once == team.of(1));
  CHECK(once >= units(2 * nano, 60'000));
  REQUIRE(team.say(box, end));
  team.open();
  CHECK(team.entries().size() == 1);
  CHECK(team.total() == once);
}

TEST_CASE("a service that starts anew knows what a run that goes on costs") {
  Priced team;
  auto box = team.machine("box", {"v100"});
  REQUIRE(team.submit_to("v100"));
  auto before = team.run(1).cost;
  team.declare(7 * nano);
  team.open();
  team.greet(box, hello_of(8), {{team.run(1).id, team.run(1).epoch}});
  team.pass(60);
  REQUIRE(team.say(box, team.end_of(1)));
  CHECK(team.run(1).cost.leased_us == before.leased_us);
  CHECK(team.total() == units(2 * nano, (team.run(1).ended_us - before.leased_us) / 1000));
}

TEST_CASE("what an interruption has undone is what came after the last thing that was safe") {
  Priced team;
  auto box = team.machine("box", {"v100"});
  REQUIRE(team.submit_to("v100"));
  team.pass(100);
  auto report = team.report_of(1);
  report.backup.emplace();
  report.backup->outputs = "c:0123";
  REQUIRE(team.say(box, report));
  team.pass(40);
  REQUIRE(team.say(box, report));  // nothing new
  team.pass(10);
  REQUIRE(team.change([&] { return team.state->lost(box, team.now), ok(); }));
  auto entries = team.entries();
  REQUIRE(entries.size() == 1);
  CHECK(entries[0].lost_ms >= 50'000);
  CHECK(entries[0].lost_ms < 60'000);
  CHECK(entries[0].ms >= 150'000);
}

TEST_CASE("a machine that was lost and comes back has its run billed as it was") {
  Priced team;
  auto box = team.machine("box", {"v100"});
  REQUIRE(team.submit_to("v100"));
  auto run = team.run(1);
  team.pass(1000);
  REQUIRE(team.change([&] { return team.state->lost(box, team.now), ok(); }));
  CHECK(team.total() >= units(2 * nano, 1'000'000));
  CHECK(team.report().total().lost == team.total());
  team.open();
  team.greet(box, hello_of(8), {{run.id, run.epoch}});
  team.pass(500);
  auto end = team.end_of(1);
  end.result->ended_age_us = 1300 * second;  // long before it was lost
  REQUIRE(team.say(box, end));
  auto total = team.report().total();
  CHECK(total.runs == 1);
  CHECK(total.amount == team.of(1));
  CHECK(total.amount < units(2 * nano, 210'000));
  CHECK(total.lost == 0);
  CHECK(team.entries().size() == 3);
}

TEST_CASE("clocks that are set back make no bill negative") {
  Priced team;
  auto box = team.machine("box", {"v100"});
  REQUIRE(team.submit_to("v100"));
  team.now -= 500 * second;
  REQUIRE(team.say(box, team.end_of(1)));
  auto entries = team.entries();
  REQUIRE(entries.size() == 1);
  CHECK(entries[0].ms == 0);
  CHECK(team.total() == 0);
}

TEST_CASE("what a run has cost goes with its project and with its machine's name") {
  Priced team;
  store::ProjectRecord project;
  for (auto* name : {"one", "two"})
    REQUIRE(team.change([&] { return team.writer->put_project("ada", name, project); }));
  auto box = team.machine("box", {"v100"});
  REQUIRE(team.submit_to("v100"));
  REQUIRE(team.change([&] { return team.state->set_project("ada", 1, "one", team.now); }));
  team.pass(60);
  REQUIRE(team.say(box, team.end_of(1)));
  auto all = team.total();
  CHECK(team.by(sched::CostBy::project) == std::map<std::string, Units>{{"one", all}});
  REQUIRE(team.change([&] { return team.state->rename_project("ada", "one", "first"); }));
  CHECK(team.by(sched::CostBy::project) == std::map<std::string, Units>{{"first", all}});
  REQUIRE(team.change([&] { return team.state->set_project("ada", 1, "two", team.now); }));
  CHECK(team.by(sched::CostBy::project) == std::map<std::string, Units>{{"two", all}});
  CHECK(team.total() == all);
  REQUIRE(team.change([&] { return team.state->set_project("ada", 1, "", team.now); }));
  CHECK(team.by(sched::CostBy::project) == std::map<std::string, Units>{{"", all}});
  MachineChange change;
  change.name = "chest";
  REQUIRE(team.change([&] { return team.state->change_machine("ada", "box", change); }));
  CHECK(team.by(sched::CostBy::machine) == std::map<std::string, Units>{{"chest", all}});
  CHECK(team.by(sched::CostBy::user) == std::map<std::string, Units>{{"ada", all}});
  CHECK(team.by(sched::CostBy::type) == std::map<std::string, Units>{{"v100", all}});
}

TEST_CASE("the sums agree with the runs whatever crashes") {
  std::mt19937 random(5);
  Priced team;
  std::map<std::string, std::string> boxes;
  for (auto* name : {"a", "b", "c"}) boxes[name] = team.machine(name, {"v100"});
  auto hold = [&] {
    for (auto& [name, id] : boxes) {
      std::map<std::string, std::int64_t> holds;
      for (auto& record : team.writer->active_runs().value())
        if (record.machine == name) holds[record.id] = record.epoch;
      team.greet(id, hello_of(8), holds);
    }
  };
  auto ended = [&] {
    Units sum = 0;
    for (auto& record : team.writer->list_runs({.owner = "ada", .limit = 100'000}).value())
      sum += team.of(record.number);
    return sum;
  };
  for (int step = 0; step < 1500; ++step) {
    team.now += static_cast<std::int64_t>(random() % 5'000'000);
    auto active = team.writer->active_runs().value();
    std::erase_if(active, [](auto& record) { return record.machine.empty(); });
    auto any = active.empty() ? nullptr : &active[random() % active.size()];
    switch (random() % 10) {
      case 0:
      case 1:
      case 2:
        REQUIRE(team.submit_to("v100"));
        break;
      case 3:
        team.declare(static_cast<std::int64_t>(random()));
        break;
      case 4:
        team.open();
        hold();
        break;
      case 5:
        if (any) {
          auto end = team.end_of(any->number);
          team.lost_change(
              [&] { return team.state->report(boxes.at(any->machine), end, team.now); });
          hold();
        }
        break;
      case 6:
        if (any) {
          auto record = *any;
          auto id = boxes.at(record.machine);
          REQUIRE(team.change([&] { return team.state->lost(id, team.now), ok(); }));
          team.greet(id, hello_of(8), {{record.id, record.epoch}});
          auto end = team.end_of(record.number);
          end.epoch = record.epoch;
          end.result->ended_age_us = static_cast<std::int64_t>(random() % 3'000'000);
          REQUIRE(team.say(id, end));
          hold();
        }
        break;
      default:
        if (any) REQUIRE(team.say(boxes.at(any->machine), team.end_of(any->number)));
    }
    if (step % 100 == 0) REQUIRE(team.total() == ended());
  }
  CHECK(team.total() == ended());
  CHECK(team.total() > 0);
  for (auto by : {sched::CostBy::type, sched::CostBy::machine, sched::CostBy::day}) {
    Units sum = 0;
    for (auto& line : team.report(by).lines()) sum += line.sum.amount;
    CHECK(sum == team.total());
  }
}

TEST_CASE("what a pool's machine costs begins with its launch and ends with it") {
  Priced team;
  store::MachineTypeRecord type;
  type.owner = "ada";
  type.name = "spot";
  type.cpus = 4;
  type.pool = "fake";
  type.max_machines = 1;
  type.price = nano;
  REQUIRE(team.change([&] { return team.state->put_machine_type(type, true); }));
  auto time = [&] {
    auto times = team.writer->machine_times("ada", 0).value();
    REQUIRE(times.size() == 1);
    return times[0];
  };
  REQUIRE(team.submit_to("spot"));
  auto tasks = team.state->pool_tasks();
  REQUIRE(tasks.size() == 1);
  CHECK(time().price == nano);
  CHECK(time().began_us > 0);
  CHECK(time().joined_us == 0);
  type.price = 9 * nano;
  REQUIRE(team.change([&] { return team.state->put_machine_type(type, true); }));
  store::TokenRecord token;
  token.id = token.hash = base::hex(base::random_bytes(16));
  token.kind = "join";
  token.machine = tasks[0].id;
  token.created_us = team.now;
  token.expires_us = team.now + 3'600 * second;
  REQUIRE(team.change([&] { return team.state->pool_launches(tasks[0].id, token); }));
  REQUIRE(team.join(token.id, hello_of(4)));
  team.greet(tasks[0].id, hello_of(4));
  auto joined = time().joined_us;
  CHECK(joined > time().began_us);
  CHECK(time().price == nano);
  CHECK(team.run(1).machine == tasks[0].name);
  REQUIRE(team.say(tasks[0].id, team.end_of(1)));
  team.pass(10'000);
  CHECK(time().ending_us > joined);
  CHECK(time().ended_us == 0);
  team.open();
  REQUIRE(team.change([&] { return team.state->pool_ended(tasks[0].id, team.now); }));
  CHECK(time().ended_us >= time().ending_us);
  CHECK(time().joined_us == joined);
  CHECK(team.writer->cost_name(time().machine).value() == tasks[0].name);
}

TEST_CASE("what a run may cost is time when it gets its machine, and its chain's") {
  Capped team;
  REQUIRE(team.submit_for(Dollars(4)));
  CHECK(team.allowance(1) == 2 * 3'600'000);  // two dollars an hour
  team.pass(3600);
  team.declare(nano);  // half as dear from now on
  REQUIRE(team.change([&] { return team.state->lost(team.box, team.now), ok(); }));
  CHECK(team.run(1).resumed_as == 2);
  team.greet(team.box, able_hello());
  team.pass(10);
  auto left = team.allowance(2);
  CHECK(left <= 2 * 3'600'000);  // two of the four dollars
  CHECK(left > 2 * 3'600'000 - 30'000);
  team.pass(2 * 3600);
  REQUIRE(team.change([&] { return team.state->lost(team.box, team.now), ok(); }));
  team.greet(team.box, able_hello());
  team.pass(10);
  CHECK(team.run(3).status == "failed");
  CHECK(team.run(3).reason_code == "max_cost");
  CHECK(team.run(3).resumed_as == 0);
}

TEST_CASE("where no price is known no cost can be kept") {
  Capped team;
  CHECK(team.submit_for(Dollars(4), "box"));
  team.machine("chest", {"plain"}, able_hello());
  CHECK(team.submit_for(Dollars(4), "plain").error().code() == "price_not_known");
  CHECK(team.submit_for(Dollars(4), "chest").error().code() == "price_not_known");
  team.machine("old", {"slow"}, [] {
    auto hello = hello_of(8);
    hello.capabilities = {{"restore", "1"}};
    return hello;
  }());
  team.declare(nano, {}, "slow");
  auto refused = team.submit_for(Dollars(4), "slow");
  CHECK(refused.error().code() == "not_available");
  CHECK(refused.error().message().find("--max-cost") != std::string::npos);
}

TEST_CASE("a price that is gone when its turn comes ends a run that may cost only so much") {
  Capped team;
  team.declare(nano, {}, "rare");
  auto rare = team.machine("nook", {"rare"}, able_hello());
  REQUIRE(team.change([&] { return team.state->change_machine("ada", "nook", {{}, true}); }));
  REQUIRE(team.submit_for(Dollars(4), "rare"));
  CHECK(team.run(1).status == "machine_requested");
  team.declare({}, {}, "rare");
  REQUIRE(team.change([&] { return team.state->change_machine("ada", "nook", {{}, false}); }));
  CHECK(team.run(1).status == "failed");
  CHECK(team.run(1).reason_code == "price_not_known");
}

TEST_CASE("saving is paid for, waiting for the service is not") {
  Priced team;
  auto box = team.machine("box", {"v100"});
  REQUIRE(team.submit_to("v100"));
  auto leased = team.run(1).cost.leased_us;
  team.pass(100);
  auto end = team.end_of(1);
  end.result->ended_age_us = 40 * second;  // it was saved and sent for so long
  REQUIRE(team.say(box, end));
  CHECK(team.run(1).cost.billed_ms >= 100'000);
  // The same where the service was away.
  REQUIRE(team.submit_to("v100"));
  leased = team.run(2).cost.leased_us;
  team.pass(100);
  auto run = team.run(2);
  team.open();
  team.pass(1000);
  end = team.end_of(2);
  REQUIRE(team.change([&] { return team.state->lost(box, team.now), ok(); }));
  team.greet(box, hello_of(8), {{run.id, run.epoch}});
  model::RunEvent saving;
  saving.number = 1;
  saving.text = "Run is pushing";
  saving.age_us = 970 * second;
  end.events.push_back(saving);
  end.result->ended_age_us = 990 * second;
  REQUIRE(team.say(box, end));
  auto until = team.run(2).cost.said_us;
  CHECK(until > team.run(2).ended_us);
  CHECK(team.run(2).cost.billed_ms == (until / 1000 - leased / 1000));
}

TEST_CASE("of saving only the time without a way to the service is not billed") {
  Priced team;
  auto box = team.machine("box", {"v100"});
  REQUIRE(team.submit_to("v100"));
  team.pass(100);  // its command ends, and it is saved
  team.pass(100);
  auto session = team.state->machine_by_id(box)->session;
  REQUIRE(team.change([&] { return team.state->away(box, session, team.now), ok(); }));
  team.pass(500);
  team.greet(box, hello_of(8), {{team.run(1).id, team.run(1).epoch}});
  team.pass(100);
  auto end = team.end_of(1);
  end.result->ended_age_us = 700 * second;
  REQUIRE(team.say(box, end));
  CHECK(team.run(1).cost.billed_ms >= 300'000);
  CHECK(team.run(1).cost.billed_ms < 301'000);
}

TEST_CASE("a machine that was lost while the service was down is not billed for that time") {
  Priced team;
  auto box = team.machine("box", {"v100"});
  REQUIRE(team.submit_to("v100"));
  auto run = team.run(1);
  for (int minute = 0; minute < 10; ++minute) team.pass(60);
  CHECK(team.state->next_allowance_us() <= team.now + 60 * second);
  team.now += 40 * 3600 * second;
  team.open();
  REQUIRE(team.change([&] { return team.state->lost(box, team.now), ok(); }));
  CHECK(team.run(1).status == "interrupted");
  CHECK(team.run(1).cost.billed_ms >= 540'000);
  CHECK(team.run(1).cost.billed_ms <= 601'000);
  // It was there all the time, and says so.
  team.greet(box, hello_of(8), {{run.id, run.epoch}});
  auto end = team.end_of(1);
  end.result->ended_age_us = 3600 * second;
  REQUIRE(team.say(box, end));
  CHECK(team.run(1).cost.billed_ms > 39 * 3600 * 1000);
  // One that is lost while the service is there counts until then.
  REQUIRE(team.submit_to("v100"));
  team.pass(3000);
  REQUIRE(team.change([&] { return team.state->lost(box, team.now), ok(); }));
  CHECK(team.run(2).cost.billed_ms >= 3'000'000);
}
