#include "sched/cost.hpp"

#include <algorithm>
#include <random>

#include "box.hpp"
#include "catch.hpp"

using namespace spell;
using namespace spell::sched;
using model::CostEntry;
using model::Units;
using model::units;

namespace {

constexpr std::int64_t start = 20'000 * day;

CostEntry entry(std::int64_t run, std::int64_t began, std::int64_t ms, std::int64_t price = nano) {
  CostEntry out;
  out.run = run;
  out.user = 1;
  out.began_ms = began;
  out.ms = ms;
  out.price = price;
  return out;
}

CostSum line(const CostReport& report, std::int64_t key) {
  for (auto& line : report.lines())
    if (line.key == key) return line.sum;
  return {};
}

Units sum_of(const CostReport& report) {
  Units sum = 0;
  for (auto& line : report.lines()) sum += line.sum.amount;
  return sum;
}

}  // namespace

TEST_CASE("names of what a report is by") {
  for (auto name : {"run", "workflow", "project", "user", "machine", "type", "day"})
    CHECK(name_of(parse_cost_by(name).value()) == name);
  CHECK(!parse_cost_by("RUN"));
  CHECK(!parse_cost_by(""));
}

TEST_CASE("a report counts what lies in its window") {
  CostReport report(CostBy::run, start, start + day);
  report.add(entry(1, start - hour, 2 * hour));        // half of it
  report.add(entry(2, start + day - hour, 5 * hour));  // a fifth of it
  report.add(entry(3, start + hour, hour));
  report.add(entry(4, start - hour, hour));  // ended as it begins
  report.add(entry(5, start + day, hour));   // begins as it ends
  report.add(entry(6, start, 0));
  CHECK(report.total().runs == 4);
  CHECK(report.total().amount == units(nano, 3 * hour));
  CHECK(line(report, 1).ms == hour);
  CHECK(line(report, 2).ms == hour);
  CHECK(line(report, 6).runs == 1);
  CHECK(report.lines().size() == 4);
}

TEST_CASE("savings and what was lost") {
  auto spot = entry(1, start, 10 * hour, nano);
  spot.spot = true;
  spot.on_demand = 3 * nano;
  spot.lost_ms = 2 * hour;
  CostReport whole(CostBy::type, 0, start + 2 * day);
  whole.add(spot);
  CHECK(whole.total().amount == units(nano, 10 * hour));
  CHECK(whole.total().on_demand == units(nano, 30 * hour));
  CHECK(whole.total().lost == units(nano, 2 * hour));
  // What is lost is lost at the end.
  CostReport first(CostBy::type, 0, start + 9 * hour),
      last(CostBy::type, start + 9 * hour, INT64_MAX);
  first.add(spot);
  last.add(spot);
  CHECK(first.total().lost_ms == hour);
  CHECK(last.total().lost_ms == hour);
  spot.lost_ms = 99 * hour;  // more than all of it is all of it
  CostReport all(CostBy::type, 0, start + 2 * day);
  all.add(spot);
  CHECK(all.total().lost_ms == 10 * hour);
}

TEST_CASE("what is taken back counts no more, in any order") {
  auto before = entry(7, start, 5 * hour), after = entry(7, start, 2 * hour);
  before.taken_back = false;
  auto back = before;
  back.taken_back = true;
  std::vector<CostEntry> entries{before, back, after};
  std::sort(entries.begin(), entries.end(), [](auto& a, auto& b) { return a.ms < b.ms; });
  for (int turn = 0; turn < 3; ++turn) {
    for (auto by : {CostBy::run, CostBy::user, CostBy::day}) {
      CostReport report(by, 0, start + day);
      for (auto& one : entries) report.add(one);
      CHECK(report.total().runs == 1);
      CHECK(report.total().amount == units(nano, 2 * hour));
      CHECK(sum_of(report) == report.total().amount);
    }
    std::rotate(entries.begin(), entries.begin() + 1, entries.end());
  }
}

TEST_CASE("by run the newest are listed, and all are counted") {
  CostReport report(CostBy::run, 0, INT64_MAX, 3);
  for (std::int64_t run : {5, 1, 9, 3, 7, 9}) report.add(entry(run, start, hour));
  std::vector<std::int64_t> keys;
  for (auto& line : report.lines()) keys.push_back(line.key);
  std::sort(keys.begin(), keys.end());
  CHECK(keys == std::vector<std::int64_t>{5, 7, 9});
  CHECK(line(report, 9).ms == 2 * hour);
  CHECK(report.total().runs == 6);
}

