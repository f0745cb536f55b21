// The state of the service: runs that have not ended, machines, and what changes them. Every change
// goes through here, on the reactor's thread, inside its transaction: command or event + now -> new
// state. No sockets, no threads, no clock: time is a parameter.
//
//   submit -> machine_requested -> (schedule) placed on a machine -> the worker's events: building
//   … pushing -> its result: final stop/kill: of a waiting run the end; of a placed one `wanted`,
//   told to its worker until its result comes.
//
// A machine that is lost ends its runs `interrupted`; what it brings of them later, log and result,
// still becomes theirs. One that is to be resumed goes on, in the same transaction, as another run
// with its files (state_chains.cpp): both are of one chain.
//
// Of runs that wait for a machine alone memory holds, beyond the first thousands, no more than
// their turn: the rest of them is read when it comes.
//
// Effects are not stored. What a worker should do is a function of the state (commands()), computed
// anew when it says hello; so is what a pool should do (pool_tasks()).
#pragma once
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

#include "model/cost.hpp"
#include "model/worker_protocol.hpp"
#include "sched/caps.hpp"
#include "sched/cluster.hpp"
#include "sched/queue.hpp"
#include "service/ends.hpp"
#include "service/prices.hpp"
#include "service/quota.hpp"
#include "spell/result.hpp"
#include "store/store.hpp"

namespace spell::service {

using store::RunRecord;
using RunPointer = std::shared_ptr<RunRecord>;

struct Submission {
  std::string owner, creator, key, body_hash;
  model::RunRequest request;
  std::vector<model::ResolvedMount> mounts{};  ///< in the order of request.mounts
  bool manages = false;  ///< the run is to have the credentials of its workflow
  /// Of one that is run again: what its image was, where a resource holds that.
  std::optional<model::ResolvedMount> image{};
};

struct NewWorkflow {
  std::string owner, creator, key, body_hash, description;
  std::map<std::string, model::CodeRef> commits;  ///< by label
  std::int64_t within = 0;  ///< no new one: `run` becomes another managing run of this one
  /// The managing run; its code may be one of those, by its label.
  std::optional<Submission> run;
  /// What the last mounts of `run` are; their names are completed here.
  std::vector<store::UploadRecord> uploads;
};

struct MadeWorkflow {
  store::WorkflowRecord workflow;
  std::optional<RunRecord> run;
  bool existed = false;
};

struct Submitted {
  RunRecord run;
  bool existed = false;
};

Error no_such_secret(const std::string& user, const std::string& name);
Error no_such_machine(const std::string& name);
Error no_such_machine_type(const std::string& name);

/// As the store keeps the key of a submission: in a workflow a key is the run's name there.
std::string stored_key(const Submission&);

Error no_such_workflow(const std::string& owner, std::int64_t number);
/// Puts the commit in the place of its label. Error `unknown_commit_label`.
Result<> to_commit_of_label(const store::WorkflowRecord&, model::RunRequest&);

/// The runs that must have ended well before this one can start.
std::vector<std::int64_t> waits_for(const RunRecord&);
/// Whether it has ended, but its machine may still bring how.
bool is_late(const RunRecord&);
/// What it has cost, in billionths of a dollar, as those after it in its chain remember it.
std::int64_t cost_in_chain(const RunRecord&);
/// As the scheduler sees a run.
sched::Waiting waiting_of(const RunRecord&);

struct MachineState {
  store::MachineRecord record;  ///< of an embedded worker's machine: name and id, and not stored
  bool embedded = false;
  bool connected = false;
  std::int64_t away_us = 0;  ///< since when it is not; 0: not known
  /// When it was away, from and to, the last times.
  std::vector<std::pair<std::int64_t, std::int64_t>> gaps;
  std::int64_t session = 0;  ///< grows with each hello
  model::WorkerHello hello;
  std::map<std::string, Amounts> assigned;  ///< what each run here takes, by its id
  std::set<std::string> late;               ///< those of them that count as lost but are here
  std::set<std::string> returned;           ///< those that were at the last hello
  std::deque<model::Command> commands;      ///< not yet acknowledged
  std::int64_t last_command = 0;
  std::int64_t durable_command = 0;  ///< those up to here follow from what is in the store
  /// Of a pool's machine that is to be launched: whether this process has to do it, or an earlier
  /// one has begun, or it is known to be there.
  enum class Launch { wanted, unknown, done } launch = Launch::unknown;
  std::int64_t launched_us = 0;  ///< when it was done; 0: unknown
  std::int64_t idle_us = 0;      ///< of a pool's machine: since when nothing runs there; 0: it does
  std::int64_t lost_us = 0;      ///< since when it counts as lost; 0: it does not
  /// Of a pool's machine, from its launch on: what an hour of it costs (billionths of a dollar),
  /// and since when no run has been there; 0: one is.
  struct Unused {
    std::int64_t price = 0, began_us = 0, from_us = 0;
  };
  std::optional<Unused> unused{};  ///< none: its price is not known, or its type has no cap
};

/// What a pool's program is to do now.
struct PoolTask {
  enum class Kind { launch, terminate } kind = Kind::launch;
  std::string owner, type, id, name;  ///< id and name of the machine
};

/// Whose run a lost machine may still bring the end of.
struct LateRun {
  std::string machine, owner;  ///< machine: its name
  std::int64_t epoch = 0;
};

struct StateOptions {
  std::string code_folder;  ///< <code_folder>/<owner>/<workspace>.git
  /// Numbers of commands begin here and only grow, also from one process to the next: the start's
  /// time will do.
  std::int64_t first_command = 0;
  std::function<std::int64_t(const std::string& run)> log_size{};  ///< output bytes stored of a run
  /// The values that a run's start command carries: variable -> value.
  std::function<std::map<std::string, std::string>(const RunRecord&)> secrets{};
  std::int64_t managing = 50;  ///< managing runs of workflows that a machine carries
  /// So many runs that have not ended are kept in memory in any case.
  std::size_t awake = 2000;
};

/// The store's note of when a service was there last, while runs cost something.
inline constexpr const char* costs_alive_note = "costs_alive_us";

/// A budget, and what it is used for in its period, as of now.
struct BudgetUse {
  store::BudgetRecord record;
  model::Units spent = 0;     ///< that of runs that go on included
  model::Units reserved = 0;  ///< for what those may cost yet
};

/// What a request changes of a machine.
struct MachineChange {
  std::optional<std::string> name;
  std::optional<bool> drained;
};

class State {
 public:
  State(store::Writer& writer, StateOptions options)
      : writer_(writer), options_(std::move(options)) {}
  /// Reads the runs that have not ended. Also after a failed transaction: what memory holds beyond
  /// the store is dropped.
  Result<> load();

