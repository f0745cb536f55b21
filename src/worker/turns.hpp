// So many at once, and the others after them; the last place is for an owner who has none.
// Thread-safe.
#pragma once
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>

namespace spell::worker {

class Turns {
 public:
  explicit Turns(int most) : free_(most) {}
  /// Waits for one, which is over when what is returned goes; null after a stop.
  std::shared_ptr<void> take(const std::string& owner, std::stop_token stop) {
    std::unique_lock lock(mutex_);
    auto may = [&] { return free_ > 1 || (free_ == 1 && !used_.contains(owner)); };
    if (!changed_.wait(lock, stop, may)) return nullptr;
    --free_;
    ++used_[owner];
    return {this, [owner](Turns* turns) { turns->give_back(owner); }};
  }

 private:
  void give_back(const std::string& owner) {
    std::lock_guard lock(mutex_);
    ++free_;
    if (--used_[owner] == 0) used_.erase(owner);
    changed_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable_any changed_;
  int free_;
  std::map<std::string, int> used_;
};

}  // namespace spell::worker
