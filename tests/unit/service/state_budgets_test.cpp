// Budgets in the state: what is spent and what is reserved is never more than there is, whoever is
// away, crashes or comes back.
#include <random>

#include "priced_house.hpp"
#include "sched/caps.hpp"

using namespace spell;
using namespace spell::service;

namespace {

constexpr std::int64_t hour_ms = 3'600'000, minute = 60;

struct Budgeted : Capped {
  Budgeted() {
    for (auto* name : {"p", "q"})
      REQUIRE(change([&] { return writer->put_project("ada", name, store::ProjectRecord()); }));
  }

  Result<BudgetUse> budget(std::int64_t dollars, const std::string& name = "p",
                           bool monthly = false, const std::string& kind = "project") {
    store::BudgetRecord record;
    record.owner = "ada";
    record.kind = kind;
    record.name = name;
    record.amount = dollars * nano;
    record.monthly = monthly;
    return change([&] { return state->put_budget(record, now); });
  }
  Result<Submitted> submit_in(const std::string& project, const std::string& type = "v100",
                              std::optional<Dollars> most = {}) {
    Submission s{"ada", "ada", "", "", {}};
    s.request.command = "train";
    s.request.machine_type = type;
    s.request.project = project;
    s.request.max_cost = most;
    s.request.auto_resume = most.has_value();
    return change([&] { return state->submit(s, now); });
  }
  BudgetUse use(const std::string& name = "p") {
    for (auto& use : state->budgets("ada", now))
      if (use.record.name == name) return use;
    FAIL("there is no budget of " + name);
    return {};
  }
  /// What its worker is told last.
  std::int64_t extended(std::int64_t number) {
    std::int64_t out = -1;
    auto id = run(number).id;
    for (auto& command : state->machine_by_id(box)->commands)
      if (command.type == "allowance" && command.run == id) out = command.allowance_ms;
    return out;
  }
  std::map<std::string, std::int64_t> held(std::int64_t number) {
    return {{run(number).id, run(number).epoch}};
  }
  bool log_says(std::int64_t number, const std::string& text) {
    for (auto& event : writer->events(run(number).id, 0).value())
      if (event.text.find(text) != std::string::npos) return true;
    return false;
  }
  /// It was stopped because its allowance was used up, as its worker says.
  model::RunReport used_up(std::int64_t number) {
    auto report = end_of(number, "stopped");
    report.result->reason_code = "allowance_used_up";
    report.result->exit_code = 143;
    return report;
  }
};

}  // namespace

