// Which runs a service keeps no longer, of all its projects: a pure decision.
#pragma once
#include <cstdint>
#include <utility>
#include <vector>

#include "store/store.hpp"

namespace spell::service {

/// 0: no limit.
struct Retention {
  std::int64_t keep_days = 0;  ///< ended runs that are older go
  std::int64_t keep_bytes =
      0;  ///< of outputs and logs, as they were saved: beyond it the oldest go
  bool any() const { return keep_days > 0 || keep_bytes > 0; }
};

struct Expired {
  std::vector<std::pair<std::string, std::int64_t>> runs{};  ///< owner, number
  std::int64_t next_us = 0;  ///< when the next run will be too old; 0: none will
};

/// Runs with labels always stay, but their bytes count. `runs`: ended ones, in any order.
Expired expired(std::vector<store::KeptRun> runs, const Retention&, std::int64_t now_us);

}  // namespace spell::service
