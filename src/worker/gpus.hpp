// Which GPUs a run gets, of those that this machine has.
#pragma once
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "spell/machine.hpp"
#include "spell/result.hpp"

namespace spell::worker {

/// As read_gpus(), without what they do.
Result<std::vector<GpuInfo>> find_gpus(const std::string& program);

/// Ids of `count` GPUs that are not `used`: neighbours, out of the smallest gap that has so many,
/// so that large gaps stay; if there is no such gap, the first ones. None: too few are left. Pure.
std::optional<std::vector<std::string>> choose_gpus(const std::vector<GpuInfo>& gpus,
                                                    const std::set<std::string>& used,
                                                    std::int64_t count);

}  // namespace spell::worker
