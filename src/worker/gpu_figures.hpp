// What the GPUs of this machine do, as nvidia-smi says it. Asking takes tens of milliseconds, so it
// is done beside: whoever wants figures gets the last ones. Thread-safe.
#pragma once
#include <chrono>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/pool.hpp"
#include "spell/stats.hpp"

namespace spell::worker {

struct GpuLine {
  std::string uuid;
  GpuStats stats;
};
/// The output of the query below, a line a GPU. What is no number ("[N/A]") is left out.
std::vector<GpuLine> parse_gpus(std::string_view text);

class GpuFigures {
 public:
  /// Has nvidia-smi asked, at most once a second; nothing happens on a machine without it.
  void ask();
  /// The last figures of the GPUs that a run sees: `visible` as in CUDA_VISIBLE_DEVICES (indices or
  /// uuids); "none": no GPU; "": all.
  std::vector<GpuStats> look(const std::string& visible) const;

 private:
  mutable std::mutex mutex_;
  std::vector<GpuLine> gpus_;
  bool asking_ = false, absent_ = false;
  std::chrono::steady_clock::time_point asked_at_{};
  base::Pool pool_{1};  ///< last: gone before what it uses
};

}  // namespace spell::worker
