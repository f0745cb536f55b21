// Two-way streams between users and workers: the user's end waits until the worker has dialled,
// then the two are joined. What one sends the other gets, one message at a time each way, so that
// nothing gathers here; either end's end is the other's. Thread-safe; no threads of its own.
#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "net/server.hpp"
#include "service/timer.hpp"
#include "spell/result.hpp"

namespace spell::service {

class Streams {
 public:
  static constexpr int limit = 1000;
  static constexpr std::chrono::seconds patience{15};  ///< for the worker to dial

  explicit Streams(Timer& timer) : timer_(timer) {}

  /// `refuse` answers the user's request when nothing comes of it. Returns the stream's id. Error
  /// `too_many_streams`.
  /// `machine` is the id of the run's machine, `name` what people call it.
  Result<std::string> wait(const std::string& run, const std::string& machine,
                           const std::string& name, net::Reply user,
                           std::function<void(const Error&)> refuse);
  /// A worker has dialled. False: nobody waits for this stream of this machine (its id).
  bool join(const std::string& id, const std::string& machine, const net::Reply& worker);
  /// Nothing will come of it.
  void fail(const std::string& id, const Error&);
  /// The run has ended: who waits for something inside it waits no more.
  void run_ended(const std::string& run);
  /// Waiting and open ones.
  int size() const { return *count_; }

 private:
  struct Waiting {
    std::string run, machine;
    net::Reply user;
    std::function<void(const Error&)> refuse;
    std::uint64_t timer = 0;
    std::shared_ptr<void> counted;
  };
  std::shared_ptr<Waiting> take(const std::string& id);

  Timer& timer_;
  const std::shared_ptr<std::atomic<int>> count_ = std::make_shared<std::atomic<int>>(0);
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<Waiting>> waiting_;
};

}  // namespace spell::service