  /// Takes over the quotas of the store, also within a transaction that changed them.
  Result<> load_quotas();

  // Commands of users.
  Result<Submitted> submit(const Submission&, std::int64_t now_us);
  /// `how`: "stop" or "kill".
  Result<RunRecord> end(const std::string& owner, std::int64_t number, const std::string& how,
                        std::int64_t now_us);
  Result<RunRecord> archive(const std::string& owner, std::int64_t number, bool archived);
  Result<RunRecord> label(const std::string& owner, std::int64_t number,
                          const std::vector<std::string>& add,
                          const std::vector<std::string>& remove);
  /// Error `budget_exhausted`: what it has cost is more than that project may spend.
  Result<RunRecord> set_project(const std::string& owner, std::int64_t number,
                                const std::string& project, std::int64_t now_us);
  Result<RunRecord> find_run(const std::string& owner, std::int64_t number);
  Result<> rename_project(const std::string& owner, const std::string& from, const std::string& to);
  /// Returns the deleted run, so that its files can go.
  Result<RunRecord> remove(const std::string& owner, std::int64_t number);

  // Budgets.
  /// In place of the one that there is. Error `budget_too_low`: more is spent or reserved.
  Result<BudgetUse> put_budget(store::BudgetRecord, std::int64_t now_us);
  /// Error `budget_not_found`.
  Result<> remove_budget(const std::string& owner, const std::string& kind,
                         const std::string& name);
  /// By kind and name.
  std::vector<BudgetUse> budgets(const std::string& owner, std::int64_t now_us) const;
  /// When something is due of what is reserved, or of what is billed; 0: nothing is.
  std::int64_t next_allowance_us() const {
    if (alive_due_us_ == 0 || allowance_due_us_ == 0) return alive_due_us_ + allowance_due_us_;
    return std::min(alive_due_us_, allowance_due_us_);
  }

  // What the machines of a pool may cost in a month without a run.
  bool has_max_unused(const std::string& owner, const std::string& type) const;
  /// Whether there may be a cap, and this one if there is to be another, of a type as it is to be.
  /// Errors `price_not_known`, `budget_too_low`.
  Result<> check_max_unused(const store::MachineTypeRecord&, const std::optional<Dollars>&) const;
  /// In place of the one that there is; none: there is no cap.
  Result<> set_max_unused(const std::string& owner, const std::string& type,
                          const std::optional<Dollars>&, std::int64_t now_us);
  /// By type.
  Result<std::map<std::string, BudgetUse>> unused_uses(const std::string& owner,
                                                       std::int64_t now_us);

