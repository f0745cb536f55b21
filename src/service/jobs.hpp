// A few threads for work that blocks (Git, packs, log files), made when needed and gone when idle
// for a while.
#pragma once
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>

namespace spell::service {

class Jobs {
 public:
  explicit Jobs(int threads) : limit_(threads) {}
  ~Jobs() { stop(); }
  void post(std::function<void()> job);
  /// Finishes what has begun, drops the rest.
  void stop();
  bool idle() const;

 private:
  void work();
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> queue_;
  int limit_, threads_ = 0, waiting_ = 0;
  bool stopping_ = false;
};

}  // namespace spell::service
