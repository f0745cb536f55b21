// Waiting for a descriptor, no longer than a call may last and no longer than its stop token
// allows.
#pragma once
#include <poll.h>

#include <chrono>
#include <functional>
#include <optional>
#include <stop_token>

#include "base/fd.hpp"
#include "spell/options.hpp"

namespace spell::net {

class Wait {
 public:
  explicit Wait(const CallOptions&);
  Wait(const Wait&) = delete;
  Wait& operator=(const Wait&) = delete;
  /// Until one of the events (or an error of the descriptor, which the next call on it will tell).
  /// Errors: `timeout`, `canceled`.
  Result<> until(int fd, short events, short* ready = nullptr);
  Result<> pause(std::chrono::milliseconds);

 private:
  Result<> poll(pollfd*, std::chrono::steady_clock::time_point until, bool& passed);

  using Clock = std::chrono::steady_clock;
  Clock::time_point deadline_ = Clock::time_point::max();
  std::stop_token stop_;
  base::Fd wake_, waker_;  ///< a pipe, made when the first wait needs it
  std::optional<std::stop_callback<std::function<void()>>>
      on_stop_;  ///< after the pipe: gone before it
};

}  // namespace spell::net