  // Workflows.
  Result<MadeWorkflow> create_workflow(const NewWorkflow&, std::int64_t now_us);
  /// Error `workflow_not_found`.
  Result<store::WorkflowRecord> find_workflow(const std::string& owner, std::int64_t number);
  /// Ends its runs, waiting ones too, and lets none be made any more. `how`: "stop" or "kill",
  /// which also makes its credentials void.
  Result<store::WorkflowRecord> end_workflow(const std::string& owner, std::int64_t number,
                                             const std::string& how, std::int64_t now_us);
  /// Of one that no run manages.
  Result<store::WorkflowRecord> finish_workflow(const std::string& owner, std::int64_t number,
                                                int exit_code, std::int64_t now_us);
  /// Error `workflow_not_final`.
  Result<store::WorkflowRecord> remove_workflow(const std::string& owner, std::int64_t number);

  // Machines. By their names where people name them, by their ids where workers do.
  /// The machine of an embedded worker. `ahead`: runs that it may be given beyond its places, to
  /// begin as soon as one is free there; `by_place`: see sched::Machine.
  /// `owner`: whose runs it takes; "": everybody's.
  void add_machine(const std::string& name, std::vector<std::string> serves, int places,
                   int ahead = 0, bool by_place = true, const std::string& owner = {});
  /// Error `name_taken`.
  Result<> create_machine(const store::MachineRecord&);
  /// Errors `machine_not_found`, `name_taken`, `not_permitted` (an embedded one).
  Result<> change_machine(const std::string& owner, const std::string& name, const MachineChange&);
  /// It will be taken away in so many µs, as `by` asks: its worker tells its runs, which end
  /// interrupted. No run is placed there any more until it is resumed; one that a pool has made
  /// goes then. Of two times the earlier counts. Errors `machine_not_found`, `not_available` (its
  /// worker is too old).
  Result<> interrupt_machine(const std::string& owner, const std::string& name, std::int64_t in_us,
                             const std::string& by, std::int64_t now_us);
  /// Its worker says so, or that what it had said is withdrawn. True: that is news.
  Result<bool> heed_notice(const std::string& machine_id, const model::MachineNotice&,
                           std::int64_t now_us);
  /// Ends its token, its runs (its worker is told to end them too) and those that wait for what no
  /// other machine has. Error `machine_in_use` where there are any, unless `with_runs`.
  Result<> remove_machine(const std::string& owner, const std::string& name, bool with_runs,
                          std::int64_t now_us);
  /// Error `name_taken`. Replaces the type of this name if there is one and `replace`.
  Result<> put_machine_type(const store::MachineTypeRecord&, bool replace);
  Result<> remove_machine_type(const std::string& owner, const std::string& name);
  /// In place of the price list that the owner has.
  Result<> put_prices(const std::string& owner, const std::vector<model::ListedPrice>&);
  const PriceLists& price_lists() const { return price_lists_; }
  /// What an hour of a machine of this type costs; `type`: as it is served, in lower case.
  TypePrice price_of(const std::string& owner, const std::string& type) const;
  /// Stores a join token in place of those for the same machine that nobody used.
  Result<> put_join_token(const store::TokenRecord&);
  /// Nothing joins any more with what this user has made for it.
  Result<> drop_join_tokens_of(const std::string& user);
  /// A machine joins with the token of this id, and is to show a token of `token_hash` from now on.
  /// Returns the machine. Errors `unauthorized`, `join_token_used`, `join_token_expired`,
  /// `name_taken`.
  Result<store::MachineRecord> join(const std::string& token, const model::JoinRequest&,
                                    const std::string& key, const std::string& token_hash,
                                    std::int64_t now_us);
  /// What a name belongs to, of an owner's machines and types, which share one name space with
  /// links and what every owner has; "": to none of them. Names of machines are the service's: none
  /// is there twice.
  std::string name_owner(const std::string& owner, const std::string& name) const;

  /// A worker has connected: brings its commands in line with what should be.
  /// `notice`: what it has said of that already.
  Result<> hello(const std::string& machine_id, const model::WorkerHello&,
                 const std::map<std::string, std::int64_t>& holds, std::int64_t now_us,
                 const std::optional<model::MachineNotice>& notice = {});
  /// It is not there any more, unless it has said hello since `session`.
  void away(const std::string& machine_id, std::int64_t session, std::int64_t now_us);
  /// It has been away for too long: its runs end, but it may still bring their results.
  void lost(const std::string& machine_id, std::int64_t now_us);
  /// A worker has heard of these run numbers, by owner: none of them is given (again). What is
  /// beyond belief, or of an owner whose runs it does not carry out, is passed over.
  Result<> heard_of_numbers(const std::string& machine_id,
                            const std::map<std::string, std::int64_t>& numbers);
  /// What a worker says of a run; the trees that it names are known to be there. The text of an
  /// error is why it is refused for good
  /// (`run_not_found`, `stale_epoch`).
  Result<> report(const std::string& machine_id, const model::RunReport&, std::int64_t now_us);
  void acknowledge(const std::string& machine_id, std::int64_t seen);
  /// Tells the machine of a run that has not ended to dial for a stream. Nothing of it is stored.
  /// Errors: `run_not_running`, `machine_away`, `not_available` (its worker knows no streams).
  Result<> open_stream(const std::string& run, const std::string& stream, const std::string& kind);

