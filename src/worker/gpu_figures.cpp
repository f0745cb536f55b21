#include "worker/gpu_figures.hpp"

#include <algorithm>

namespace spell::worker {

void GpuFigures::ask(Clock::time_point now) {
  std::lock_guard lock(mutex_);
  if (asking_ || (asked_at_ != Clock::time_point{} && now - asked_at_ < between)) return;
  asking_ = true;
  asked_at_ = now;
  pool_.post([this] {
    auto gpus = read_gpus(program_);
    {
      std::lock_guard inner(mutex_);
      asking_ = false;
      read_at_ = asked_at_;
      gpus_ = gpus ? std::move(*gpus) : std::vector<GpuReading>();
    }
    read_();
  });
}

std::optional<std::vector<GpuStats>> GpuFigures::look(const std::vector<std::string>& uuids,
                                                      Clock::time_point since) const {
  std::lock_guard lock(mutex_);
  if (read_at_ == Clock::time_point{} || read_at_ < since) return std::nullopt;
  std::vector<GpuStats> out;
  for (auto& gpu : gpus_)
    if (std::find(uuids.begin(), uuids.end(), gpu.uuid) != uuids.end()) out.push_back(gpu.stats);
  return out;
}

}  // namespace spell::worker
