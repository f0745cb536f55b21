// Costs: what runs, and the machines that were kept for them, have cost.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "spell/run.hpp"
#include "spell/units.hpp"

namespace spell {

enum class CostBy { run, workflow, project, user, machine, type, day };

struct CostFilter {
  CostBy by = CostBy::type;
  /// Only time from then on, and before then: of a run that went on over it its part.
  std::optional<Time> since{}, until{};
  int limit = 100;  ///< lines, at most 10,000: of runs and days the newest, else the dearest
};

/// What belongs together; runs whose price is not known are not in it.
struct CostLine {
  std::string name{};        ///< "7" of runs and workflows, "2026-03-01" (UTC) of days; "": of none
  std::int64_t runs = 0;     ///< that were on a machine
  std::int64_t time_ms = 0;  ///< that they had their machines
  Dollars amount{};
  Dollars on_demand{};  ///< the same without spot, where its price is known, else as `amount`
  /// Time at the end of interrupted runs from which nothing was saved, and what it has cost.
  std::int64_t lost_ms = 0;
  Dollars lost{};
};

/// What the machines of a pool have cost while no run was there.
struct MachineTimeCost {
  std::string type{};
  std::int64_t machines = 0;
  Dollars start{};   ///< from the launch until it had joined
  Dollars idle{};    ///< joined, without a run
  Dollars ending{};  ///< not wanted any more, and still there
};

struct CostReport {
  std::string by{};
  std::optional<Time> since{};
  Time until{};
  std::vector<CostLine> lines{};
  bool more = false;  ///< there are more lines than were asked for
  CostLine total{};   ///< of all runs, also of those without a line
  std::vector<MachineTimeCost> machine_time{};
  Dollars all{};  ///< `total` and all machine time
  /// Types of which runs or machines were there whose price was not known: they are in no amount.
  std::vector<std::string> unpriced{};
};

}  // namespace spell
