#include "base/pool.hpp"

#include <chrono>
#include <system_error>

namespace spell::base {

namespace {
constexpr std::chrono::seconds idle_limit{5};
}

void Pool::post(std::function<void()> job) {
  std::vector<std::thread> ended;
  {
    std::lock_guard lock(mutex_);
    if (stopping_) return;
    ended.swap(ended_);
    jobs_.push_back(std::move(job));
    if (static_cast<int>(jobs_.size()) <= waiting_ || static_cast<int>(threads_.size()) >= limit_) {
      changed_.notify_one();
    } else {
      auto self = threads_.emplace(threads_.end());
      try {
        *self = std::thread([this, self] { work(self); });
      } catch (const std::system_error&) {
        threads_.erase(self);
        // The computer has no more: those that are there do it too.
        if (threads_.empty()) {
          jobs_.pop_back();
          ended_.swap(ended);
          throw;
        }
      }
    }
  }
  for (auto& thread : ended) thread.join();
}

void Pool::work(Threads::iterator self) {
  std::unique_lock lock(mutex_);
  for (;;) {
    ++waiting_;
    bool woken = changed_.wait_for(lock, idle_limit, [&] { return stopping_ || !jobs_.empty(); });
    --waiting_;
    if (stopping_ || !woken) break;
    auto job = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();
    job();
    job = nullptr;
    lock.lock();
  }
  ended_.push_back(std::move(*self));
  threads_.erase(self);
  changed_.notify_all();
}

void Pool::stop() {
  std::vector<std::thread> ended;
  {
    std::unique_lock lock(mutex_);
    stopping_ = true;
    jobs_.clear();
    changed_.notify_all();
    changed_.wait(lock, [&] { return threads_.empty(); });
    ended.swap(ended_);
  }
  // Joined, not only counted: what libraries keep for each thread goes after its last line, and
  // must not meet the end of the process.
  for (auto& thread : ended) thread.join();
}

bool Pool::idle() const {
  std::lock_guard lock(mutex_);
  return jobs_.empty() && static_cast<int>(threads_.size()) == waiting_;
}

}  // namespace spell::base
