// All changes of state, one after the other, on one thread; those that wait together share one
// transaction (group commit). An answer is given after the commit: what has been answered is
// durable. A transaction that fails changes nothing, neither in the store nor in memory, and all of
// its commands are answered with the error.
#pragma once
#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "service/state.hpp"

namespace spell::service {

class Reactor {
 public:
  /// Called after the commit, with its outcome; on the reactor's thread.
  using Answer = std::function<void(const Result<>& committed)>;
  /// Changes the state; must not block. `now_us`: time of day.
  using Command = std::function<Answer(State&, std::int64_t now_us)>;
  struct Observer {
    virtual ~Observer() = default;
    /// Before each transaction.
    virtual void starting(State&) {}
    /// After each commit, before its answers: runs that changed.
    virtual void committed(const std::vector<std::string>& changed, State&) = 0;
    /// A transaction changed nothing because of this, or something beside it did not work.
    virtual void failed(const Error&) = 0;
  };

  Reactor(State& state, Observer& observer, std::function<std::int64_t()> clock_us);
  ~Reactor() { stop(); }
  void post(Command);
  /// Carries out what is posted already, then ends the thread. Later commands are dropped.
  void stop();

 private:
  void loop();
  State& state_;
  Observer& observer_;
  std::function<std::int64_t()> clock_us_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Command> queue_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace spell::service
