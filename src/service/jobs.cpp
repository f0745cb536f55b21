#include "service/jobs.hpp"

#include <chrono>
#include <thread>

namespace spell::service {

void Jobs::post(std::function<void()> job) {
  std::lock_guard lock(mutex_);
  if (stopping_) return;
  queue_.push_back(std::move(job));
  if (waiting_ >= static_cast<int>(queue_.size()) || threads_ >= limit_) {
    changed_.notify_one();
    return;
  }
  ++threads_;
  std::thread([this] { work(); }).detach();
}

void Jobs::work() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    if (queue_.empty()) {
      ++waiting_;
      bool more = changed_.wait_for(lock, std::chrono::seconds(5),
                                    [this] { return stopping_ || !queue_.empty(); });
      --waiting_;
      if (!more) break;
      continue;
    }
    auto job = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    job();
    job = nullptr;
    lock.lock();
  }
  --threads_;
  changed_.notify_all();
}

void Jobs::stop() {
  std::unique_lock lock(mutex_);
  stopping_ = true;
  queue_.clear();
  changed_.notify_all();
  changed_.wait(lock, [this] { return threads_ == 0; });
}

bool Jobs::idle() const {
  std::lock_guard lock(mutex_);
  return queue_.empty() && threads_ == waiting_;
}

}  // namespace spell::service
