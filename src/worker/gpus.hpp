// The GPUs of this machine, as `nvidia-smi` lists them, and which of them a run gets.
#pragma once
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "spell/machine.hpp"
#include "spell/result.hpp"

namespace spell::worker {

/// Lines "index, uuid, name, memory in MiB"; others are left out. Pure.
std::vector<GpuInfo> parse_gpu_list(std::string_view csv);

/// `program`: its path; "": looked for where drivers put it. Empty where there is no such program.
/// Blocks, at most 20 s. Error `io_error`: it failed, or did not answer.
Result<std::vector<GpuInfo>> find_gpus(const std::string& program);

/// Ids of `count` GPUs that are not `used`: neighbours, out of the smallest gap that has so many,
/// so that large gaps stay; if there is no such gap, the first ones. None: too few are left. Pure.
std::optional<std::vector<std::string>> choose_gpus(const std::vector<GpuInfo>& gpus,
                                                    const std::set<std::string>& used,
                                                    std::int64_t count);

}  // namespace spell::worker
