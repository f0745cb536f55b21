// The service's end of the workers' connections: the waiting polls, and a view of machines and
// assignments for other threads. Thread-safe. refresh() and commands are called on the reactor's
// thread.
#pragma once
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "model/worker_protocol.hpp"
#include "net/server.hpp"
#include "sched/place.hpp"
#include "service/state.hpp"
#include "service/timer.hpp"

namespace spell::service {

/// Who carries out a run.
struct Assignment {
  std::string machine, owner;
  std::int64_t epoch = 0;
};

struct MachineView {
  sched::Machine machine;
  model::WorkerHello hello;
};

class MachineLink {
 public:
  MachineLink(Timer& timer, std::string incarnation)
      : timer_(timer), incarnation_(std::move(incarnation)) {}

  /// Answers at once when there are commands, else when there are some or after `wait_ms`. A newer
  /// poll of the machine lets the older one return.
  void poll(const std::string& machine, std::int64_t wait_ms, model::SyncAnswer answer,
            net::Reply reply, const State&);
  /// After a commit: takes over what changed, answers polls that have commands now.
  void refresh(const std::vector<std::string>& changed, const State&);

  /// Calls `then` when the machines are connected; at once if they are, at the latest half a second
  /// after the start: whoever has just started the service does not see his own computer as away.
  void when_settled(std::function<void()> then);

  std::optional<Assignment> assignment(const std::string& run) const;
  std::vector<MachineView> machines() const;
  const std::string& incarnation() const { return incarnation_; }

 private:
  struct Poll {
    std::uint64_t id = 0, timer = 0;
    model::SyncAnswer answer;
    std::optional<net::Reply> reply;
  };
  void finish(Poll);
  bool settled() const;  ///< under the mutex
  std::optional<Poll> take(const std::string& machine, std::uint64_t id);

  Timer& timer_;
  std::string incarnation_;
  mutable std::mutex mutex_;
  std::uint64_t last_poll_ = 0;
  std::map<std::string, Poll> polls_;
  std::unordered_map<std::string, Assignment> assignments_;
  std::vector<MachineView> machines_;
  const Timer::Clock::time_point settle_by_ = Timer::Clock::now() + std::chrono::milliseconds(500);
  std::vector<std::function<void()>> settling_;
};

}  // namespace spell::service
