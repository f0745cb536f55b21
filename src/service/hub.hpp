// Who waits for news of which run. One-shot: a callback is called once, at the next notify of its
// run, from the notifying thread. To miss nothing: wait() first, look at the state then.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <unordered_map>

namespace spell::service {

class Hub {
 public:
  using Callback = std::function<void()>;
  std::uint64_t wait(const std::string& run, Callback callback);
  /// After the return the callback is not called any more, unless it is being called now.
  void forget(const std::string& run, std::uint64_t ticket);
  void notify(const std::string& run);
  /// Number of waiters, of all runs.
  std::size_t size() const;

 private:
  mutable std::mutex mutex_;
  std::uint64_t last_ = 0;
  std::unordered_map<std::string, std::map<std::uint64_t, Callback>> waiting_;
};

}  // namespace spell::service
