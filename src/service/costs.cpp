// Reports of costs. What is read is one moment's: a run that ends meanwhile is in it once.
#include <algorithm>
#include <map>
#include <tuple>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "sched/cost.hpp"
#include "service/api.hpp"
#include "spell/json.hpp"

namespace spell::service {

namespace {

using sched::CostBy;

using base::day_us;
/// So many lines at least have their names looked up, for two may have the same.
constexpr std::size_t most_named = 10'000;

struct Window {
  CostBy by = CostBy::type;
  std::optional<std::int64_t> since_us{};
  std::int64_t until_us = 0, now_us = 0;
  std::size_t limit = 100;
};

Result<std::optional<std::int64_t>> time_in_query(const Call& call, const std::string& name) {
  auto text = call->query(name);
  if (text.empty()) return std::optional<std::int64_t>();
  auto time = base::parse_rfc3339(text);
  if (!time || *time < 0)
    return base::error("invalid_request", "'" + name +
                                              "' must be a time since 1970, such as "
                                              "2026-01-31T12:00:00Z");
  return time;
}

Result<Window> window_of(const Call& call) {
  Window window;
  window.now_us = base::unix_us();
  if (auto name = call->query("by"); !name.empty()) {
    auto by = sched::parse_cost_by(name);
    if (!by)
      return base::error(
          "invalid_request",
          "'by' is run, workflow, project, user, machine, type or day, not '" + name + "'");
    window.by = *by;
  }
  auto limit = call->number("limit", 100, 1, 10'000);
  if (!limit) return limit.error();
  window.limit = static_cast<std::size_t>(*limit);
  auto since = time_in_query(call, "since");
  if (!since) return since.error();
  if (*since) window.since_us = std::min(**since, window.now_us);  // none lies ahead
  auto until = time_in_query(call, "until");
  if (!until) return until.error();
  window.until_us = std::min(until->value_or(window.now_us), window.now_us);
  if (*until && *since && **until < **since)
    return base::error("invalid_request", "'until' is before 'since'");
  return window;
}

/// What the numbers in entries stand for. Names that have none yet get one of the report's own.
class Names {
 public:
  Names(store::Reader& reader, const std::string& owner) : reader_(reader), owner_(owner) {}

  Result<std::int64_t> number(const std::string& kind, const std::string& name) {
    if (name.empty()) return std::int64_t{0};
    auto [known, anew] = numbers_.try_emplace({kind, name}, 0);
    if (!anew) return known->second;
    auto number = reader_.cost_number(owner_, kind, name);
    if (!number) return number;
    if (*number == 0) {
      own_.push_back(name);
      number = -std::ssize(own_);
    }
    return known->second = *number;
  }
  Result<std::string> name(std::int64_t number) const {
    if (number == 0) return std::string();
    if (number < 0) return own_[static_cast<std::size_t>(-number - 1)];
    return reader_.cost_name(number);
  }

 private:
  store::Reader& reader_;
  const std::string& owner_;
  std::map<std::pair<std::string, std::string>, std::int64_t> numbers_;
  std::vector<std::string> own_;
};

/// Of a run that goes on.
Result<model::CostEntry> cost_entry(Names& names, const store::LeasedRun& run,
                                    std::int64_t now_us) {
  model::CostEntry entry;
  for (auto [number, kind, name] : {std::tuple(&entry.user, "user", &run.user),
                                    std::tuple(&entry.project, "project", &run.project),
                                    std::tuple(&entry.type, "type", &run.cost.type),
                                    std::tuple(&entry.machine, "machine", &run.machine)}) {
    auto known = names.number(kind, *name);
    if (!known) return known.error();
    *number = *known;
  }
  entry.spot = run.cost.spot;
  entry.run = run.number;
  entry.workflow = run.workflow;
  entry.began_ms = run.cost.leased_us / 1000;
  entry.ms = model::ms_between(run.cost.leased_us, now_us);
  entry.price = run.cost.price.value_or(0);
  entry.on_demand = run.cost.on_demand;
  return entry;
}

std::string type_in_bill(const std::string& type) { return type == "cpu" ? "CPU" : type; }

CostLine line_of(std::string name, const sched::CostSum& sum) {
  return {std::move(name),
          sum.runs,
          sum.ms,
          model::rounded(sum.amount),
          model::rounded(sum.on_demand),
          sum.lost_ms,
          model::rounded(sum.lost)};
}

bool by_number(CostBy by) {
  return by == CostBy::run || by == CostBy::day || by == CostBy::workflow;
}
/// The newest first; else the dearest.
bool by_time(CostBy by) { return by == CostBy::run || by == CostBy::day; }

Result<std::string> name_of_line(CostBy by, const Names& names, std::int64_t key) {
  if (by == CostBy::day) return base::rfc3339(key * day_us).substr(0, 10);
  if (by_number(by)) return key == 0 ? std::string() : std::to_string(key);
  auto name = names.name(key);
  if (name && by == CostBy::type) name = type_in_bill(*name);
  return name;
}

Result<> put_lines(const Window& window, const Names& names, const sched::CostReport& report,
                   CostReport& out) {
  auto lines = report.lines();
  auto before = [&](const auto& a, const auto& b) {
    if (!by_time(window.by) && a.sum.amount != b.sum.amount) return a.sum.amount > b.sum.amount;
    return a.key > b.key;
  };
  auto most = std::max(window.limit, most_named);
  if (out.more = lines.size() > most; out.more) {
    std::nth_element(lines.begin(), lines.begin() + static_cast<std::ptrdiff_t>(most), lines.end(),
                     before);
    lines.resize(most);
  }
  std::sort(lines.begin(), lines.end(), before);
  // Two that were renamed into one are one.
  std::vector<std::pair<std::string, sched::CostSum>> named;
  std::map<std::string, std::size_t> places;
  for (auto& line : lines) {
    auto name = name_of_line(window.by, names, line.key);
    if (!name) return name.error();
    auto [place, anew] = places.emplace(*name, named.size());
    if (anew)
      named.emplace_back(*name, line.sum);
    else
      named[place->second].second.add(line.sum);
  }
  if (!by_time(window.by))
    std::stable_sort(named.begin(), named.end(),
                     [](auto& a, auto& b) { return a.second.amount > b.second.amount; });
  if (named.size() > window.limit) {
    named.resize(window.limit);
    out.more = true;
  }
  for (auto& [name, sum] : named) out.lines.push_back(line_of(name, sum));
  return ok();
}

Result<CostReport> make_report(store::Reader& reader, const std::string& owner,
                               const Window& window) {
  auto since_us = window.since_us.value_or(0);
  // One more than is shown tells whether there are more.
  sched::CostReport report(window.by, since_us / 1000, window.until_us / 1000, window.limit + 1);
  Names names(reader, owner);
  CostReport out;
  out.by = sched::name_of(window.by);
  if (window.since_us) out.since = Time(std::chrono::microseconds(*window.since_us));
  out.until = Time(std::chrono::microseconds(window.until_us));
  SPELL_TRY(reader.costs(owner, since_us / 1000,
                         [&](std::string_view entries) { return report.add(entries); }));
  auto unpriced = reader.unpriced_types(owner, since_us / day_us, window.until_us / day_us);
  if (!unpriced) return unpriced.error();
  auto leased = reader.leased_runs(owner);
  if (!leased) return leased.error();
  for (auto& run : *leased) {
    if (!run.cost.price && run.cost.leased_us <= window.until_us) {
      unpriced->push_back(run.cost.type);
    } else if (run.cost.price) {
      auto entry = cost_entry(names, run, window.now_us);
      if (!entry) return entry.error();
      report.add(*entry);
    }
  }
  auto times = reader.machine_times(owner, since_us);
  if (!times) return times.error();
  for (auto& time : *times)
    report.add(sched::MachineTime{time.machine, time.type, time.price, time.began_us,
                                  time.joined_us, time.ending_us, time.ended_us});

  SPELL_TRY(put_lines(window, names, report, out));
  out.total = line_of("", report.total());
  auto all = report.total().amount;
  for (auto& [type, sum] : report.machine_times()) {
    auto name = names.name(type);
    if (!name) return name.error();
    out.machine_time.push_back({type_in_bill(*name), sum.machines, model::rounded(sum.start),
                                model::rounded(sum.idle), model::rounded(sum.ending)});
    for (auto part : {sum.start, sum.idle, sum.ending}) all = model::plus(all, part);
  }
  out.all = model::rounded(all);
  std::sort(unpriced->begin(), unpriced->end());
  unpriced->erase(std::unique(unpriced->begin(), unpriced->end()), unpriced->end());
  for (auto& type : *unpriced) out.unpriced.push_back(type_in_bill(type));
  return out;
}

}  // namespace

void get_costs(Context& context, Call call) {
  auto window = window_of(call);
  if (!window) return refuse(call, window.error());
  context.jobs.post([&context, call = std::move(call), window = *window] {
    std::optional<CostReport> report;
    auto read = context.readers.with([&](store::Reader& reader) {
      return reader.at_one_moment([&]() -> Result<> {
        auto made = make_report(reader, call->owner(), window);
        if (!made) return made.error();
        report = std::move(*made);
        return ok();
      });
    });
    if (!read) return refuse(call, read.error());
    answer(call, {{"costs", json(*report)}});
  });
}

}  // namespace spell::service
