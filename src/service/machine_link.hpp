// The service's end of the workers' connections: the waiting polls, the leases, and a view of
// machines and assignments for other threads. Thread-safe. refresh() and poll() are called on the
// reactor's thread.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "model/worker_protocol.hpp"
#include "net/server.hpp"
#include "sched/cluster.hpp"
#include "sched/leases.hpp"
#include "service/state.hpp"
#include "service/timer.hpp"

namespace spell::service {

/// Who carries out a run.
struct Assignment {
  std::string machine, owner;  ///< machine: its id
  std::int64_t epoch = 0;
  std::int64_t log_limit = 0;  ///< bytes of output that it may bring
  /// What it said last of what is not safe yet, and when (of the boot clock).
  std::optional<RunBacklog> backlog{};
  std::int64_t backlog_us = 0;
};

struct MachineView {
  sched::Machine machine;
  model::WorkerHello hello;
  store::MachineRecord record;
  std::vector<std::int64_t> runs;  ///< numbers of those that are there
  std::int64_t lost_after = 0;     ///< seconds
};

class MachineLink {
 public:
  /// What is to be told to the state: connections that closed, leases that ended. Any thread.
  struct Watcher {
    virtual ~Watcher() = default;
    virtual void machine_away(const std::string& id, std::int64_t session) = 0;
    /// expire() is due.
    virtual void leases_due() = 0;
  };

  MachineLink(Timer& timer, std::string incarnation, Watcher& watcher)
      : timer_(timer), incarnation_(std::move(incarnation)), watcher_(watcher) {}

  /// Answers at once when there are commands, else when there are some or after `wait_ms`. A newer
  /// poll of the machine lets the older one return.
  void poll(const std::string& id, std::int64_t wait_ms, model::SyncAnswer answer, net::Reply reply,
            const State&);
  /// After a commit: takes over what changed, answers polls that have commands now.
  void refresh(const std::vector<std::string>& changed, State&);

  /// A worker of this machine has spoken: its lease begins anew. Returns what it is told of it.
  /// `worker`: which of those that have the machine's credential it is; "": it does not say. Error
  /// `machine_taken`: another one is connected. That is asked for a sign of life, and who comes
  /// again when none has come for a while takes its place.
  struct Lease {
    std::int64_t lease_ms = 0, lost_after = 0;
  };
  Result<Lease> renew(const std::string& id, const std::string& worker);
  /// Lets the poll that waits return: its worker has lost its credential.
  void end_poll(const std::string& id);
  /// Machines whose leases have ended, by id.
  sched::Leases::Due expire();

  /// Calls `then` when the machines are connected; at once if they are, at the latest half a second
  /// after the start: whoever has just started the service does not see his own computer as away.
  void when_settled(std::function<void()> then);

  std::optional<Assignment> assignment(const std::string& run) const;
  /// What this machine says of a run of its own; kept in memory alone.
  void take_backlog(const std::string& machine, const model::RunReport&);
  /// As it is now; none: nothing was said of it.
  std::optional<RunBacklog> backlog(const std::string& run) const;
  /// How many machines with workers of their own are connected.
  std::size_t others() const;
  /// All of them, copied.
  std::vector<MachineView> machines() const;
  std::optional<MachineView> machine(const std::string& name) const;
  std::string why_waiting(const sched::Waiting&) const;
  /// Of a machine type; none: it has no pool.
  std::optional<sched::Pool> pool(const std::string& owner, const std::string& type) const;
  const std::string& incarnation() const { return incarnation_; }

 private:
  struct Poll {
    std::uint64_t id = 0, timer = 0;
    model::SyncAnswer answer;
    std::optional<net::Reply> reply;
  };
  struct Speaker {
    std::string worker;
    std::int64_t doubted_us = 0;  ///< since when another waits for its sign of life
  };
  void finish(Poll);
  /// Under the mutex: whether it speaks for the machine from here on.
  bool speaks(const MachineView&, Speaker&, const std::string& worker, std::int64_t now_us);
  bool settled() const;  ///< under the mutex
  std::optional<Poll> take(const std::string& machine, std::uint64_t id);
  void watch_leases();                     ///< under the mutex
  void count(const MachineView&, int by);  ///< under the mutex
  static Lease lease_of(std::int64_t lost_after);

  Timer& timer_;
  std::string incarnation_;
  Watcher& watcher_;
  mutable std::mutex mutex_;
  std::uint64_t last_poll_ = 0;
  std::map<std::string, Poll> polls_;                  // by machine id
  std::unordered_map<std::string, Speaker> speakers_;  // by machine id
  std::unordered_map<std::string, Assignment> assignments_;
  std::map<std::string, MachineView> machines_;         // by name
  std::unordered_map<std::string, std::string> names_;  // by id
  sched::Cluster cluster_;
  std::size_t disconnected_ = 0, others_ = 0;
  sched::Leases leases_;
  std::optional<std::int64_t> looks_at_;  // when leases_due() will be called, at the latest
  const Timer::Clock::time_point settle_by_ = Timer::Clock::now() + std::chrono::milliseconds(500);
  std::vector<std::function<void()>> settling_;
};

}  // namespace spell::service
