// What runs use, as tables for people.
#pragma once
#include <string>
#include <vector>

#include "output.hpp"
#include "spell/run.hpp"

namespace spell::cli {

/// A run, with the figures that came last; of one that has none yet, run is 0.
struct Usage {
  RunInfo run{};
  RunStats stats{};
};
/// A line a run. `with_command`: also what it runs.
Table usage_table(const std::vector<Usage>& usages, bool with_command);
/// A line a GPU; no rows where there are none.
Table gpu_table(const RunStats& stats);

}  // namespace spell::cli