  // Pools. What follows from what their programs said.
  /// The machines that are to be launched or ended.
  std::vector<PoolTask> pool_tasks() const;
  /// The program that launches it is about to be called: it joins with this token. False: it is not
  /// wanted any more.
  Result<bool> pool_launches(const std::string& machine_id, const store::TokenRecord&);
  void pool_launched(const std::string& machine_id, std::int64_t now_us);
  /// It is ended, and the next one is launched later. `for_good`: until somebody changes something.
  Result<> pool_launch_failed(const std::string& machine_id, const std::string& why, bool for_good,
                              std::int64_t now_us);
  /// The pool has ended it.
  Result<> pool_ended(const std::string& machine_id, std::int64_t now_us);
  /// What a list showed that began then. Returns the names of those that nobody here knows.
  Result<std::vector<std::string>> pool_listed(const std::string& owner, const std::string& type,
                                               const std::set<std::string>& names,
                                               std::int64_t began_us, std::int64_t now_us);
  /// What is wrong with a pool; "": nothing any more.
  void set_pool_problem(const std::string& owner, const std::string& type,
                        const std::string& problem);
  /// When something is due of a pool without anybody's doing; 0: nothing is.
  std::int64_t next_pool_us() const { return pool_due_us_; }

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

  /// Runs that have ended, or were removed, since the last call.
  std::vector<Ends::End> take_ended() { return std::exchange(ended_, {}); }

  /// To be called where a row of a user, of a token or a machine's key was changed: who may do what
  /// is taken over anew after the commit.
  void people_changed() { people_changed_ = true; }
  bool take_people_changed() { return std::exchange(people_changed_, false); }

  /// Machines that changed since the last call, by name; those that are not there any more too.
  std::set<std::string> take_changed_machines() { return std::exchange(changed_machines_, {}); }
  /// What the workers of removed machines are to be told, by machine id; since the last call.
  std::map<std::string, std::vector<model::Command>> take_farewells() {
    return std::exchange(farewells_, {});
  }
  /// Whether machine types or what their pools do changed since the last call.
  bool take_types_changed() { return std::exchange(types_changed_, false); }
  /// Whether tokens of machines changed since the last call.
  bool take_tokens_changed() { return std::exchange(tokens_changed_, false); }
  /// Of kinds "machine", "join" and "workflow", by id.
  const std::map<std::string, store::TokenRecord>& tokens() const { return tokens_; }

  const std::map<std::string, MachineState>& machines() const { return machines_; }
  /// Null: there is none.
  const MachineState* machine_by_id(const std::string& id) const;
  using Types = std::map<std::pair<std::string, std::string>, store::MachineTypeRecord>;
  /// By owner and name.
  const Types& machine_types() const { return types_; }
  const sched::Cluster& cluster() const { return cluster_; }
  /// Seconds after which an absent machine is lost: its own, else the least of its types', else
  /// 600.
  std::int64_t lost_after(const MachineState&) const;
  /// Null: there is none.
  const LateRun* late_run(const std::string& id) const {
    auto found = late_.find(id);
    return found == late_.end() ? nullptr : &found->second;
  }
  /// A run that manages a workflow and has not ended; null for any other.
  const RunRecord* managing_run(const std::string& id) const {
    auto* record = active_run(id);
    return record && record->manages ? record : nullptr;
  }
  /// A run that has not ended; null for any other.
  const RunRecord* active_run(const std::string& id) const {
    auto found = runs_.find(id);
    return found == runs_.end() ? nullptr : found->second.get();
  }
  /// How much output a run's worker may bring: what it was told, and what it may write while it is
  /// being stopped. A run that was there before this process may have been told more than its user
  /// is granted now.
  std::int64_t log_limit_of(const std::string& run) const;
  /// Whether a run that has not ended comes after this one.
  bool is_awaited(const std::string& owner, std::int64_t number) const;
  /// When a run is due that waits for its time alone; 0: there is none.
  std::int64_t next_start_us() const { return delayed_.empty() ? 0 : delayed_.begin()->first; }
  std::size_t active() const { return runs_.size() + asleep_; }
  /// How many of those are known by their turns alone.
  std::size_t asleep() const { return asleep_; }
  store::Writer& writer() { return writer_; }

 private:
  /// Of runs that wait for anything but a machine.
  struct Order {
    bool begins;
    std::int64_t created_us, number;
    std::string owner;
    auto operator<=>(const Order&) const = default;
  };
  static Order order_of(const RunRecord& run) {
    return {run.resumed_from == 0, run.created_us, run.number, run.owner};
  }

