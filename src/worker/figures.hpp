// What the processes of runs use, read from /proc. One look at all processes serves everybody who
// asks within a moment. Not thread-safe.
#pragma once
#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "spell/stats.hpp"

namespace spell::worker {

/// A line of /proc/PID/stat, the parts that are of use here. False: it is none.
struct ProcessLine {
  int parent = 0;
  std::int64_t ticks = 0;  ///< processor time, that of children waited for included
  std::int64_t threads = 0, pages = 0;
};
bool parse_process(std::string_view text, ProcessLine& out);

/// Bytes over the machine's network, loopback left out, from the text of /proc/net/dev.
struct Traffic {
  std::int64_t received = 0, sent = 0;
};
Traffic parse_traffic(std::string_view text);

class Figures {
 public:
  using Clock = std::chrono::steady_clock;
  explicit Figures(std::string proc = "/proc") : proc_(std::move(proc)) {}
  /// Counters of the process `init` and all that came from it; rates are left at 0. Nothing of the
  /// tree there: zero processes.
  RunStats look(int init, Clock::time_point now);
  Traffic traffic() const;

 private:
  void read_processes();
  void read_disk(int process, RunStats&) const;

  const std::string proc_;
  Clock::time_point read_at_{};
  std::unordered_map<int, ProcessLine> processes_;
  std::unordered_map<int, std::vector<int>> children_;
};

}  // namespace spell::worker
