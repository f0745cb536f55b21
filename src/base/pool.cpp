#include "base/pool.hpp"

#include <chrono>
#include <system_error>

namespace spell::base {

namespace {
constexpr std::chrono::seconds idle_limit{5};
}

void Pool::post(std::function<void()> job) {
  std::lock_guard lock(mutex_);
  if (stopping_) return;
  jobs_.push_back(std::move(job));
  if (static_cast<int>(jobs_.size()) <= waiting_ || threads_ >= limit_) {
    changed_.notify_one();
    return;
  }
  // Detached: stop() waits for the count instead, so that a thread may end itself.
  try {
    std::thread([this] { work(); }).detach();
    ++threads_;
  } catch (const std::system_error&) {
    // The computer has no more: those that are there do it too.
    if (threads_ == 0) {
      jobs_.pop_back();
      throw;
    }
  }
}

void Pool::work() {
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
  --threads_;
  // Under the lock: stop() may destroy the condition as soon as it sees the count.
  changed_.notify_all();
}

void Pool::stop() {
  std::unique_lock lock(mutex_);
  stopping_ = true;
  jobs_.clear();
  changed_.notify_all();
  changed_.wait(lock, [&] { return threads_ == 0; });
}

bool Pool::idle() const {
  std::lock_guard lock(mutex_);
  return jobs_.empty() && threads_ == waiting_;
}

}  // namespace spell::base
