#include "service/timer.hpp"

namespace spell::service {

Timer::Timer() : thread_([this] { loop(); }) {}
Timer::~Timer() { stop(); }

std::uint64_t Timer::after(std::chrono::milliseconds delay, std::function<void()> callback) {
  std::lock_guard lock(mutex_);
  auto deadline = Clock::now() + delay;
  pending_.emplace(std::pair(deadline, ++last_), std::move(callback));
  deadlines_[last_] = deadline;
  if (pending_.begin()->first.second == last_) changed_.notify_one();
  return last_;
}

void Timer::cancel(std::uint64_t ticket) {
  std::lock_guard lock(mutex_);
  auto found = deadlines_.find(ticket);
  if (found == deadlines_.end()) return;
  pending_.erase({found->second, ticket});
  deadlines_.erase(found);
}

void Timer::stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    pending_.clear();
  }
  changed_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void Timer::loop() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    if (pending_.empty()) {
      changed_.wait(lock);
      continue;
    }
    auto next = pending_.begin();
    if (next->first.first > Clock::now()) {
      auto deadline = next->first.first;
      changed_.wait_until(lock, deadline);
      continue;
    }
    auto callback = std::move(next->second);
    deadlines_.erase(next->first.second);
    pending_.erase(next);
    lock.unlock();
    callback();
    callback = nullptr;
    lock.lock();
  }
}

}  // namespace spell::service
