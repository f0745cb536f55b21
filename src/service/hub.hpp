// Who waits for news of what (a run, an owner's ends, a layer).
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

namespace spell::service {

class Hub {
 public:
  using Callback = std::function<void()>;

  /// Hears of everything about one key from start() to stop(). To miss nothing: start() first, look
  /// at the state then. Every function may be called from every thread, and from the callback.
  class Listener {
   public:
    Listener(Hub& hub, std::string key);
    ~Listener() { stop(); }
    Listener(const Listener&) = delete;
    Listener& operator=(const Listener&) = delete;
    /// `callback` is called at each notify of the key, on the notifying thread, by several at once.
    /// Once more does nothing.
    void start(Callback callback);
    /// After the return the callback is not called any more, unless it is being called now.
    void stop();

   private:
    Hub& hub_;
    const std::string key_;
    const std::uint64_t ticket_;
  };

  void notify(const std::string& key);
  /// Number of listeners, of all keys.
  std::size_t size() const;

 private:
  mutable std::mutex mutex_;
  std::uint64_t last_ = 0;
  std::unordered_map<std::string, std::map<std::uint64_t, std::shared_ptr<Callback>>> listening_;
};

}  // namespace spell::service
