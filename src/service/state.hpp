// The state of the service: runs that have not ended, machines, and what changes them. Every change
// goes through here, on the reactor's thread, inside its transaction: command or event + now -> new
// state. No sockets, no threads, no clock: time is a parameter.
//
//   submit -> machine_requested -> (schedule) placed on a machine -> the worker's events: building
//   … pushing -> its result: final stop/kill: of a waiting run the end; of a placed one `wanted`,
//   told to its worker until its result comes.
//
// Effects are not stored. What a worker should do is a function of the state (commands()), computed
// anew when it says hello.
#pragma once
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "model/worker_protocol.hpp"
#include "sched/place.hpp"
#include "spell/result.hpp"
#include "store/store.hpp"

namespace spell::service {

using store::RunRecord;
using RunPointer = std::shared_ptr<RunRecord>;

struct Submission {
  std::string owner, creator, key, body_hash;
  model::RunRequest request;
  std::vector<model::ResolvedMount> mounts;  ///< in the order of request.mounts
};

struct Submitted {
  RunRecord run;
  bool existed = false;
};

/// The runs that must have ended well before this one can start.
std::vector<std::int64_t> waits_for(const RunRecord&);

struct MachineState {
  sched::Machine view;
  model::WorkerHello hello;
  std::set<std::string> assigned;       ///< ids of runs placed here
  std::deque<model::Command> commands;  ///< not yet acknowledged
  std::int64_t last_command = 0;
  std::int64_t durable_command = 0;  ///< those up to here follow from what is in the store
};

struct StateOptions {
  std::string code_folder;  ///< <code_folder>/<owner>/<workspace>.git
  /// Numbers of commands begin here and only grow, also from one process to the next: the start's
  /// time will do.
  std::int64_t first_command = 0;
  std::function<std::int64_t(const std::string& run)> log_size{};  ///< output bytes stored of a run
};

class State {
 public:
  State(store::Writer& writer, StateOptions options)
      : writer_(writer), options_(std::move(options)) {}
  /// Reads the runs that have not ended. Also after a failed transaction: what memory holds beyond
  /// the store is dropped.
  Result<> load();

  // Commands of users.
  Result<Submitted> submit(const Submission&, std::int64_t now_us);
  /// `how`: "stop" or "kill".
  Result<RunRecord> end(const std::string& owner, std::int64_t number, const std::string& how,
                        std::int64_t now_us);
  Result<RunRecord> archive(const std::string& owner, std::int64_t number, bool archived);
  Result<RunRecord> label(const std::string& owner, std::int64_t number,
                          const std::vector<std::string>& add,
                          const std::vector<std::string>& remove);
  Result<RunRecord> set_project(const std::string& owner, std::int64_t number,
                                const std::string& project);
  Result<RunRecord> find_run(const std::string& owner, std::int64_t number);
  Result<> rename_project(const std::string& owner, const std::string& from, const std::string& to);
  /// Returns the deleted run, so that its files can go.
  Result<RunRecord> remove(const std::string& owner, std::int64_t number);

  // Machines.
  /// `ahead`: runs that it may be given beyond its places, to begin as soon as one is free there.
  void add_machine(const std::string& name, std::vector<std::string> serves, int places,
                   int ahead = 0);
  /// A worker has connected: brings its commands in line with what should be.
  Result<> hello(const std::string& machine, const model::WorkerHello&,
                 const std::map<std::string, std::int64_t>& holds, std::int64_t now_us);
  void disconnected(const std::string& machine);
  /// What a worker says of a run. The text of an error is why it is refused for good
  /// (`run_not_found`, `stale_epoch`).
  Result<> report(const std::string& machine, const model::RunReport&, std::int64_t now_us);
  void acknowledge(const std::string& machine, std::int64_t seen);

  /// Gives places to waiting runs; to be called at the end of each transaction, before flush().
  Result<> schedule(std::int64_t now_us);
  /// Writes what has changed into the transaction.
  Result<> flush();
  /// The transaction is in the store, so what follows from it may be done. Without this call load()
  /// drops it.
  void committed();
  /// Every run that has not ended is named by the next take_changed(): what others derive from the
  /// state is made anew.
  void announce_all();
  /// Ids of runs that changed since the last call.
  std::vector<std::string> take_changed();

  /// To be called where a row of a user, of a token or a machine's key was changed: who may do what
  /// is taken over anew after the commit.
  void people_changed() { people_changed_ = true; }
  bool take_people_changed() { return std::exchange(people_changed_, false); }

  const std::map<std::string, MachineState>& machines() const { return machines_; }
  /// A run that has not ended; null for any other.
  const RunRecord* active_run(const std::string& id) const {
    auto found = runs_.find(id);
    return found == runs_.end() ? nullptr : found->second.get();
  }
  /// Whether a run that has not ended comes after this one.
  bool is_awaited(const std::string& owner, std::int64_t number) const;
  std::size_t active() const { return runs_.size(); }
  store::Writer& writer() { return writer_; }

 private:
  struct Order {
    std::int64_t created_us, number;
    std::string owner;
    auto operator<=>(const Order&) const = default;
  };
  static Order order_of(const RunRecord& run) { return {run.created_us, run.number, run.owner}; }

  Result<RunPointer> find(const std::string& owner, std::int64_t number);
  void touch(const RunPointer&);
  void note(const RunPointer&, std::int64_t time_us, const std::string& text, bool step,
            bool important = false, std::int64_t log_offset = -1);
  void finish(const RunPointer&, const std::string& status, std::int64_t now_us,
              std::int64_t log_offset);
  void enqueue(const RunPointer&);
  void leave_queue(const RunPointer&);
  void order(MachineState&, model::Command);
  model::Command start_command(const RunRecord&) const;
  Result<bool> dependencies_met(const RunPointer&, std::int64_t now_us);
  Result<bool> resolve_mounts(const RunPointer&, std::int64_t now_us);
  Result<> check_machine_type(const std::string& type, const std::string& as_asked) const;
  std::int64_t log_size(const RunRecord&) const;
  std::string key_difference(const RunRecord& existing, const model::RunRequest& request) const;

  store::Writer& writer_;
  StateOptions options_;
  std::unordered_map<std::string, RunPointer>
      runs_;  // by id: those that have not ended, and those just changed
  std::map<std::pair<std::string, std::int64_t>, RunPointer> numbers_;
  std::map<std::string, std::map<Order, RunPointer>> queues_;  // by machine type
  std::map<std::string, std::set<std::string>> dependents_;    // run id -> runs that wait for it
  std::map<std::string, MachineState> machines_;
  std::map<std::string, std::int64_t> last_numbers_;
  std::set<std::string> new_numbers_;
  std::unordered_map<std::string, RunPointer> dirty_;
  std::set<std::string> inserted_, changed_;
  std::vector<std::pair<std::string, store::Event>> events_;
  bool people_changed_ = false;
};

}  // namespace spell::service