TEST_CASE("time is reserved of a budget, extended while the machine is heard of, and given back") {
  Budgeted team;
  REQUIRE(team.budget(100));
  REQUIRE(team.submit_in("p"));
  CHECK(team.allowance(1) == 2 * hour_ms);
  CHECK(team.use().reserved > units(2 * nano, 2 * hour_ms - 60'000));
  CHECK(team.use().spent + team.use().reserved == units(2 * nano, 2 * hour_ms));
  // Before half of it is over nothing is said.
  team.pass(59 * minute);
  CHECK(team.extended(1) == -1);
  team.pass(2 * minute);
  CHECK(team.extended(1) > 3 * hour_ms);
  CHECK(team.extended(1) == team.run(1).cost.allowed_ms);
  // A machine that is away hears of nothing, and nothing is reserved for it.
  auto allowed = team.run(1).cost.allowed_ms;
  auto session = team.state->machine_by_id(team.box)->session;
  REQUIRE(team.change([&] { return team.state->away(team.box, session, team.now), ok(); }));
  team.pass(90 * minute);
  CHECK(team.run(1).cost.allowed_ms == allowed);
  team.greet(team.box, able_hello(), team.held(1));
  CHECK(team.run(1).cost.allowed_ms > allowed);
  CHECK(team.extended(1) == team.run(1).cost.allowed_ms);
  REQUIRE(team.say(team.box, team.end_of(1)));
  CHECK(team.use().reserved == 0);
  CHECK(team.use().spent == team.total());
}

TEST_CASE("what a budget has left is all that a run gets, and others wait for what it gives back") {
  Budgeted team;
  REQUIRE(team.budget(3));
  REQUIRE(team.submit_in("p"));
  CHECK(team.allowance(1) == 3 * hour_ms / 2);
  CHECK(team.run(1).cost.limited_by == "project p");
  REQUIRE(team.submit_in("p"));
  CHECK(team.run(2).machine.empty());
  CHECK(team.run(2).reason_code == "waiting_for_budget");
  CHECK(team.run(2).reason.find("project 'p'") != std::string::npos);
  // Others do not wait behind it.
  REQUIRE(team.submit_in("q"));
  CHECK_FALSE(team.run(3).machine.empty());
  team.pass(30 * minute);
  REQUIRE(team.say(team.box, team.end_of(1)));
  CHECK_FALSE(team.run(2).machine.empty());
  CHECK(team.run(2).reason_code.empty());
  CHECK(team.run(2).cost.allowed_ms < hour_ms);
  CHECK(team.run(2).cost.allowed_ms > 59 * minute * 1000);
  // It is used up: new ones are refused, with the word for it.
  team.pass(59 * minute + 30);
  REQUIRE(team.say(team.box, team.used_up(2)));
  CHECK(team.run(2).status == "stopped");
  CHECK(team.run(2).reason_code == "budget_exhausted");
  CHECK(team.run(2).reason.find("project 'p'") != std::string::npos);
  auto refused = team.submit_in("p");
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == "budget_exhausted");
  CHECK(refused.error().message().find("$3 ") != std::string::npos);
  REQUIRE(team.budget(30));
  CHECK(team.submit_in("p"));
}

TEST_CASE("a budget that is set reaches runs that go on, and none is less than what is used") {
  Budgeted team;
  REQUIRE(team.submit_in("p"));
  CHECK(team.allowance(1) == 0);
  team.pass(60 * minute);
  auto low = team.budget(1);
  REQUIRE_FALSE(low);
  CHECK(low.error().code() == "budget_too_low");
  CHECK(low.error().message().find("at least $2.0") != std::string::npos);
  CHECK(team.state->budgets("ada", team.now).empty());
  REQUIRE(team.budget(3));
  CHECK(team.extended(1) > 80 * minute * 1000);
  CHECK(team.extended(1) <= 90 * minute * 1000);
  CHECK(team.use().spent + team.use().reserved <= units(3 * nano, hour_ms));
  // What is reserved is not taken back.
  CHECK(team.budget(2).error().code() == "budget_too_low");
  REQUIRE(team.change([&] { return team.state->end("ada", 1, "stop", team.now); }));
  REQUIRE(team.say(team.box, team.end_of(1, "stopped")));
  CHECK(team.budget(2).error().code() == "budget_too_low");
  CHECK(team.budget(3));
  team.open();
  CHECK(team.use().spent == team.total());
  REQUIRE(team.change([&] { return team.state->remove_budget("ada", "project", "p"); }));
  CHECK(team.change([&] { return team.state->remove_budget("ada", "project", "p"); })
            .error()
            .code() == "budget_not_found");
}

TEST_CASE("what has no price is in no budget, so it does not begin") {
  Budgeted team;
  REQUIRE(team.budget(3));
  team.declare({}, {}, "plain");
  auto plain = team.machine("nook", {"plain"}, able_hello());
  CHECK(team.submit_in("p", "plain").error().code() == "price_not_known");
  CHECK(team.submit_in("q", "plain"));
  team.declare(0, {}, "plain");
  REQUIRE(team.submit_in("p", "plain"));
  CHECK_FALSE(team.run(2).machine.empty());
  CHECK(team.run(2).cost.allowed_ms == -1);
  // One that had a price when it came waits until it has one again.
  team.declare(nano, {}, "plain");
  REQUIRE(team.change([&] { return team.state->change_machine("ada", "nook", {{}, true}); }));
  REQUIRE(team.submit_in("p", "plain"));
  team.declare({}, {}, "plain");
  REQUIRE(team.change([&] { return team.state->change_machine("ada", "nook", {{}, false}); }));
  CHECK(team.run(3).reason_code == "waiting_for_budget");
  team.declare(nano, {}, "plain");
  team.pass(1);
  CHECK_FALSE(team.run(3).machine.empty());
}

TEST_CASE("an older worker, which could not stop in time, gets no run that counts") {
  Budgeted team;
  team.declare(nano, {}, "slow");
  team.machine("old", {"slow"}, [] {
    auto hello = hello_of(8);
    hello.capabilities = {{"restore", "1"}};
    return hello;
  }());
  CHECK(team.submit_in("p", "slow"));
  REQUIRE(team.budget(3));
  auto refused = team.submit_in("p", "slow");
  CHECK(refused.error().code() == "not_available");
  CHECK(refused.error().message().find("budget") != std::string::npos);
  CHECK(team.submit_in("q", "slow"));
}

TEST_CASE("at 80 and 95 percent the logs of its runs and the audit say so, once") {
  Budgeted team;
  REQUIRE(team.budget(10));
  REQUIRE(team.submit_in("p"));
  auto noted = [&](const std::string& action) {
    store::AuditQuery query;
    query.action = action;
    return team.writer->audit(query).value().size();
  };
  for (int half = 0; half < 7; ++half) team.pass(30 * minute);
  team.pass(25 * minute);
  CHECK_FALSE(team.log_says(1, "80 %"));
  auto due = team.state->next_allowance_us();
  CHECK(due <= team.now + 6 * minute * second);
  team.pass(6 * minute);
  CHECK(team.log_says(1, "used to 80 %: $8.0"));
  CHECK_FALSE(team.log_says(1, "95 %"));
  CHECK(noted("budget.80") == 1);
  team.open();
  team.greet(team.box, able_hello(), team.held(1));
  team.pass(46 * minute);
  CHECK(team.log_says(1, "used to 95 %"));
  CHECK(noted("budget.80") == 1);
  CHECK(noted("budget.95") == 1);
  team.pass(12 * minute);
  REQUIRE(team.say(team.box, team.used_up(1)));
  CHECK(noted("budget.100") == 1);
}

TEST_CASE("a month has its own money") {
  Budgeted team;
  team.now = 26 * 86'400 * second;  // 1970-01-27
  REQUIRE(team.budget(4, "p", true));
  REQUIRE(team.submit_in("p"));
  team.pass(90 * minute);
  team.pass(29 * minute);
  REQUIRE(team.say(team.box, team.used_up(1)));
  CHECK(team.submit_in("p").error().code() == "budget_exhausted");
  CHECK(team.submit_in("p").error().message().find("until the month ends") != std::string::npos);
  REQUIRE(team.budget(100, "p", true));
  REQUIRE(team.submit_in("p"));
  REQUIRE(team.say(team.box, team.end_of(2)));
  // A run that goes on over the month's end is in both.
  team.now = 31 * 86'400 * second - 60 * minute * second;
  REQUIRE(team.submit_in("p"));
  team.pass(55 * minute);
  CHECK(team.use().spent > units(2 * nano, 170 * minute * 1000));
  team.pass(10 * minute);
  CHECK(team.use().spent < units(2 * nano, 6 * minute * 1000));
  CHECK(team.use().spent > units(2 * nano, 4 * minute * 1000));
  REQUIRE(team.say(team.box, team.end_of(3)));
  CHECK(team.use().spent < units(2 * nano, 6 * minute * 1000));
}

TEST_CASE("who waits for money begins when the month does") {
  Budgeted team;
  team.now = 31 * 86'400 * second - 120 * minute * second;
  REQUIRE(team.budget(2, "p", true));
  REQUIRE(team.submit_in("p"));
  REQUIRE(team.submit_in("p"));
  CHECK(team.run(2).reason_code == "waiting_for_budget");
  CHECK(team.state->next_allowance_us() <= 31 * 86'400 * second);
  team.pass(118 * minute);
  CHECK(team.run(2).machine.empty());
  team.pass(3 * minute);
  CHECK_FALSE(team.run(2).machine.empty());
}

TEST_CASE("what a lost run may still cost stays reserved until its machine is known to be gone") {
  auto lost = [](Budgeted& team) {
    REQUIRE(team.budget(10));
    REQUIRE(team.submit_in("p"));
    team.pass(30 * minute);
    REQUIRE(team.change([&] { return team.state->lost(team.box, team.now), ok(); }));
    CHECK(team.run(1).status == "interrupted");
    CHECK(team.use().spent + team.use().reserved == units(2 * nano, 2 * hour_ms));
    CHECK(team.use().reserved > units(2 * nano, 80 * minute * 1000));
  };
  {
    Budgeted team;  // it comes back, and says how it was
    lost(team);
    auto record = team.run(1);
    team.open();
    CHECK(team.use().spent + team.use().reserved == units(2 * nano, 2 * hour_ms));
    team.greet(team.box, able_hello(), {{record.id, record.epoch}});
    team.pass(600 * minute);
    auto end = team.used_up(1);
    end.result->ended_age_us = 500 * minute * second;
    REQUIRE(team.say(team.box, end));
    CHECK(team.use().reserved == 0);
    CHECK(team.use().spent == team.total());
    CHECK(team.use().spent <= units(2 * nano, 2 * hour_ms));
  }
  {
    Budgeted team;  // it comes back without it
    lost(team);
    team.greet(team.box, able_hello());
    CHECK(team.use().reserved == 0);
    team.open();
    CHECK(team.use().reserved == 0);
  }
  {
    Budgeted team;  // it is removed
    lost(team);
    REQUIRE(team.change([&] { return team.state->remove_machine("ada", "box", true, team.now); }));
    CHECK(team.use().reserved == 0);
  }
  {
    Budgeted team;  // the run is
    lost(team);
    auto spent = team.use().spent;
    REQUIRE(team.change([&] { return team.state->remove("ada", 1); }));
    CHECK(team.use().reserved == 0);
    CHECK(team.use().spent == spent);
  }
}

TEST_CASE("a chain's cap holds behind a cut network, and when what was before is removed") {
  Capped team;
  REQUIRE(team.submit_for(Dollars(4)));
  team.pass(3600);
  REQUIRE(team.change([&] { return team.state->lost(team.box, team.now), ok(); }));
  CHECK(team.run(1).resumed_as == 2);
  auto other = team.machine("chest", {"v100"}, able_hello());
  // All that is left may be used up where the first is.
  CHECK(team.run(2).machine.empty());
  CHECK(team.run(2).reason_code == "waiting_for_budget");
  REQUIRE(team.change([&] { return team.state->remove("ada", 1); }));
  CHECK(team.run(2).machine == "chest");
  CHECK(team.run(2).cost.allowed_ms <= hour_ms);
  CHECK(team.run(2).cost.allowed_ms > hour_ms - 10'000);
  team.pass(3600);
  REQUIRE(team.change([&] { return team.state->lost(other, team.now), ok(); }));
  team.greet(other, able_hello());
  team.pass(10);  // it had saved nothing
  CHECK(team.run(3).status == "failed");
  CHECK(team.run(3).reason_code == "max_cost");
}

TEST_CASE("what a lost run turns out to have cost is its chain's") {
  Capped team;
  REQUIRE(team.submit_for(Dollars(40)));
  auto record = team.run(1);
  team.pass(600);
  REQUIRE(team.change([&] { return team.state->lost(team.box, team.now), ok(); }));
  auto early = team.run(2).cost.chain_cost;
  CHECK(early > nano / 4);
  team.pass(3000);
  team.greet(team.box, able_hello(), {{record.id, record.epoch}});
  auto end = team.end_of(1, "failed");
  REQUIRE(team.say(team.box, end));
  CHECK(team.run(2).cost.chain_cost > 5 * early);
  CHECK(team.run(2).cost.chain_cost == cost_in_chain(team.run(1)));
}

TEST_CASE("what was reserved and could not be extended is no end that anybody wanted") {
  Budgeted team;
  REQUIRE(team.budget(100));
  REQUIRE(team.submit_in("p"));
  auto session = team.state->machine_by_id(team.box)->session;
  REQUIRE(team.change([&] { return team.state->away(team.box, session, team.now), ok(); }));
  team.pass(180 * minute);
  team.greet(team.box, able_hello(), team.held(1));
  auto end = team.used_up(1);
  end.result->ended_age_us = 60 * minute * second;
  REQUIRE(team.say(team.box, end));
  CHECK(team.run(1).status == "interrupted");
  CHECK(team.run(1).reason_code == "allowance_used_up");
}

TEST_CASE("no more is billed than was reserved, which its log says") {
  Budgeted team;
  REQUIRE(team.budget(4));
  REQUIRE(team.submit_in("p"));
  team.pass(150 * minute);  // its saving took long
  REQUIRE(team.say(team.box, team.used_up(1)));
  CHECK(team.total() == units(2 * nano, 2 * hour_ms));
  CHECK(team.log_says(1, "more than was reserved"));
}

TEST_CASE("a run is not moved to a project that cannot pay for it") {
  Budgeted team;
  REQUIRE(team.budget(1));
  REQUIRE(team.submit_in("q"));
  team.pass(60 * minute);
  auto move = [&](const std::string& to) {
    return team.change([&] { return team.state->set_project("ada", 1, to, team.now); });
  };
  CHECK(move("p").error().code() == "budget_exhausted");
  CHECK(team.run(1).project == "q");
  REQUIRE(team.budget(3));
  REQUIRE(move("p"));
  CHECK(team.extended(1) > 60 * minute * 1000);
  CHECK(team.use().spent + team.use().reserved <= units(3 * nano, hour_ms));
  REQUIRE(move("q"));
  CHECK(team.use().spent + team.use().reserved == 0);
  REQUIRE(team.say(team.box, team.end_of(1)));
  REQUIRE(move("p"));
  CHECK(team.use().spent == team.total());
  // A budget goes with its project's name.
  REQUIRE(team.change([&] { return team.state->rename_project("ada", "p", "r"); }));
  CHECK(team.use("r").spent == team.total());
  team.open();
  CHECK(team.use("r").spent == team.total());
}

// ---- whatever happens

namespace {

/// A worker as it is: it stops in time, wherever the service is.
struct FakeWorker {
  struct Run {
    std::int64_t epoch = 0, begun_us = 0, allowance_ms = 0, ended_us = 0;
    std::int64_t number = 0;
  };
  std::string id, name;
  bool connected = true;
  std::map<std::string, Run> runs;
};

struct World : Budgeted {
  std::mt19937 random{11};
  std::vector<FakeWorker> workers;
  std::map<std::string, std::int64_t> used_ms;  ///< really, by run id

  World() {
    for (auto* name : {"a", "b", "c"})
      workers.push_back({machine(name, {"v100"}, able_hello()), name, true, {}});
    REQUIRE(change([&] { return state->change_machine("ada", "box", {{}, true}); }));
  }
  std::int64_t below(std::int64_t limit) {
    return static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(limit));
  }
  /// What is due at its own time, and what workers hear.
  void settle() {
    for (auto& worker : workers) {
      for (auto& [id, run] : worker.runs) {
        auto until = run.begun_us + run.allowance_ms * 1000;
        if (run.ended_us == 0 && run.allowance_ms > 0 && now >= until) run.ended_us = until;
      }
      if (!worker.connected) continue;
      auto& commands = state->machine_by_id(worker.id)->commands;
      for (auto& command : commands) {
        auto known = worker.runs.find(command.run);
        if (command.type == "start" &&
            (known == worker.runs.end() || known->second.epoch < command.epoch)) {
          worker.runs[command.run] = {command.epoch, now, command.start->allowance_ms, 0,
                                      command.start->number};
        } else if (known == worker.runs.end() || known->second.epoch != command.epoch) {
          continue;
        } else if (command.type == "allowance" && known->second.ended_us == 0) {
          known->second.allowance_ms = std::max(known->second.allowance_ms, command.allowance_ms);
        } else if (command.type == "stop" || command.type == "kill") {
          if (known->second.ended_us == 0) known->second.ended_us = now;
        } else if (command.type == "forget") {
          worker.runs.erase(known);
        }
      }
      state->acknowledge(worker.id, INT64_MAX);
      for (auto& [id, run] : std::map(worker.runs))
        if (run.ended_us != 0) tell(worker, id, run);
    }
  }
  /// Who is connected hears at once.
  bool has_commands() {
    return std::any_of(workers.begin(), workers.end(), [&](auto& worker) {
      auto& runs = worker.runs;
      return worker.connected && (!state->machine_by_id(worker.id)->commands.empty() ||
                                  std::any_of(runs.begin(), runs.end(), [&](auto& entry) {
                                    auto& [id, run] = entry;
                                    return run.ended_us != 0 ||
                                           now >= run.begun_us + run.allowance_ms * 1000;
                                  }));
    });
  }
  void tell(FakeWorker& worker, const std::string& id, const FakeWorker::Run& run) {
    model::RunReport report;
    report.run = id;
    report.epoch = run.epoch;
    report.result.emplace();
    report.result->status = random() % 2 ? "complete" : "stopped";
    if (report.result->status == "stopped") report.result->reason_code = "allowance_used_up";
    report.result->ended_age_us = now - run.ended_us;
    auto& used = used_ms[id];
    used = std::max(used, (run.ended_us - run.begun_us) / 1000);
    if (random() % 5 == 0)
      lost_change([&] { return state->report(worker.id, report, now); }), back();
    else if (!say(worker.id, report))
      worker.runs.erase(id);  // it was removed
  }
  void greet_worker(FakeWorker& worker) {
    std::map<std::string, std::int64_t> holds;
    for (auto& [id, run] : worker.runs) holds[id] = run.epoch;
    worker.connected = true;
    greet(worker.id, able_hello(), holds);
  }
  void back() {
    for (auto& worker : workers)
      if (worker.connected) greet_worker(worker);
  }
  /// From the store alone.
  void check() {
    std::map<std::int64_t, std::string> projects;
    auto all = writer->list_runs({.owner = "ada", .limit = 100'000}).value();
    for (auto& use : state->budgets("ada", now)) {
      sched::Cap cap(units(use.record.amount, hour_ms), use.record.monthly);
      REQUIRE(writer->costs("ada", 0, [&](std::string_view bytes) {
        model::CostEntry entry;
        while (model::take(bytes, entry)) {
          auto name = writer->cost_name(use.record.kind == "user" ? entry.user : entry.project);
          if (name.value() == use.record.name)
            cap.spend({entry.began_ms, entry.began_ms + entry.ms, entry.price}, entry.taken_back);
        }
        return ok();
      }));
      for (auto& run : all) {
        auto& cost = run.cost;
        bool counts = use.record.kind == "user" ? run.creator == use.record.name
                                                : run.project == use.record.name;
        if (!counts || cost.allowed_ms < 0 || !cost.price) continue;
        auto from = cost.leased_us / 1000;
        if (cost.held)
          cap.reserve({from + cost.billed_ms, from + cost.allowed_ms, *cost.price});
        else if (run.ended_us == 0)
          cap.reserve({from, from + cost.allowed_ms, *cost.price});
      }
      auto at = now / 1000;
      CAPTURE(use.record.kind, use.record.name);
      REQUIRE(cap.left(at) >= 0);
      if (use.record.monthly) REQUIRE(cap.left(cap.next_period(at)) >= 0);
      REQUIRE(use.spent + use.reserved == cap.spent(at) + cap.reserved(at));
    }
    std::map<std::int64_t, Units> chains;
    for (auto& run : all) {
      if (auto used = used_ms.find(run.id); used != used_ms.end() && run.cost.allowed_ms >= 0)
        REQUIRE(used->second <= std::max<std::int64_t>(1, run.cost.allowed_ms));
      if (!run.request.max_cost || !run.cost.price || run.cost.allowed_ms < 0) continue;
      auto whole = units(run.cost.chain_cost, hour_ms) +
                   units(*run.cost.price, run.ended_us == 0 || run.cost.held ? run.cost.allowed_ms
                                                                             : run.cost.billed_ms);
      REQUIRE(whole <= units(run.request.max_cost->nano, hour_ms));
    }
  }
};

}  // namespace

TEST_CASE("whatever crashes, is cut off or comes back: spent and reserved are never more") {
  World world;
  REQUIRE(world.budget(60));
  REQUIRE(world.budget(90, "q", true));
  REQUIRE(world.budget(400, "ada", false, "user"));
  int begun = 0, refused = 0, lost = 0, stopped = 0;
  for (int step = 0; step < 3000; ++step) {
    world.now += world.below(step % 50 == 0 ? 5 * hour_ms * 1000 : 20 * minute * second);
    auto& worker = world.workers[static_cast<std::size_t>(world.below(3))];
    switch (world.below(12)) {
      case 0:
      case 1:
      case 2:
      case 3: {
        std::optional<Dollars> most;
        if (world.below(3) == 0) most = Dollars::nanos((1 + world.below(5)) * nano);
        auto made = world.submit_in(world.below(2) ? "p" : "q", "v100", most);
        begun += made.ok();
        if (!made) REQUIRE(made.error().code() == "budget_exhausted");
        refused += !made;
        break;
      }
      case 4:
        world.open();
        world.back();
        break;
      case 5:
        world.declare(1 + world.below(5 * nano));
        break;
      case 6:
        if (worker.connected) {
          worker.connected = false;
          auto session = world.state->machine_by_id(worker.id)->session;
          REQUIRE(
              world.change([&] { return world.state->away(worker.id, session, world.now), ok(); }));
        }
        break;
      case 7:
        if (!worker.connected) {
          ++lost;
          REQUIRE(world.change([&] { return world.state->lost(worker.id, world.now), ok(); }));
        }
        break;
      case 8:
        if (!worker.connected) world.greet_worker(worker);
        break;
      case 9:
        if (!worker.runs.empty()) {
          auto run = std::next(worker.runs.begin(), world.below(std::ssize(worker.runs)));
          if (run->second.ended_us == 0)
            run->second.ended_us =
                std::min(world.now, run->second.begun_us + run->second.allowance_ms * 1000);
        }
        break;
      case 10: {
        auto amount = 20 + world.below(200) + step / 10;
        (void)world.budget(amount, world.below(2) ? "p" : "q", world.below(2) == 0);
        if (world.below(4) == 0) (void)world.budget(4 * amount, "ada", false, "user");
        break;
      }
      case 11: {
        auto runs = world.writer->list_runs({.owner = "ada", .limit = 20}).value();
        auto& run = runs.at(static_cast<std::size_t>(world.below(std::ssize(runs))));
        if (world.below(2))
          (void)world.change([&] {
            return world.state->set_project("ada", run.number, run.project == "p" ? "q" : "p",
                                            world.now);
          });
        else if (run.ended_us != 0)
          (void)world.change([&] { return world.state->remove("ada", run.number); });
        break;
      }
    }
    world.pass(0);
    for (int round = 0; round < 20 && world.has_commands(); ++round) world.settle();
    if (step % 10 == 0) world.check();
  }
  world.check();
  for (auto& run : world.writer->list_runs({.owner = "ada", .limit = 100'000}).value())
    stopped += run.reason_code == "budget_exhausted" || run.reason_code == "max_cost";
  CHECK(begun > 150);
  CHECK(refused > 10);
  CHECK(lost > 50);
  CHECK(stopped > 10);
}
