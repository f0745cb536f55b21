// A few threads for work that blocks; they come with the work and go when there has been none for a
// while.
#pragma once
#include <condition_variable>
#include <deque>
#include <functional>
#include <list>
#include <mutex>
#include <thread>
#include <vector>

namespace spell::base {

class Pool {
 public:
  explicit Pool(int threads) : limit_(threads) {}
  ~Pool() { stop(); }
  /// Dropped once stop() was called. Any thread.
  void post(std::function<void()> job);
  /// Drops what has not begun, waits for what has; the threads are gone then.
  void stop();
  /// Nothing waits and nothing is being done.
  bool idle() const;

 private:
  using Threads = std::list<std::thread>;
  void work(Threads::iterator self);

  const int limit_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> jobs_;
  Threads threads_;
  std::vector<std::thread> ended_;  // by themselves: to be joined
  int waiting_ = 0;
  bool stopping_ = false;
};

}  // namespace spell::base