  Result<RunPointer> find(const std::string& owner, std::int64_t number);
  void touch(const RunPointer&);
  void note(const RunPointer&, std::int64_t time_us, const std::string& text, bool step,
            bool important = false, std::int64_t log_offset = -1);
  void finish(const RunPointer&, const std::string& status, std::int64_t now_us,
              std::int64_t log_offset);
  /// Takes a new run in.
  void add(const RunPointer&);
  /// What follows for runs that wait for this one, whose chain has ended.
  void wake_dependents(const RunPointer&, std::int64_t now_us);
  Result<RunRecord> end(const RunPointer&, const std::string& how, std::int64_t now_us,
                        const std::string& reason_code = "user", const std::string& reason = {});

  // Chains.
  bool is_to_be_resumed(const RunRecord&) const;
  /// Makes the successors of those that were interrupted in this transaction.
  Result<> resume_interrupted(std::int64_t now_us);
  /// Null: it cannot go on, which is said.
  Result<RunPointer> resume(const RunPointer&, std::int64_t now_us);
  /// The run that stands for the whole chain of this one: its last, or one that has succeeded
  /// before, though late.
  Result<RunPointer> end_of_chain(const std::string& owner, std::int64_t number);
  /// Final, and not about to go on as another.
  bool has_ended(const RunPointer&) const;
  /// Of a run that has succeeded after all: those after it are not wanted any more.
  Result<> end_successors(const RunPointer&, std::int64_t now_us);
  /// What it has cost is known better than when those after it were made.
  Result<> bill_chain(const RunPointer&, std::int64_t more);
  /// Closes the gap that it leaves.
  Result<> leave_chain(const RunRecord&);
  /// Those that have waited long enough come into the queues.
  void release_delayed(std::int64_t now_us);

  /// Leaves its machine, if it is on one.
  void leave_machine(const RunPointer&);
  void take_backup(const RunPointer&, const model::RunBackup&);
  void note_backup(const RunPointer&, std::int64_t now_us);
  void take_result(const RunPointer&, const model::RunResult&, std::int64_t now_us);
  Result<> finish_late(const RunPointer&, const model::RunReport&, std::int64_t now_us);
  void take_events(const RunPointer&, const model::RunReport&, bool late, std::int64_t now_us);
  void enqueue(const RunPointer&);
  void leave_queue(const RunPointer&);
  /// Where its turn is found.
  using Number = std::pair<std::string, std::int64_t>;  ///< owner, number
  struct Queued {
    sched::Queue::Kind* kind = nullptr;
    sched::Age age{};
    std::int64_t workflow = 0;
  };
  void queue_up(const RunRecord&);
  void take_out(const Number&);
  /// What its turn depends on is another now.
  void requeue(const RunRecord&);
  Result<> requeue_all();
  bool is_asleep(const Number& number) const {
    return queued_.contains(number) && !numbers_.contains(number);
  }
  /// Whether its turn is all that memory has to know of it.
  bool may_sleep(const RunRecord&);
  /// Its own, or that of runs that wait for it, if that is higher.
  sched::Priority priority_of(const RunRecord&) const;
  /// What waits for it does so with this priority; so does what it waits for itself.
  void raise(RunPointer, sched::Priority);
  using User = std::pair<std::string, std::string>;  ///< owner, creator
  static User user_of(const RunRecord& run) { return {run.owner, run.creator}; }
  /// A run has its machine, or has left it.
  void count(const RunRecord&, int more);
  /// Whether the user has as many runs at once as he may, `more` counted in.
  bool held_by_quota(const sched::Waiting&, std::int64_t more = 0) const;
  Result<> place_waiting(std::int64_t now_us);
  Result<> look_at_queue(std::int64_t now_us);
  /// waits: for a machine; held: by a quota.
  enum class Turned { gone, waits, held };
  Result<Turned> take_turn(const sched::Queue::Look::Turn&, sched::Cluster::Round&,
                           std::int64_t now_us);
  Result<> put_on(const RunPointer&, const sched::Placement&, std::int64_t now_us);
  /// Orders the run's start, with credentials for one that manages a workflow.
  Result<> order_start(MachineState&, const RunRecord&, std::int64_t now_us);
  Result<> check_workflow(const Submission&);
  /// Whether one more run that manages it may be made within it. Error `quota_exceeded`.
  Result<> check_nesting(const store::WorkflowRecord&, const std::string& key);
  Result<MadeWorkflow> add_manager(store::WorkflowRecord, const NewWorkflow&, std::int64_t now_us);
  /// The field of its request in which a workflow differs from what is asked for; "": none.
  Result<std::string> workflow_difference(const store::WorkflowRecord& existing,
                                          const NewWorkflow& asked);
  /// What follows from the ends of managing runs.
  Result<> end_managed(std::int64_t now_us);
  Result<> add_credentials(const RunRecord&, model::StartCommand&, std::int64_t now_us);
  Result<> drop_credentials(const std::string& run);
  void order(MachineState&, model::Command);
  void order(MachineState&, const std::string& type, const RunRecord&,
             const std::string& reason_code = {}, const std::string& reason = {});
  model::Command start_command(const RunRecord&) const;
  std::int64_t granted_log(const RunRecord&) const;
  /// Those that are on no machine, and want one in this way.
  Result<std::vector<RunPointer>> waiting_runs(
      const std::function<bool(const sched::Waiting&)>& wants);
  /// Numbers of those that want this type, the oldest first.
  std::vector<std::string> waiting_for(const std::string& owner, const std::string& type) const;
  /// Whether no other machine than this one can take a run, nor any that is launched.
  bool only_there(const sched::Waiting&, const std::string& machine) const;
  Result<> load_machines();
  MachineState* find_by_id(const std::string& id);
  /// Error `name_taken`: also by a link.
  Result<> check_free(const std::string& owner, const std::string& name) const;
  /// Error `machine_not_found`.
  Result<MachineState*> find_machine(const std::string& owner, const std::string& name);
  /// Whether it is one of this owner's, or everybody's.
  static bool is_of(const MachineState&, const std::string& owner);
  /// What the scheduler sees follows from the machine's state.
  void show(MachineState&);
  Result<> save(MachineState&);
  /// Tells its worker when it goes, or that it stays.
  void order_notice(MachineState&, std::int64_t now_us);
  Result<bool> withdraw_notice(MachineState&, std::int64_t now_us);
  /// Its runs end as interrupted; those that only it could take, as failed. It is not there any
  /// more.
  Result<> erase_machine(MachineState&, const std::string& reason_code, const std::string& reason,
                         std::int64_t now_us);
  void interrupt_runs(MachineState&, const std::string& reason_code, const std::string& reason,
                      std::int64_t now_us);

