// Reports of what was spent: the sums of runs' times on machines, by one thing or another, within a
// window of time; and what machines cost while no run was there. Pure: what is read is given to it,
// piece by piece; memory grows with the lines of the report, not with the runs.
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "model/cost.hpp"
#include "spell/result.hpp"

namespace spell::sched {

enum class CostBy { run, workflow, project, user, machine, type, day };
std::string_view name_of(CostBy);
std::optional<CostBy> parse_cost_by(std::string_view name);

/// What belongs to one line. On demand: what the same would have cost without spot.
struct CostSum {
  std::int64_t runs = 0, ms = 0, lost_ms = 0;
  model::Units amount = 0, on_demand = 0, lost = 0;
  void add(const CostSum&);
  bool empty() const { return runs == 0 && ms == 0 && amount == 0; }
};

/// A machine that a pool has made, from its launch to its end; times in µs, 0: not yet.
struct MachineTime {
  std::int64_t machine = 0, type = 0;  ///< numbers of their names
  std::int64_t price = 0;              ///< billionths of a dollar an hour
  std::int64_t began_us = 0, joined_us = 0, ending_us = 0, ended_us = 0;
};

/// What machines of a type cost while no run was there. Ending: when they were not wanted any more,
/// and still there.
struct MachineTimeSum {
  std::int64_t machines = 0;
  model::Units start = 0, idle = 0, ending = 0;
};

class CostReport {
 public:
  struct Line {
    /// Of runs and workflows their number, of days the day since 1970 (UTC), else that of a name.
    std::int64_t key = 0;
    CostSum sum{};
  };
  /// From `since_ms` on and before `until_ms`, Unix time. By run: of the `newest` with the highest
  /// numbers.
  CostReport(CostBy by, std::int64_t since_ms, std::int64_t until_ms, std::size_t newest = 100);

  /// In any order; what is taken back may come before what it takes back.
  void add(const model::CostEntry&);
  /// The same of many; error `damaged`.
  Result<> add(std::string_view entries);
  /// After all runs.
  void add(const MachineTime&);

  const CostSum& total() const { return total_; }
  /// Without those that are taken back altogether; in no order.
  std::vector<Line> lines() const;
  /// By type.
  const std::map<std::int64_t, MachineTimeSum>& machine_times() const { return machine_times_; }

 private:
  CostSum& line_of(std::int64_t key);
  void add_days(const model::CostEntry&, std::int64_t begin, std::int64_t end);
  CostSum part_of(const model::CostEntry&, std::int64_t begin, std::int64_t end) const;

  const CostBy by_;
  const std::int64_t since_, until_;
  const std::size_t newest_;
  CostSum total_, unseen_;
  std::unordered_map<std::int64_t, CostSum> lines_;
  std::map<std::int64_t, CostSum> runs_;
  std::unordered_map<std::int64_t, model::Units> on_machine_;
  std::map<std::int64_t, MachineTimeSum> machine_times_;
};

}  // namespace spell::sched
