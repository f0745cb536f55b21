// Calls back at a time. One thread, which sleeps until the next deadline and not at all without
// one.
#pragma once
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <thread>

namespace spell::service {

class Timer {
 public:
  using Clock = std::chrono::steady_clock;
  Timer();
  ~Timer();
  /// `callback` must not block; it runs on the timer's thread.
  std::uint64_t after(std::chrono::milliseconds delay, std::function<void()> callback);
  void cancel(std::uint64_t ticket);
  /// Ends the thread; nothing is called any more.
  void stop();

 private:
  void loop();
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::pair<Clock::time_point, std::uint64_t>, std::function<void()>> pending_;
  std::map<std::uint64_t, Clock::time_point> deadlines_;
  std::uint64_t last_ = 0;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace spell::service