  // Costs (state_costs.cpp).
  /// What an hour of its time on this machine costs, from now on.
  void set_price(RunRecord&, const MachineState&, std::int64_t now_us) const;
  /// The type whose price counts for a run that asks for this one, which may be a machine's name.
  std::string priced_type(const std::string& owner, const std::string& asked) const;
  std::optional<std::int64_t> hourly(const std::string& owner, const std::string& type) const;
  /// Error `price_not_known`, of one that may cost only so much.
  Result<> check_max_cost(const RunRecord&, const std::string& as_asked) const;
  /// What its chain may still cost beside what is reserved for this run: --max-cost.
  Result<model::Units> left_of_chain(const RunRecord&);
  /// no: it may cost nothing more, and has ended. later: what it may cost is reserved for others.
  enum class MaySpend { yes, later, no };
  Result<MaySpend> may_spend(const RunPointer&, std::int64_t now_us);
  /// Records what it has cost, in place of what was recorded of it before.
  void bill(RunRecord&, std::int64_t until_us);
  /// When it no longer had its machine: what it left was saved and sent. What a worker that had no
  /// way to the service waited for is not the run's.
  std::int64_t billed_until(const RunRecord&, bool late, std::int64_t now_us) const;
  /// Notes now and then that this service is there, while runs cost something: for the next one,
  /// which is not to bill the time when there was none.
  Result<> note_alive(std::int64_t now_us);
  void put_bill(const RunRecord&, bool taken_back);
  model::CostEntry entry_of(const RunRecord&) const;
  Result<> flush_costs();
  Result<std::int64_t> cost_number(const std::string& owner, const std::string& kind,
                                   const std::string& name);
  /// A machine that a pool is to make: it costs from now on.
  Result<> begin_machine_time(const store::MachineTypeRecord&, const store::MachineRecord&,
                              std::int64_t now_us);

