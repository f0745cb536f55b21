#include "worker/gpus.hpp"

#include <algorithm>

#include "worker/nvidia_smi.hpp"

namespace spell::worker {

Result<std::vector<GpuInfo>> find_gpus(const std::string& program) {
  auto read = read_gpus(program);
  if (!read) return read.error();
  std::vector<GpuInfo> gpus;
  for (auto& [uuid, stats] : *read)
    gpus.push_back(
        {static_cast<int>(stats.index), uuid, stats.name, stats.memory_total.value_or(0)});
  return gpus;
}

std::optional<std::vector<std::string>> choose_gpus(const std::vector<GpuInfo>& gpus,
                                                    const std::set<std::string>& used,
                                                    std::int64_t count) {
  auto wanted = static_cast<std::size_t>(std::max<std::int64_t>(0, count));
  std::vector<std::string> free;
  std::size_t best = 0, best_size = SIZE_MAX;
  for (std::size_t at = 0; at < gpus.size();) {
    std::size_t begin = free.size();
    while (at < gpus.size() && !used.contains(gpus[at].uuid)) free.push_back(gpus[at++].uuid);
    std::size_t size = free.size() - begin;
    if (size >= wanted && size < best_size) best = begin, best_size = size;
    while (at < gpus.size() && used.contains(gpus[at].uuid)) ++at;
  }
  if (free.size() < wanted) return std::nullopt;
  auto from = free.begin() + static_cast<std::ptrdiff_t>(best_size == SIZE_MAX ? 0 : best);
  return std::vector<std::string>(from, from + static_cast<std::ptrdiff_t>(wanted));
}

}  // namespace spell::worker
