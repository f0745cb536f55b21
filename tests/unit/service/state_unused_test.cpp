// What the machines of a pool may cost without a run: the cap is kept, whatever is launched, idle,
// ended or restarted.
#include <random>

#include "pooled_house.hpp"
#include "service/budget.hpp"

using namespace spell;
using namespace spell::service;

namespace {

/// A machine costs a dollar a second. It may take 60 s to join, and is gone 120 s after its end is
/// ordered at the latest: so a launch needs $180, and one that stands idle may do so while more
/// than $120 are left.
struct Thrifty : Pooled {
  explicit Thrifty(int cap, std::int64_t least = 0, std::int64_t most = 2) : Pooled(0, 0) {
    price = 3600 * nano;
    declare(0, 0);
    set(cap);
    declare(least, most);
  }
  void set(std::optional<int> dollars) {
    auto amount = dollars ? std::optional(Dollars(*dollars)) : std::nullopt;
    REQUIRE(change([&] { return state->set_max_unused("ada", "spot", amount, now); }));
  }
  BudgetUse use() {
    auto uses = state->unused_uses("ada", now);
    REQUIRE(uses);
    return uses->at("spot");
  }
  /// In dollars.
  double spent() { return static_cast<double>(use().spent) / 3.6e15; }
  double reserved() { return static_cast<double>(use().reserved) / 3.6e15; }
  /// To the next moment for which the state has asked, and no further.
  void wait() {
    REQUIRE(state->next_pool_us() > now);
    now = state->next_pool_us() - 1000;
    look();
  }
  void end_run(const PoolTask& task, std::int64_t number) { REQUIRE(say(task.id, end_of(number))); }
  std::size_t told(const std::string& action) {
    store::AuditQuery query;
    query.action = action;
    return writer->audit(query).value().size();
  }
  std::size_t noted(std::int64_t number, const std::string& text) {
    std::size_t count = 0;
    for (auto& event : writer->events(run(number).id, 0, 1000).value())
      count += event.text.find(text) != event.text.npos;
    return count;
  }
};

constexpr std::int64_t month_us = 31 * base::day_us;  // January 1970

}  // namespace

TEST_CASE(
    "machines without a run end before they cost more than their cap, though they are to be kept") {
  Thrifty team(200, 1, 2);
  REQUIRE(team.launches().size() == 1);
  CHECK(team.reserved() == Approx(180).margin(0.1));
  auto task = team.up();
  CHECK(team.spent() < 0.1);
  CHECK(team.reserved() == Approx(120).margin(0.1));
  for (int i = 0; i < 10 && team.ends().empty(); ++i) team.wait();  // 80 %, …, and the end
  REQUIRE(team.ends().size() == 1);
  CHECK(team.spent() <= 80);
  CHECK(team.spent() > 78);
  CHECK(team.spent() + team.reserved() <= 200);
  CHECK(team.launches().empty());
  team.pass(119);
  CHECK(team.spent() + team.reserved() <= 200);
  team.ended(task);
  CHECK(team.spent() <= 200);
  CHECK(team.reserved() == 0);
  team.pass(5000);
  CHECK(team.launches().empty());
  REQUIRE(team.submit_to("spot"));
  CHECK(team.launches().empty());
  CHECK(team.why(1) ==
        "waiting for a spot machine: its pool has used up its cap of $200 a month for machines "
        "without a run until the month ends (UTC); `spell machine-type scale spot --max-unused` "
        "with more goes on");
}