  // Budgets (state_allowances.cpp, state_budgets.cpp).
  struct Budget {
    store::BudgetRecord record;
    sched::Cap cap;
  };
  /// What is reserved for a run: from when it got its machine, or of one that is lost from where
  /// its bill ends.
  struct Hold {
    std::string owner, user, project, machine;
    std::int64_t workflow = 0;
    sched::Span span;
    bool late = false;
  };
  using BudgetKey = std::tuple<std::string, std::string, std::string>;  ///< owner, kind, name
  Result<> load_budgets();
  /// What its runs have cost so far.
  Result<> load_spent(Budget&);
  std::vector<Budget*> budgets_of(const std::string& owner, const std::string& user,
                                  const std::string& project, std::int64_t workflow);
  std::vector<Budget*> budgets_of(const RunRecord&);
  std::vector<Budget*> budgets_of(const Hold&);
  /// Whether anything limits what it costs on its machine.
  bool is_capped(const RunRecord&);
  Hold hold_of(const RunRecord&) const;
  void set_hold(const std::string& run, std::optional<Hold>);
  /// What is reserved for a run that has ended is given back, or stays because it may go on.
  void settle(const RunPointer&);
  /// What its machine may still bring of it is no more to be expected.
  Result<> let_go_of(const std::string& run);
  Result<> let_go_of_lost(const std::string& machine, const std::set<std::string>& but = {});
  /// Reserves time for it until so long from now, or as much as there is. True: it has more than
  /// before.
  Result<bool> extend(const RunPointer&, std::int64_t now_us);
  /// Its worker has not begun it, and is told anew.
  Result<> lease_anew(const RunPointer&, std::int64_t now_us);
  /// Tells its worker.
  void order_allowance(const RunRecord&);
  std::int64_t allowance_of(const RunRecord&) const;
  /// Extends what is due, says what is nearly used up, and lets those in that waited for money.
  Result<> see_to_budgets(std::int64_t now_us);
  /// Reserves time for those that have begun without.
  Result<> govern(std::int64_t now_us);
  Result<> extend_all(std::int64_t now_us);
  Result<> extend_if_due(const RunPointer&, std::int64_t now_us);
  Result<> stop_if_due(const RunPointer&, std::int64_t left_ms, std::int64_t now_us);
  static bool keeps_allowances(const MachineState&);
  static bool counts(const store::BudgetRecord&, const Hold&);
  Result<> say_levels(std::int64_t now_us);
  Result<> tell_level(Budget&, int percent, std::int64_t now_us);
  void allowance_due(std::int64_t at_us);
  BudgetUse use_of(const Budget&, std::int64_t now_us) const;
  std::string what_is_left(const Budget&, std::int64_t now_us) const;
  /// Errors `budget_exhausted`, `price_not_known`.
  Result<> check_budgets(const RunRecord&, const std::string& as_asked, std::int64_t now_us);
  void wait_for_money(const RunPointer&, const std::string& why);
  /// Why it was stopped, which only the service knows.
  Result<model::RunResult> named(const RunRecord&, model::RunResult, std::int64_t now_us);
  /// As the scheduler sees it, with what its budgets need.
  sched::Waiting wants_of(const RunRecord&);

  // Pools.
  using TypeKey = std::pair<std::string, std::string>;  ///< owner, name
  /// Nothing of it is stored: a pool that fails is tried anew after a start.
  struct PoolState {
    int failures = 0;
    std::int64_t not_before_us = 0;
    std::string problem{};
  };
  // What their machines may cost without a run (state_unused.cpp).
  struct UnusedCap {
    store::BudgetRecord record;
    sched::Cap cap;      ///< spent: the times that are over, this month
    bool stale = true;   ///< it and the machines' times are to be made anew of the records
    std::string held{};  ///< why nothing is launched; "": it may be
  };
  /// Of this month, those of machines that are there included. Rates: of a millisecond.
  struct UnusedSums {
    model::Units spent = 0, reserved = 0, left = 0;
    model::Units ends = 0;        ///< of what is reserved, for the ends of those that are there
    model::Units spending = 0;    ///< how fast more is spent
    model::Units tightening = 0;  ///< how fast less is left
    std::int64_t next_us = 0;     ///< when that changes; 0: it does not by itself
  };
  Result<> count_unused(const TypeKey&, UnusedCap&, std::int64_t now_us);
  UnusedSums unused_sums(const store::MachineTypeRecord&, const UnusedCap&,
                         std::int64_t now_us) const;
  /// A run is there from now on, or none is.
  void note_use(MachineState&, bool used, std::int64_t now_us);
  void note_uses(const TypeKey&, std::int64_t now_us);
  void bill_taken_back(const RunRecord&);
  static bool is_used_up(const UnusedCap&, std::int64_t now_us);
  /// The same, as of now; then it is so until the month ends. True also where only what is reserved
  /// for launches leaves nothing for others: it is not so for good.
  Result<bool> used_up(const store::MachineTypeRecord&, UnusedCap&, std::int64_t now_us);
  /// How many of the launches that are wanted may be paid; says why not all.
  std::int64_t launches_paid(const store::MachineTypeRecord&, UnusedCap&, std::int64_t wanted,
                             std::int64_t now_us);
  Result<> tell_unused(const store::MachineTypeRecord&, UnusedCap&, int percent,
                       std::int64_t now_us);
  /// Tells how much is used, and sees to it that the cap is looked at when something follows from
  /// it.
  Result<> watch_unused(const store::MachineTypeRecord&, UnusedCap&, std::int64_t now_us);
  /// It has joined and not said hello yet.
  static bool is_joining(const MachineState&, const store::MachineTypeRecord&, std::int64_t now_us);
  Result<> see_to_pools(std::int64_t now_us);
  Result<> see_to_pool(const store::MachineTypeRecord&, std::int64_t now_us);
  /// The runs that wait for a machine of the type and may start.
  std::vector<sched::Waiting> wanting(const TypeKey&) const;
  /// Runs that no machine of their type's pool can take: their logs say so, once.
  Result<> say_beyond_pool(const TypeKey&, std::int64_t now_us);
  bool is_of_pool(const MachineState&, const TypeKey&) const;
  std::int64_t machines_of_pool(const TypeKey&) const;
  Result<> launch_machine(const store::MachineTypeRecord&, std::int64_t now_us);
  Result<> end_pool_machine(MachineState&, std::int64_t now_us);
  void pool_failed(const TypeKey&, const std::string& why, bool for_good, std::int64_t now_us);
  void pool_works(const TypeKey&);
  /// Something is due then.
  void pool_due(std::int64_t at_us);
  /// What the scheduler sees of a type.
  void show_type(const store::MachineTypeRecord&);
  Result<> drop_tokens(const std::function<bool(const store::TokenRecord&)>& which);
  Result<> drop_tokens(const std::string& machine, const std::string& kind);
  void assign(MachineState&, const RunRecord&);
  bool unassign(MachineState&, const std::string& run);
  /// Who uses how much.
  void use(const RunRecord&, const Amounts&);
  void use_no_more(const std::string& run, const Amounts&);
  Result<bool> dependencies_met(const RunPointer&, std::int64_t now_us);
  Result<bool> resolve_mounts(const RunPointer&, std::int64_t now_us);
  std::int64_t log_size(const RunRecord&) const;
  Result<std::int64_t*> last_number(const std::string& owner);
  std::string key_difference(const RunRecord& existing, const model::RunRequest& request) const;

