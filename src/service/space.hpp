// Room on the service's disk. A file is kept in reserve; when the disk is full it is given up, so
// that statuses can still be written and things be removed, while new work is refused. When there
// is room again it is made anew, and all goes on. Thread-safe; nothing blocks for long.
#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>

#include "service/timer.hpp"
#include "spell/result.hpp"

namespace spell::service {

class Space {
 public:
  /// Must outlive the timer's thread. `folder`: on the disk in question. `changed`: called after
  /// the disk became full, or had room again, from the thread that found out. Looks at once.
  /// `keep_free`: percent of the disk that new runs leave free. `squeeze`: told when the disk
  /// becomes full, and with each later look at it, to make room; must not block.
  Space(std::string folder, Timer& timer, std::function<void(bool full)> changed, int keep_free = 0,
        std::function<void()> squeeze = {});

  /// Looks how much room there is: to be called before something is written. Costs one system call.
  void look();
  /// A write has failed. For `disk_full` the reserve is given up, also where the disk claims to
  /// have room (a quota).
  void failed(const Error&);
  bool full() const { return full_; }
  /// Error `disk_full` while there is no room for new work.
  Result<> check() const;
  /// Error `disk_low` while less than `keep_free` is free: no new runs then.
  Result<> check_runs() const;

 private:
  void become_full();
  void make_room_again();
  bool make_reserve();
  void look_later();

  std::string path_;
  Timer& timer_;
  std::function<void(bool)> changed_;
  std::function<void()> squeeze_;
  std::int64_t reserve_ = 0;  ///< size of the file
  std::int64_t least_ = 0;    ///< with less than this the disk is full
  int keep_free_ = 0;
  std::mutex mutex_;
  std::atomic<bool> full_ = false;
  std::chrono::milliseconds delay_{0};
};

}  // namespace spell::service
