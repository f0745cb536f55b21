// How fast backups read, all that share one together. Thread-safe.
#pragma once
#include <algorithm>
#include <cstdint>
#include <mutex>

namespace spell::backup {

class Rate {
 public:
  static constexpr std::int64_t usual = 250'000'000;
  /// Bytes a second, at most, as an average over some seconds.
  explicit Rate(std::int64_t most = usual) : most_(std::max<std::int64_t>(1, most)) {}
  /// So many were read; returns when the next may be. Times are nanoseconds of one clock.
  std::int64_t take(std::int64_t bytes, std::int64_t now) {
    std::lock_guard lock(mutex_);
    free_at_ =
        std::max(free_at_, now) +
        static_cast<std::int64_t>(static_cast<double>(bytes) * 1e9 / static_cast<double>(most_));
    return free_at_;
  }

 private:
  const std::int64_t most_;
  std::mutex mutex_;
  std::int64_t free_at_ = 0;
};

}  // namespace spell::backup
