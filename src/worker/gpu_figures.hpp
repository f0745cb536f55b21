// What the GPUs of this machine do. Asking takes tens of milliseconds, so it is done beside:
// whoever wants figures gets the last ones, and is told when there are newer ones. Thread-safe.
#pragma once
#include <chrono>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/pool.hpp"
#include "worker/nvidia_smi.hpp"

namespace spell::worker {

class GpuFigures {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::seconds between{1};

  /// `program`: see read_gpus(). `read` is called after each reading, on a thread of its own.
  GpuFigures(std::string program, std::function<void()> read)
      : program_(std::move(program)), read_(std::move(read)) {}
  /// Has them read, at most once a second.
  void ask(Clock::time_point now);
  /// Those of these GPUs, as they were read last; nothing: not since `since`.
  std::optional<std::vector<GpuStats>> look(const std::vector<std::string>& uuids,
                                            Clock::time_point since) const;
  void stop() { pool_.stop(); }

 private:
  const std::string program_;
  const std::function<void()> read_;
  mutable std::mutex mutex_;
  std::vector<GpuReading> gpus_;
  bool asking_ = false;
  Clock::time_point asked_at_{}, read_at_{};  ///< the latter: when was asked what was read
  base::Pool pool_{1};                        ///< last: gone before what it uses
};

}  // namespace spell::worker
