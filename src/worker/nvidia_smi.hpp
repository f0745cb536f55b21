// The GPUs of this machine and what they do, as `nvidia-smi` prints it.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "spell/result.hpp"
#include "spell/stats.hpp"

namespace spell::worker {

struct GpuReading {
  std::string uuid{};
  GpuStats stats{};
};

/// The output of the query below, by index; lines that are none are left out. What is no number
/// ("[N/A]", "[Not Supported]", …) is not there. Pure.
std::vector<GpuReading> parse_gpus(std::string_view csv);

/// `program`: its path; "": looked for where drivers put it. Empty where there is no such program.
/// Blocks: tens of milliseconds, at most 20 s. Error `io_error`: it failed, or did not answer.
Result<std::vector<GpuReading>> read_gpus(const std::string& program);

}  // namespace spell::worker
