// Waiting for what another thread does, as long as a call allows.
#pragma once
#include <condition_variable>
#include <mutex>

#include "base/error.hpp"
#include "spell/options.hpp"

namespace spell::detail {

/// Until `done`, which is asked under the lock. Errors `timeout`, `canceled`.
template <class Done>
Result<> wait_until(std::unique_lock<std::mutex>& lock, std::condition_variable_any& changed,
                    const CallOptions& options, Done done) {
  bool met = options.timeout ? changed.wait_for(lock, options.stop, *options.timeout, done)
                             : changed.wait(lock, options.stop, done);
  if (met) return ok();
  if (options.stop.stop_requested()) return base::error("canceled", "the call was canceled");
  return base::error("timeout", "the time that the call allowed is over");
}

}  // namespace spell::detail
