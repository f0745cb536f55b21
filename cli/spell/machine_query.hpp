// The options that say what a run needs of a machine type.
#pragma once
#include <optional>
#include <string>

#include "options.hpp"
#include "spell/machine.hpp"

namespace spell::cli {

struct MachineQueryOptions {
  std::optional<std::string> gpu{}, gpu_memory{}, cpus{}, memory{}, max_price{}, prefer{};
  bool spot = false, no_spot = false;

  void define(Options& options);
  /// Nothing: no option was given. Error `usage`.
  Result<std::optional<MachineQuery>> query() const;
};

}  // namespace spell::cli