TEST_CASE("by day a run is cut at midnight") {
  CostReport report(CostBy::day, 0, INT64_MAX);
  report.add(entry(1, start + 23 * hour, 26 * hour));
  CHECK(line(report, 20'000).ms == hour);
  CHECK(line(report, 20'001).ms == day);
  CHECK(line(report, 20'002).ms == hour);
  // A clock that stood at 1970 when it began makes one line of its first centuries.
  CostReport absurd(CostBy::day, 0, INT64_MAX);
  absurd.add(entry(1, 0, 1'000'000 * day));
  CHECK(absurd.lines().size() <= 36'601);
  CHECK(sum_of(absurd) == absurd.total().amount);
}

TEST_CASE("the lines of every report have the same sum, which does not depend on how time is cut") {
  std::mt19937_64 random(11);
  auto below = [&](std::int64_t limit) {
    return static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(limit));
  };
  std::vector<CostEntry> entries;
  for (int i = 0; i < 2000; ++i) {
    CostEntry one = entry(below(500), start + below(40 * day), below(3 * day), below(1 << 30));
    one.workflow = below(20);
    one.user = below(9);
    one.project = below(9);
    one.type = below(9);
    one.machine = below(50);
    one.lost_ms = below(hour);
    one.taken_back = below(10) == 0;
    if (below(2) == 0) one.on_demand = below(1LL << 32);
    entries.push_back(one);
  }
  Units plain = 0;
  for (auto& one : entries) plain += units(one.price, one.ms) * (one.taken_back ? -1 : 1);
  for (auto by : {CostBy::run, CostBy::workflow, CostBy::project, CostBy::user, CostBy::machine,
                  CostBy::type, CostBy::day}) {
    CostReport all(by, 0, INT64_MAX, 1000);
    for (auto& one : entries) all.add(one);
    CHECK(all.total().amount == plain);
    CHECK(sum_of(all) == plain);
    auto cut = start + below(40 * day);
    CostReport before(by, 0, cut, 1000), after(by, cut, INT64_MAX, 1000);
    for (auto& one : entries) before.add(one), after.add(one);
    CHECK(before.total().amount + after.total().amount == plain);
    CHECK(before.total().on_demand + after.total().on_demand == all.total().on_demand);
    CHECK(before.total().lost + after.total().lost == all.total().lost);
  }
}

TEST_CASE("amounts that no bill has do no harm") {
  CostReport report(CostBy::user, 0, INT64_MAX);
  for (int i = 0; i < 100; ++i) {
    auto one = entry(i, INT64_MAX - 5, INT64_MAX, INT64_MAX);
    one.user = one.project = one.type = one.machine = INT64_MAX;
    one.lost_ms = INT64_MAX;
    report.add(one);
  }
  report.add(entry(1, 0, INT64_MAX, INT64_MAX));
  report.add(entry(2, 0, INT64_MAX, INT64_MAX));
  report.add(entry(3, 0, INT64_MAX, INT64_MAX));
  CHECK(report.total().amount == model::most_units);
  CHECK(report.total().ms == INT64_MAX);
  CHECK(!CostReport(CostBy::user, 0, 1).add(std::string_view("\xff\xff\xff")));
}

TEST_CASE("what machines cost while no run was there") {
  constexpr std::int64_t us = 1000;
  MachineTime machine{4,
                      2,
                      nano,
                      start * us,
                      (start + hour) * us,
                      (start + 6 * hour) * us,
                      (start + 7 * hour) * us};
  auto times = [&](const MachineTime& time, std::vector<CostEntry> runs, std::int64_t since = 0,
                   std::int64_t until = INT64_MAX) {
    CostReport report(CostBy::type, since, until);
    for (auto& run : runs) {
      run.machine = 4;
      report.add(run);
    }
    report.add(time);
    auto found = report.machine_times().find(2);
    return found == report.machine_times().end() ? MachineTimeSum() : found->second;
  };
  auto alone = times(machine, {});
  CHECK(alone.machines == 1);
  CHECK(alone.start == units(nano, hour));
  CHECK(alone.idle == units(nano, 5 * hour));
  CHECK(alone.ending == units(nano, hour));

  auto used = times(machine, {entry(1, start + 2 * hour, hour), entry(2, start + 3 * hour, hour)});
  CHECK(used.idle == units(nano, 3 * hour));
  // Runs that go on while it is ending use that.
  auto late = times(machine, {entry(1, start + hour, 5 * hour + hour / 2)});
  CHECK(late.idle == 0);
  CHECK(late.ending == units(nano, hour / 2));
  // Never less than nothing, however its runs paid.
  auto more = times(machine, {entry(1, start + hour, 5 * hour, 9 * nano)});
  CHECK(more.idle == 0);
  CHECK(more.ending == 0);

  CHECK(times(machine, {}, start + 2 * hour, start + 3 * hour).idle == units(nano, hour));
  CHECK(times(machine, {}, start + 2 * hour, start + 3 * hour).start == 0);
  CHECK(times(machine, {}, start + 8 * hour).machines == 0);

  MachineTime starting{4, 2, nano, start * us, 0, 0, 0};
  CHECK(times(starting, {}, 0, start + hour).start == units(nano, hour));
  MachineTime never{4, 2, nano, start * us, 0, (start + hour) * us, (start + 3 * hour) * us};
  CHECK(times(never, {}).start == units(nano, hour));
  CHECK(times(never, {}).ending == units(nano, 2 * hour));
  // The clock was set back: each phase takes no time at least.
  MachineTime back{
      4, 2, nano, (start + 9 * hour) * us, (start + hour) * us, start * us, (start - hour) * us};
  CHECK(times(back, {}).machines == 0);
}