  store::Writer& writer_;
  StateOptions options_;
  std::unordered_map<std::string, RunPointer>
      runs_;  // by id: those that have not ended, and those just changed
  std::map<std::pair<std::string, std::int64_t>, RunPointer> numbers_;
  sched::Queue queue_;
  std::map<Number, Queued> queued_;
  std::size_t asleep_ = 0;           // of those: the ones that are in no other table
  std::vector<RunPointer> settled_;  // written by this transaction: they may sleep after it
  std::unordered_map<std::string, sched::Priority> raised_;  // by run id, see raise()
  bool look_ = true;  // something has changed since the queue was last looked at
  std::map<std::string, std::set<std::string>> dependents_;  // run id -> runs that wait for it
  std::map<std::string, MachineState> machines_;             // by name
  std::map<std::string, std::string> machine_names_;         // by id
  Types types_;
  bool types_changed_ = true;
  std::map<TypeKey, PoolState> pools_;
  std::map<TypeKey, UnusedCap> unused_caps_;
  std::int64_t pool_due_us_ = 0;
  std::map<std::string, store::TokenRecord> tokens_;
  std::map<std::string, LateRun> late_;
  sched::Cluster cluster_;
  std::set<std::string> changed_machines_;
  std::map<std::string, std::vector<model::Command>> farewells_;
  bool tokens_changed_ = false;
  Quotas quotas_;
  PriceLists price_lists_;
  std::map<User, std::int64_t> running_;                             // runs that have a machine
  std::map<std::pair<User, std::string>, std::int64_t> running_of_;  // by machine type, too
  std::unordered_map<std::string, User> users_;  // of runs that take something of a machine
  std::map<BudgetKey, Budget> budgets_;
  std::map<std::string, Hold> holds_;     // by run id
  std::map<Order, RunPointer> unfunded_;  // those that wait for money
  bool money_moved_ = false;              // there may be enough for them now
  bool holds_moved_ = false;              // when something is due is to be found anew
  bool ungoverned_ = false;               // runs that have machines may have to have allowances
  std::int64_t allowance_due_us_ = 0;
  std::int64_t alive_before_us_ = 0;              // until when an earlier process was there
  std::int64_t alive_us_ = 0, alive_due_us_ = 0;  // when this one was noted, and is to be
  std::map<std::string, std::int64_t> last_numbers_;
  std::set<std::string> new_numbers_;
  std::unordered_map<std::string, RunPointer> dirty_;
  std::set<std::string> inserted_, changed_;
  std::vector<Ends::End> ended_;
  std::vector<std::pair<std::string, store::Event>> events_;
  std::vector<std::pair<std::string, std::int64_t>>
      interrupted_;  ///< owner, number: about to go on as others
  std::set<std::pair<std::int64_t, std::string>> delayed_;  ///< run ids by not_before_us
  /// What runs have cost that ended, or became others, in this transaction.
  struct Bill {
    std::string owner, user, project, type, machine;
    model::CostEntry entry;
  };
  std::vector<Bill> bills_;
  std::unordered_map<std::string, std::int64_t> cost_numbers_;          ///< numbers that are known
  using Unpriced = std::tuple<std::string, std::int64_t, std::string>;  ///< owner, day, type
  std::set<Unpriced> unpriced_, noted_unpriced_;  ///< to be noted, and noted by this process
  std::vector<RunPointer> ended_managers_;        ///< whose workflows are still to be told
  bool people_changed_ = false;
};

}  // namespace spell::service
