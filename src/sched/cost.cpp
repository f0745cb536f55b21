#include "sched/cost.hpp"

#include <algorithm>

#include "base/clock.hpp"
#include "base/error.hpp"

namespace spell::sched {

using base::day_ms;
using model::CostEntry;
using model::plus;
using model::Units;
using model::units;

namespace {

constexpr std::string_view names[] = {"run",     "workflow", "project", "user",
                                      "machine", "type",     "day"};

std::int64_t day_of(std::int64_t ms) { return ms / day_ms; }

std::int64_t sum_of(std::int64_t a, std::int64_t b) {
  std::int64_t sum = 0;
  return __builtin_add_overflow(a, b, &sum) ? (b > 0 ? INT64_MAX : INT64_MIN) : sum;
}

}  // namespace

std::string_view name_of(CostBy by) { return names[static_cast<std::size_t>(by)]; }

std::optional<CostBy> parse_cost_by(std::string_view name) {
  auto found = std::find(std::begin(names), std::end(names), name);
  if (found == std::end(names)) return std::nullopt;
  return static_cast<CostBy>(found - std::begin(names));
}

void CostSum::add(const CostSum& other) {
  runs += other.runs;
  ms = sum_of(ms, other.ms);
  lost_ms = sum_of(lost_ms, other.lost_ms);
  amount = plus(amount, other.amount);
  on_demand = plus(on_demand, other.on_demand);
  lost = plus(lost, other.lost);
}

CostReport::CostReport(CostBy by, std::int64_t since_ms, std::int64_t until_ms, std::size_t newest)
    : by_(by),
      since_(std::max<std::int64_t>(0, since_ms)),
      until_(std::max<std::int64_t>(0, until_ms)),
      newest_(newest) {}

CostSum CostReport::part_of(const CostEntry& entry, std::int64_t begin, std::int64_t end) const {
  CostSum sum;
  auto lost_from =
      sum_of(entry.began_ms, entry.ms - std::clamp<std::int64_t>(entry.lost_ms, 0, entry.ms));
  sum.runs = 1;
  sum.ms = end - begin;
  sum.lost_ms = std::max<std::int64_t>(0, end - std::max(begin, lost_from));
  sum.amount = units(entry.price, sum.ms);
  sum.on_demand = units(entry.on_demand.value_or(entry.price), sum.ms);
  sum.lost = units(entry.price, sum.lost_ms);
  if (!entry.taken_back) return sum;
  return {-sum.runs, -sum.ms, -sum.lost_ms, -sum.amount, -sum.on_demand, -sum.lost};
}

CostSum& CostReport::line_of(std::int64_t key) {
  if (by_ != CostBy::run) return lines_[key];
  if (runs_.size() >= newest_ && !runs_.contains(key)) {
    if (newest_ == 0 || key < runs_.begin()->first) return unseen_;
    runs_.erase(runs_.begin());
  }
  return runs_[key];
}

void CostReport::add(const CostEntry& entry) {
  auto begin = std::max(entry.began_ms, since_);
  auto end = std::min(sum_of(entry.began_ms, entry.ms), until_);
  // One that took no time is where it began.
  bool inside = begin < end || (entry.ms == 0 && begin == end && end < until_);
  if (!inside) return;
  auto sum = part_of(entry, begin, end);
  total_.add(sum);
  auto& machine = on_machine_[entry.machine];
  machine = plus(machine, sum.amount);
  if (by_ == CostBy::day) return add_days(entry, begin, end);
  auto key = by_ == CostBy::run        ? entry.run
             : by_ == CostBy::workflow ? entry.workflow
             : by_ == CostBy::project  ? entry.project
             : by_ == CostBy::user     ? entry.user
             : by_ == CostBy::machine  ? entry.machine
                                       : entry.type;
  line_of(key).add(sum);
}

void CostReport::add_days(const CostEntry& entry, std::int64_t begin, std::int64_t end) {
  // What a clock that stood wrong has made of a run is no million lines.
  constexpr std::int64_t most_days = 36'600;
  if (auto from = end - most_days * day_ms; begin < from) {
    line_of(day_of(from)).add(part_of(entry, begin, from));
    begin = from;
  }
  do {
    auto next = end - begin < day_ms && day_of(begin) == day_of(end)
                    ? end
                    : std::min(end, (day_of(begin) + 1) * day_ms);
    line_of(day_of(begin)).add(part_of(entry, begin, next));
    begin = next;
  } while (begin < end);
}

Result<> CostReport::add(std::string_view entries) {
  CostEntry entry;
  while (model::take(entries, entry)) add(entry);
  if (entries.empty()) return ok();
  return base::error("damaged", "the record of what runs cost cannot be read (spelld fsck)");
}

void CostReport::add(const MachineTime& machine) {
  // Each phase ends where the next one begins, at the latest now; a clock that was set back makes
  // none of them negative.
  auto ms = [&](std::int64_t us) { return us == 0 ? until_ : us / 1000; };
  auto ended = ms(machine.ended_us);
  auto ending = machine.ending_us == 0 ? ended : std::min(ms(machine.ending_us), ended);
  auto joined = machine.joined_us == 0 ? ending : std::min(ms(machine.joined_us), ending);
  auto within = [&](std::int64_t from, std::int64_t to) {
    from = std::max(from, since_);
    to = std::min(to, until_);
    return from < to ? units(machine.price, to - from) : Units{0};
  };
  auto began = machine.began_us / 1000;
  auto start = within(began, joined);
  auto up = within(joined, ending), end = within(std::max(joined, ending), ended);
  if (start + up + end == 0) return;
  auto found = on_machine_.find(machine.machine);
  auto used = found == on_machine_.end() ? Units{0} : found->second;
  auto& sum = machine_times_[machine.type];
  ++sum.machines;
  sum.start = plus(sum.start, start);
  sum.idle = plus(sum.idle, std::max<Units>(0, up - used));
  sum.ending = plus(sum.ending, std::max<Units>(0, end - std::max<Units>(0, used - up)));
}

std::vector<CostReport::Line> CostReport::lines() const {
  std::vector<Line> out;
  auto take = [&](std::int64_t key, const CostSum& sum) {
    if (!sum.empty()) out.push_back({key, sum});
  };
  for (auto& [key, sum] : lines_) take(key, sum);
  for (auto& [key, sum] : runs_) take(key, sum);
  return out;
}

}  // namespace spell::sched
