// When to try again: delays double from `first` to `last`. Pure; time is a parameter.
#pragma once
#include <algorithm>
#include <cstdint>

namespace spell::worker {

class Backoff {
 public:
  Backoff(std::int64_t first_us, std::int64_t last_us) : first_(first_us), last_(last_us) {}
  void failed(std::int64_t now_us) {
    delay_ = delay_ == 0 ? first_ : std::min(2 * delay_, last_);
    not_before_ = now_us + delay_;
  }
  void reset() { delay_ = not_before_ = 0; }
  bool ready(std::int64_t now_us) const { return now_us >= not_before_; }
  /// 0: at once.
  std::int64_t not_before() const { return not_before_; }
  std::int64_t delay() const { return delay_; }

 private:
  std::int64_t first_, last_, delay_ = 0, not_before_ = 0;
};

}  // namespace spell::worker
