#include "net/wait.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <climits>

#include "base/error.hpp"

namespace spell::net {

Wait::Wait(const CallOptions& options) : stop_(options.stop) {
  if (options.timeout && *options.timeout < std::chrono::hours(24 * 365))
    deadline_ = Clock::now() + *options.timeout;
}

Result<> Wait::until(int fd, short events, short* ready) {
  pollfd entry{fd, events, 0};
  bool passed = false;
  SPELL_TRY(poll(&entry, deadline_, passed));
  if (passed) return base::error("timeout", "the service did not answer in time");
  if (ready) *ready = entry.revents;
  return ok();
}

Result<> Wait::pause(std::chrono::milliseconds time) {
  auto end = Clock::now() + time;
  bool passed = false;
  SPELL_TRY(poll(nullptr, std::min(end, deadline_), passed));
  if (end > deadline_) return base::error("timeout", "the service did not answer in time");
  return ok();
}

Result<> Wait::poll(pollfd* entry, Clock::time_point until, bool& passed) {
  if (stop_.stop_possible() && !on_stop_) {
    int ends[2];
    if (::pipe(ends) != 0) return base::errno_error("make a pipe");
    wake_ = base::Fd(ends[0]);
    waker_ = base::Fd(ends[1]);
    for (int end : ends) ::fcntl(end, F_SETFD, FD_CLOEXEC);
    on_stop_.emplace(stop_, [fd = waker_.get()] { (void)!::write(fd, "", 1); });
  }
  for (;;) {
    pollfd entries[2];
    nfds_t count = 0;
    if (wake_) entries[count++] = {wake_.get(), POLLIN, 0};
    if (entry) entries[count++] = *entry;
    int ms = -1;
    if (until != Clock::time_point::max()) {
      // Rounded up: a poll must not end before its time and spin.
      auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now()).count();
      ms = static_cast<int>(std::clamp<std::int64_t>(left, 0, INT_MAX));
    }
    int n = ::poll(entries, count, ms);
    if (n < 0 && errno != EINTR) return base::errno_error("wait for the service");
    if (n > 0 && wake_ && entries[0].revents != 0)
      return base::error("canceled", "the call was canceled");
    if (n > 0) {
      entry->revents = entries[count - 1].revents;
      return ok();
    }
    if (n == 0 && Clock::now() >= until) {
      passed = true;
      return ok();
    }
  }
}

}  // namespace spell::net