TEST_CASE("no more is launched than can be paid until it is gone") {
  Thrifty team(400, 0, 5);
  for (int i = 0; i < 5; ++i) REQUIRE(team.submit_to("spot"));
  CHECK(team.launches().size() == 2);
  CHECK(team.spent() + team.reserved() <= 400);
  auto first = team.up(), second = team.up();
  // They carry runs now, and cost nothing but their end: there is room for $160.
  CHECK(team.reserved() == Approx(240).margin(0.1));
  team.look();
  CHECK(team.launches().empty());
  CHECK(
      team.why(3).find("what is left of its pool's cap of $400 a month for machines without a run "
                       "is reserved for those that are there") != std::string::npos);
  team.end_run(first, 1);
  CHECK(team.run(3).machine == first.name);  // in the same moment
  CHECK(team.spent() < 0.2);
  team.pass(10'000);  // runs are no matter of this cap
  CHECK(team.spent() < 0.2);
  team.set(600);
  CHECK(team.launches().size() == 1);
  team.set(650);
  CHECK(team.launches().size() == 2);
}

TEST_CASE("what launches have reserved ends others, but not for good") {
  Thrifty team(310, 1, 3);
  auto task = team.up();
  REQUIRE(team.submit_to("spot"));
  REQUIRE(team.run(1).machine == task.name);
  REQUIRE(team.submit_to("spot"));
  REQUIRE(team.launches().size() == 1);  // 120 and 180 are reserved
  team.end_run(task, 1);
  REQUIRE(team.run(2).machine == task.name);
  team.end_run(task, 2);  // it stands idle beside the launch
  CHECK(team.phase(task) == "up");
  for (int i = 0; i < 10 && team.phase(task) == "up"; ++i) team.wait();
  CHECK(team.phase(task) == "ending");
  CHECK(team.spent() + team.reserved() <= 310);
  CHECK(team.spent() > 7);
  CHECK(team.told("unused.100") == 0);
  team.ended(task);
  auto other = team.up();
  CHECK(team.phase(other) == "up");
  REQUIRE(team.submit_to("spot"));
  CHECK(team.run(3).machine == other.name);
}

TEST_CASE("where the cap is used up runs go on, and their machines take others in or end") {
  Thrifty team(1000);
  REQUIRE(team.submit_to("spot"));
  auto task = team.up();
  team.set(100);  // less than its end may cost
  CHECK(team.told("unused.100") == 1);
  CHECK(team.noted(1, "without a run have used 100 % of what they may cost: $0") == 1);
  team.pass(100);
  CHECK(team.phase(task) == "up");
  REQUIRE(team.submit_to("spot"));
  CHECK(team.launches().empty());
  CHECK(team.why(2).find("1 busy, its pool has used up its cap of $100 a month") !=
        std::string::npos);
  team.end_run(task, 1);
  CHECK(team.run(2).machine == task.name);
  CHECK(team.phase(task) == "up");
  team.end_run(task, 2);
  CHECK(team.phase(task) == "ending");
  CHECK(team.told("unused.100") == 1);
}

TEST_CASE("a machine that was launched before is not ended before it takes the run that waits") {
  Thrifty team(1000);
  REQUIRE(team.submit_to("spot"));
  auto task = team.launches().at(0);
  auto token = team.begin_launch(task);
  team.launched(task);
  team.set(100);
  CHECK(team.phase(task) == "launching");
  REQUIRE(team.join(token, hello_of(4)));
  CHECK(team.phase(task) == "up");
  team.greet(task.id, hello_of(4));
  CHECK(team.run(1).machine == task.name);
  // One that no run waits for any more, and that never says hello, ends with its time for joining.
  Thrifty other(1000);
  REQUIRE(other.submit_to("spot"));
  task = other.launches().at(0);
  token = other.begin_launch(task);
  REQUIRE(other.join(token, hello_of(4)));
  other.set(100);
  other.pass(50);
  CHECK(other.phase(task) == "up");
  CHECK(other.state->next_pool_us() < other.now + 10 * second);
  other.wait();
  CHECK(other.phase(task) == "ending");
}

TEST_CASE("the next month begins with nothing spent") {
  Thrifty team(200, 1, 1);
  auto task = team.up();
  for (int i = 0; i < 10 && team.ends().empty(); ++i) team.wait();
  team.ended(task);
  REQUIRE(team.submit_to("spot"));
  REQUIRE(team.launches().empty());
  CHECK(team.state->next_pool_us() == month_us);
  team.now = month_us - second;
  team.look();
  CHECK(team.launches().empty());
  team.wait();
  CHECK(team.now >= month_us);
  REQUIRE(team.launches().size() == 1);
  CHECK(team.spent() == 0);
}

TEST_CASE("time over the end of a month counts in each with its part") {
  Thrifty team(1000, 1, 1);
  REQUIRE(team.submit_to("spot"));
  auto task = team.up();
  team.now = month_us - 20 * second;
  team.end_run(task, 1);  // idle for 50 s
  team.pass(50);
  CHECK(team.spent() == Approx(30).margin(0.1));
  REQUIRE(team.submit_to("spot"));
  REQUIRE(team.run(2).machine == task.name);
  CHECK(team.spent() == Approx(30).margin(0.1));
  team.open();
  CHECK(team.spent() == Approx(30).margin(0.1));
}

TEST_CASE("with more, or without a cap, it goes on") {
  for (bool none : {false, true}) {
    Thrifty team(200, 1, 1);
    auto task = team.up();
    for (int i = 0; i < 10 && team.ends().empty(); ++i) team.wait();
    team.ended(task);
    REQUIRE(team.launches().empty());
    auto spent = team.spent();
    team.set(none ? std::nullopt : std::optional(600));
    REQUIRE(team.launches().size() == 1);
    CHECK(team.state->cluster().pool("ada", "spot")->held.empty());
    if (none) {
      CHECK_FALSE(team.state->has_max_unused("ada", "spot"));
      CHECK(team.state->unused_uses("ada", team.now).value().empty());
    } else {
      CHECK(team.spent() == Approx(spent).margin(0.1));
      CHECK(team.told("unused.80") == 0);
    }
  }
}

TEST_CASE("a restart counts the same, and what was used up stays so") {
  Thrifty team(2000, 1, 1);
  auto task = team.up();
  std::int64_t number = 0;
  for (int i = 0; i < 3; ++i) {
    team.pass(20);
    REQUIRE(team.submit_to("spot"));
    REQUIRE(team.run(++number).machine == task.name);
    team.pass(1000);
    team.end_run(task, number);
  }
  REQUIRE(team.change([&] { return team.state->remove("ada", 1); }));  // its bill stays
  team.pass(20);
  auto spent = team.use().spent, reserved = team.use().reserved;
  CHECK(team.spent() == Approx(80).margin(0.1));
  team.open();
  team.now -= 1000;
  CHECK(team.use().spent == spent);
  CHECK(team.use().reserved == reserved);
  team.now += 1000;
  team.greet(task.id, hello_of(4));
  // The same with a run there; of runs that cost nothing their rows tell.
  auto free = team.type(1, 1);
  free.price = 0;
  REQUIRE(team.change([&] { return team.state->put_machine_type(free, true); }));
  REQUIRE(team.submit_to("spot"));
  REQUIRE(team.run(4).machine == task.name);
  team.pass(500);
  spent = team.use().spent;
  team.open();
  CHECK(team.use().spent == spent);
  team.greet(task.id, hello_of(4), {{team.run(4).id, team.run(4).epoch}});
  free.price = {};
  REQUIRE(team.change([&] { return team.state->put_machine_type(free, true); }));
  team.end_run(task, 4);
  REQUIRE(team.submit_to("spot"));
  team.pass(500);
  team.end_run(task, 5);
  team.pass(5);
  spent = team.use().spent;
  team.open();
  team.now -= 1000;
  CHECK(team.use().spent == spent);
  team.now += 1000;
  team.greet(task.id, hello_of(4));
  for (int i = 0; i < 20 && team.phase(task) == "up"; ++i) team.wait();
  CHECK(team.spent() + team.reserved() <= 2000);
  CHECK(team.spent() > 1870);
  team.declare(1, 1);
  team.open();
  CHECK(team.launches().empty());
  team.ended(task);
  team.open();
  CHECK(team.launches().empty());
  CHECK(team.told("unused.100") == 1);
}

TEST_CASE("at 80 and 95 percent runs on its machines and the audit say so, once") {
  Thrifty team(3000, 2, 2);
  team.up();
  team.up();
  REQUIRE(team.submit_to("spot"));
  CHECK(team.told("unused.80") == 0);
  std::int64_t at_us = 0;
  for (int i = 0; i < 10 && team.told("unused.80") == 0; ++i) team.wait(), at_us = team.now;
  CHECK(team.told("unused.80") == 1);
  CHECK(at_us / second - 1000 >= 2398);
  CHECK(at_us / second - 1000 <= 2402);
  CHECK(team.noted(1, "without a run have used 80 % of what they may cost: $2400") == 1);
  CHECK(team.told("unused.95") == 0);
  team.open();
  team.pass(100);
  CHECK(team.told("unused.80") == 1);
  team.set(5000);
  team.set(2650);  // beside the reserve of $240 nothing is left
  CHECK(team.told("unused.80") == 1);
  CHECK(team.told("unused.95") == 0);
  CHECK(team.told("unused.100") == 1);
  CHECK(team.ends().size() == 1);
  CHECK(team.ends()[0].name != team.run(1).machine);
  team.pass(100);
  CHECK(team.told("unused.95") == 0);
}

TEST_CASE("95 percent are told where an end costs less than the rest") {
  Thrifty team(10'000, 1, 1);
  auto task = team.up();
  for (int i = 0; i < 10 && team.phase(task) == "up"; ++i) team.wait();
  CHECK(team.told("unused.80") == 1);
  CHECK(team.told("unused.95") == 1);
  CHECK(team.told("unused.100") == 1);
  CHECK(team.spent() > 9870);
  CHECK(team.spent() + team.reserved() <= 10'000);
}

TEST_CASE("a machine that cannot be ended counts on, and nothing else is spent beside it") {
  Thrifty team(1000, 0, 2);
  REQUIRE(team.submit_to("spot"));
  auto task = team.up();
  REQUIRE(
      team.change([&] { return team.state->remove_machine("ada", task.name, true, team.now); }));
  REQUIRE(team.phase(task) == "ending");
  team.declare(1, 2);
  REQUIRE(team.launches().size() == 1);
  auto other = team.up();
  for (int i = 0; i < 20 && team.phase(other) == "up"; ++i) team.wait();
  // Both cost; the one for 120 s was reserved for is overdue.
  CHECK(team.spent() + team.reserved() <= 1000);
  CHECK(team.spent() > 870);
  team.ended(other);
  team.pass(5000);
  CHECK(team.spent() > 5000);  // said as it is
  CHECK(team.launches().empty());
}

TEST_CASE("without a price nothing is launched under a cap, and none can be set") {
  Thrifty team(400);
  auto type = team.type(0, 2);
  CHECK(team.state->check_max_unused(type, Dollars(180)));
  auto low = team.state->check_max_unused(type, Dollars(179));
  REQUIRE_FALSE(low);
  CHECK(low.error().code() == "budget_too_low");
  CHECK(low.error().message().find("one launch may cost $180 (180 s") == 0);
  type.price = {};
  CHECK(team.state->check_max_unused(type, {}).error().code() == "price_not_known");
  CHECK(team.state->check_max_unused(type, Dollars(180)).error().code() == "price_not_known");
  REQUIRE(team.change([&] { return team.state->put_machine_type(type, true); }));
  REQUIRE(team.submit_to("spot"));
  CHECK(team.launches().empty());
  CHECK(team.why(1).find("its price is not known, so its cap of $400 a month for machines without "
                         "a run cannot be kept") != std::string::npos);
  team.declare(0, 2);
  CHECK(team.launches().size() == 1);
}

TEST_CASE("a cap goes with its type, and is no budget of runs") {
  Thrifty team(400);
  CHECK(team.state->budgets("ada", team.now).empty());
  CHECK(team.writer->budgets().value().size() == 1);
  team.open();
  CHECK(team.state->budgets("ada", team.now).empty());
  CHECK(team.state->has_max_unused("ada", "spot"));
  REQUIRE(team.change([&] { return team.state->remove_machine_type("ada", "spot"); }));
  CHECK(team.writer->budgets().value().empty());
  team.declare(0, 2);
  CHECK(team.state->unused_uses("ada", team.now).value().empty());
}

TEST_CASE("the cap is kept whatever happens, and a restart knows what was spent") {
  std::mt19937 random(7);
  auto any = [&](std::size_t count) { return random() % count; };
  Thrifty team(3000, 1, 4);
  std::map<std::string, PoolTask> up;
  std::map<std::string, std::int64_t> ordered_us;  // ends
  std::int64_t runs = 0;
  double most = 0;
  auto pass = [&](std::int64_t seconds) {
    for (auto until = team.now + seconds * second; team.now < until;) {
      auto due = team.state->next_pool_us();
      team.now = due > team.now ? std::min(due, until) : until;
      team.look();
      for (auto& task : team.ends())
        if (auto at = ordered_us.emplace(task.id, team.now).first->second;
            team.now >= at + 60 * second)
          up.erase(task.id), team.ended(task);
    }
  };
  for (int step = 0; step < 600; ++step) {
    auto active = team.writer->active_runs().value();
    std::erase_if(active, [&](auto& run) { return run.machine.empty(); });
    auto id_of = [&](const RunRecord& run) {
      return team.state->machines().at(run.machine).record.id;
    };
    switch (any(8)) {
      case 0:
        if (team.submit_to("spot")) ++runs;
        break;
      case 1:
      case 2:
        if (auto tasks = team.launches(); !tasks.empty()) {
          auto task = team.up();
          up[task.id] = task;
        }
        break;
      case 3:
        if (!active.empty()) {
          auto& run = active[any(active.size())];
          REQUIRE(team.say(id_of(run), team.end_of(run.number)));
        }
        break;
      case 4: {
        auto before = team.use().spent;
        team.open();
        team.now -= 1000;
        CHECK(team.use().spent == before);
        team.now += 1000;
        for (auto& [id, task] : up) {
          std::map<std::string, std::int64_t> holds;
          for (auto& run : active)
            if (run.machine == task.name) holds[run.id] = run.epoch;
          if (team.phase(task) == "up") team.greet(id, hello_of(4), holds);
        }
        break;
      }
      default:
        pass(static_cast<std::int64_t>(any(40)));
    }
    most = std::max(most, static_cast<double>(team.use().spent + team.use().reserved) / 3.6e15);
    CHECK(most <= 3000);
  }
  CHECK(most > 2900);
  CHECK(runs > 10);
}
