// So many at once, and the others after them. Thread-safe.
#pragma once
#include <condition_variable>
#include <memory>
#include <mutex>
#include <stop_token>

namespace spell::worker {

class Turns {
 public:
  explicit Turns(int most) : free_(most) {}
  /// Waits for one, which is over when what is returned goes; null after a stop.
  std::shared_ptr<void> take(std::stop_token stop) {
    std::unique_lock lock(mutex_);
    if (!changed_.wait(lock, stop, [&] { return free_ > 0; })) return nullptr;
    --free_;
    return {this, [](Turns* turns) { turns->give_back(); }};
  }

 private:
  void give_back() {
    std::lock_guard lock(mutex_);
    ++free_;
    changed_.notify_one();
  }

  std::mutex mutex_;
  std::condition_variable_any changed_;
  int free_;
};

}  // namespace spell::worker
