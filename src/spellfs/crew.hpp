// Threads of one operation, fed through a bounded queue: memory does not grow with the work.
// Private to this module.
#pragma once
#include <algorithm>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace spell::spellfs {

/// What an option `threads` means: 0 is one a core, at most 8.
inline int thread_count(int wanted) {
  int cores = static_cast<int>(std::thread::hardware_concurrency());
  return wanted > 0 ? wanted : std::clamp(cores, 1, 8);
}

class Crew {
 public:
  using Job = std::function<void()>;
  Crew(int threads, std::size_t queue_limit) : most_(threads), queue_limit_(queue_limit) {}
  ~Crew() { finish(); }

  /// Waits while the queue is full. A thread comes with the first job that finds all others busy;
  /// where none is to be had the job is done here.
  void post(Job job) {
    std::unique_lock lock(mutex_);
    room_.wait(lock, [&] { return queue_.size() < queue_limit_; });
    if (idle_ <= queue_.size() && threads_.size() < static_cast<std::size_t>(most_)) {
      try {
        threads_.emplace_back([this] { work(); });
      } catch (const std::system_error&) {
        if (threads_.empty()) return lock.unlock(), job();
      }
    }
    queue_.push_back(std::move(job));
    work_.notify_one();
  }

  /// Waits for all jobs.
  void finish() {
    {
      std::lock_guard lock(mutex_);
      ended_ = true;
    }
    work_.notify_all();
    for (auto& thread : threads_) thread.join();
    threads_.clear();
    ended_ = false;
  }

 private:
  void work() {
    std::unique_lock lock(mutex_);
    for (;;) {
      ++idle_;
      work_.wait(lock, [&] { return !queue_.empty() || ended_; });
      --idle_;
      if (queue_.empty()) return;
      Job job = std::move(queue_.front());
      queue_.pop_front();
      room_.notify_one();
      lock.unlock();
      job();
      job = nullptr;
      lock.lock();
    }
  }

  const int most_;
  const std::size_t queue_limit_;
  std::mutex mutex_;
  std::condition_variable work_, room_;
  std::deque<Job> queue_;
  std::vector<std::thread> threads_;
  std::size_t idle_ = 0;
  bool ended_ = false;
};

}  // namespace spell::spellfs
