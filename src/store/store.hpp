// The durable truth of the service: runs, their events, keys, projects, in one SQLite database
// (WAL, synchronous=FULL).
//
// Writer: one, used by the reactor's thread; what happens between begin() and commit() is one group
// commit: when commit() has returned it survives a power loss. Readers: as many as wanted, each
// used by one thread at a time; they see committed state only.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/run.hpp"
#include "spell/machine.hpp"
#include "spell/result.hpp"

namespace spell::store {

/// The newest schema this program knows. Older files are migrated, and stay beside the new one;
/// newer ones are refused.
inline constexpr int schema_version = 9;

/// What a run's time on its machine costs, as it was when it got it. A run that manages a workflow
/// has none: it takes no place.
struct RunCost {
  std::int64_t leased_us = 0;             ///< when it got its machine; 0: it has none yet
  std::string type;                       ///< whose price it is
  std::optional<std::int64_t> price;      ///< billionths of a dollar an hour; none: not known
  std::optional<std::int64_t> on_demand;  ///< the same without spot; none: not known, or no spot
  bool spot = false;
  std::int64_t saved_us = 0;  ///< when something new of it became safe while it ran
  std::int64_t said_us = 0;   ///< when its worker did the last thing for it that it told of
  std::int64_t billed_ms = -1, billed_lost_ms = 0;  ///< as recorded at its end; -1: not yet
  /// So long after it got its machine it is to have ended: so much is reserved for it; -1: nothing
  /// is, for nothing limits what it may cost.
  std::int64_t allowed_ms = -1;
  std::int64_t ordered_ms = 0;  ///< how much of that was over when its worker was told to begin
  /// What keeps it from having more: "max_cost", or kind and name of a budget; "": nothing does.
  std::string limited_by;
  /// It has ended, as far as is known; but its machine may bring more of it, which is reserved.
  bool held = false;
  /// What those before it in its chain have cost, in billionths of a dollar: rounded up each.
  std::int64_t chain_cost = 0;
};

/// A run as the service keeps it.
struct RunRecord {
  std::string id, owner;    ///< id: 32 hex digits
  std::int64_t number = 0;  ///< as users see it
  std::string status = "machine_requested";
  std::int64_t version = 1;
  bool archived = false;
  std::int64_t created_us = 0, placed_us = 0, started_us = 0, ended_us = 0;
  std::string creator, machine;
  std::string reason_code, reason;
  std::optional<int> exit_code, signal;
  std::int64_t log_bytes = 0;  ///< of a final run; before that the log itself knows
  std::string outputs;
  std::int64_t output_files = 0, output_bytes = 0;
  std::int64_t epoch = 0;       ///< grows with each assignment
  std::int64_t entries = 0;     ///< number of the last event
  std::int64_t taken = 0;       ///< number of the worker's last event of this epoch that was taken
  std::string wanted;           ///< "", "stop", "kill"
  std::string project, labels;  ///< labels: "\nA\nB\n"; both may change after the submission
  std::string identity;         ///< hash of what makes two runs the same (for --idempotent)
  /// What its mounts were resolved to: a JSON list of objects, each with its tree's name in "node";
  /// "": none, or not yet. Such a tree is kept until the run has ended.
  std::string mounts;
  Amounts takes;              ///< of its machine, from its last placement on
  std::int64_t workflow = 0;  ///< number of the workflow whose run it is; 0: of none
  std::string name;           ///< in its workflow: the key it was made with
  bool manages = false;       ///< has the workflow's credentials, and no place of its machine
  /// Started by a run that manages the same workflow: the first one has no name in it.
  bool nested() const { return manages && !name.empty(); }
  /// Numbers of the runs before and after it in its chain, 0: none. The one before may have been
  /// removed.
  std::int64_t resumed_from = 0, resumed_as = 0;
  std::string restored;            ///< the outputs of the one before: what it began with
  std::int64_t fruitless = 0;      ///< runs before it, in a row, that saved nothing new
  std::int64_t not_before_us = 0;  ///< it waits until then, so that it is not lost at once again
  RunCost cost;
  model::RunRequest request;
};

std::vector<std::string> split_labels(const std::string& labels);
std::string join_labels(const std::vector<std::string>& labels);

/// An entry of a run's log that is not output; with `step` a step of the life-cycle. The feed for
/// followers, accounting and audit.
struct Event {
  std::int64_t number = 0, time_us = 0;
  std::string status, text;
  bool step = false, important = false;
  std::int64_t log_offset = 0;  ///< output bytes that come before it
};

struct KeyRecord {
  std::string run, body_hash;  ///< run: its id
  std::int64_t time_us = 0;
};

struct ProjectRecord {
  std::string name, description;
  bool archived = false;
  std::int64_t created_us = 0, runs = 0;
  /// Its ended runs without labels are removed once they are older, or once there are more; 0:
  /// never.
  std::int64_t keep_days = 0, keep_runs = 0;
  std::string creator{};  ///< "": made before creators were kept
};

/// A file or folder that was uploaded under a name.
struct UploadRecord {
  std::string owner, name, type;  ///< type: "file" or "folder"
  std::string node;               ///< "": an empty file
  std::int64_t size = 0, files = 0, mode = 0, modified_us = 0, created_us = 0;
  std::string creator;
  std::int64_t modified_ns = 0;  ///< beyond modified_us, 0 to 999
};

/// A name that stands for a resource.
struct LinkRecord {
  std::string alias, resource;
  std::int64_t created_us = 0;
  std::string creator;  ///< "": made before creators were kept
};

/// Somebody who may use this service.
struct UserRecord {
  std::string name, role;  ///< role: see model/access.hpp
  std::string password;    ///< its hash, see base/password.hpp
  bool disabled = false;
  std::int64_t created_us = 0, seen_us = 0;
};

/// A credential: of a user (kind "login", "access"), of a machine ("machine", "join"), or of a run
/// that manages a workflow ("workflow"; user: whose workflow it is).
struct TokenRecord {
  std::string id;                   ///< as users name it; no secret
  std::string hash;                 ///< hex SHA-256 of the whole text of the token
  std::string kind, user, machine;  ///< machine: its id; of a join token for a type: "type:NAME"
  std::string name;                 ///< what it is for
  std::int64_t created_us = 0, expires_us = 0, used_us = 0;  ///< 0: never
  std::string run{};                                         ///< its id
};

/// Runs that belong together.
struct WorkflowRecord {
  std::string id, owner;  ///< id: 32 hex digits
  std::int64_t number = 0;
  std::string status = "running";  ///< running, stopping, killing; then how it ended
  std::string description, creator;
  std::int64_t run = 0;  ///< number of the run that manages it; 0: its program runs elsewhere
  std::optional<int> exit_code;  ///< of its program
  std::string commits;           ///< see model/workflow_request.hpp
  std::string key, body_hash;    ///< of its submission
  std::int64_t created_us = 0, ended_us = 0;
};

/// Who did what.
struct AuditRecord {
  std::int64_t number = 0, time_us = 0;
  std::string user, action, thing, detail, request;
};

/// The newest first.
struct AuditQuery {
  int limit = 100;
  std::int64_t below = INT64_MAX;  ///< only rows with a smaller number
  std::string user{}, action{};    ///< action: itself, or what it begins with up to a '.'
};

/// A tree that must be kept, and for whom.
struct RootRecord {
  std::string owner, resource;  ///< "runs/7", "uploads/NAME"; "" of a mount
  std::string node;
};

/// A secret of a user; its value is encrypted, see service/secrets.hpp.
struct SecretRecord {
  std::string name, value;
  std::int64_t created_us = 0;
};

/// A layer of an environment, see model/environment.hpp.
struct LayerRecord {
  std::string owner, name, method, base, made_of;
  std::string node;  ///< "": it is not built yet
  std::int64_t size = 0, files = 0;
  std::vector<std::string> packages;  ///< that were installed
  std::string builder;                ///< id of the run that builds it now; "": none does
  std::int64_t builder_epoch = 0;
  std::string made_by;  ///< id of the run that has built what is there
  std::int64_t created_us = 0, used_us = 0;
};

/// A layer that a run was given, as it was then.
struct RunLayer {
  std::string method, layer;
  std::vector<std::string> packages;
};

/// A user of an owner's; owner "": the one that the service was made for.
struct MemberRecord {
  std::string owner, user;
};

/// What a user may use at most, by its name in the API; user "": everybody who has none of his own.
struct QuotaRecord {
  std::string owner, user, name;
  std::int64_t amount = 0;
};

/// An ended run, for those who decide what is kept.
struct KeptRun {
  std::string owner;
  std::int64_t number = 0, ended_us = 0, bytes = 0;  ///< bytes: of outputs and log
  bool labelled = false;
};

/// Runs that have no machine yet.
struct Queue {
  std::int64_t runs = 0, oldest_us = 0;  ///< oldest: when it was made
};

/// A machine that has joined, or may. Amounts of 0: all that it has; lost_after of 0: the default.
struct MachineRecord {
  std::string owner, name, id;             ///< id: 32 hex digits
  std::vector<std::string> serves, allow;  ///< types, lower case; users and projects, none: all
  std::int64_t cpus = 0, memory = 0, gpus = 0;
  bool drained = false;  ///< gets no new runs
  std::string key;       ///< hex SHA-256 of the public key that its worker must prove; "": none
  std::int64_t created_us = 0, joined_us = 0, seen_us = 0;
  std::int64_t lost_after = 0;  ///< seconds
  std::string hello;            ///< what its worker last said of it, as JSON
  std::string pool;             ///< the type whose pool has made it; "": none
  std::string phase;            ///< of a pool's machine: "launching", "up", "ending"
  std::int64_t phase_us = 0;    ///< since when
  std::int64_t going_us = 0;    ///< when it will be taken away; 0: nothing is known
  std::string going;            ///< why
};

/// What a run of a named class of machines gets. Amounts of 0: what the machine's share is.
struct MachineTypeRecord {
  std::string owner, name;
  bool spot = false, auto_resume = false;
  std::int64_t cpus = 0, memory = 0, gpus = 0, lost_after = 0, created_us = 0;
  std::string pool, pool_options;  ///< see spell::MachineTypeInfo; options: a JSON object, "": none
  std::int64_t min_machines = 0, max_machines = 0;
  std::int64_t idle_timeout = 0, launch_timeout = 0;  ///< seconds; 0: the default
  std::optional<std::int64_t> price, spot_price;      ///< billionths of a dollar an hour
};

/// A line of an owner's price list. Billionths of a dollar an hour.
struct PriceRecord {
  std::string owner, name;  ///< name: of a machine type, in the catalogue, or a cloud's for it
  std::optional<std::int64_t> price, spot_price;
};

/// A run that has a machine, as reports of costs see it.
struct LeasedRun {
  std::int64_t number = 0, workflow = 0;
  std::string user, project, machine;
  RunCost cost;
};

/// What a project, a user or a workflow may cost at most; or the machines of a type's pool while no
/// run is there.
struct BudgetRecord {
  /// kind: "project", "user", "workflow" (its name: a number), or "unused": of a machine type.
  std::string owner, kind, name;
  std::int64_t amount = 0;  ///< billionths of a dollar
  bool monthly = false;     ///< so much each month (UTC)
  std::int64_t created_us = 0;
  /// Up to how many percent it was said to be used, in the period that began then (ms).
  std::int64_t told = 0, told_period = 0;
};

/// A machine that a pool has made, with what it costs; machine and type: numbers of names, see
/// Reader::cost_name(). Times of 0: not yet.
struct MachineTimeRecord {
  std::string id, owner;
  std::int64_t machine = 0, type = 0, price = 0;
  std::int64_t began_us = 0, joined_us = 0, ending_us = 0, ended_us = 0;
};

/// When a run was on a machine, as its row says; machine: its name.
struct MachineStay {
  std::string machine;
  std::int64_t from_us = 0, until_us = 0;  ///< until 0: it is there
};

/// A run as part of its workflow's graph.
struct WorkflowNode {
  std::int64_t run = 0;
  std::string name, status;
  std::optional<int> exit_code;
  bool manages = false;
  std::vector<std::int64_t> mounts;  ///< the runs whose outputs it mounts
};

struct RunName {
  std::string id, owner;
  std::int64_t number = 0;
};

struct DatabaseCheck {
  std::int64_t pages = 0;            ///< that were read
  std::vector<std::string> damaged;  ///< what is wrong, a line each; none: nothing
  std::vector<RunName> hurt;         ///< runs that lost something by it, without their ids
};

/// What a log was accepted without.
struct AcceptedLog {
  std::string kept;       ///< its copy
  std::int64_t lost = 0;  ///< pages of changes
};
/// Of a database whose log is damaged, so that it cannot be opened: what is whole at the log's
/// beginning counts from now on, and a copy stays. None: it is not damaged. Nobody uses it.
Result<std::optional<AcceptedLog>> accept_log(const std::string& database);

struct RepositoryRecord {
  std::string workspace, name;
  std::int64_t used_us = 0, runs = 0;
};

struct RunQuery {
  std::string owner;
  int limit = 50;
  std::int64_t below = INT64_MAX;  ///< only runs with a smaller number
  std::string label, project, repository;
  std::int64_t workflow = 0;  ///< 0: of any and of none
  bool active = false, archived = false;
};

/// What both sides can look up.
class Reader {
 public:
  struct Impl;
  explicit Reader(std::unique_ptr<Impl>);
  Reader(Reader&&) noexcept;
  ~Reader();
  static Result<Reader> open(const std::string& path);

  Result<std::optional<RunRecord>> find_run(const std::string& owner, std::int64_t number);
  Result<std::optional<RunRecord>> find_run(const std::string& id);
  /// The newest first.
  Result<std::vector<RunRecord>> list_runs(const RunQuery&);
  /// The newest run of this identity that is not final, or is complete with exit code 0.
  Result<std::optional<RunRecord>> find_same(const std::string& owner, const std::string& identity);
  Result<std::vector<Event>> events(const std::string& run, std::int64_t after, int limit = 1000);
  Result<std::optional<KeyRecord>> find_key(const std::string& owner, const std::string& key);
  Result<std::vector<ProjectRecord>> projects(const std::string& owner, bool with_archived);
  Result<std::optional<ProjectRecord>> find_project(const std::string& owner,
                                                    const std::string& name);
  Result<std::vector<RepositoryRecord>> repositories(const std::string& owner);
  /// `owner` "": of all of them.
  Result<std::map<std::string, std::int64_t>> count_by_status(const std::string& owner);
  /// Runs with outputs, by number, from behind `after` on.
  Result<std::vector<RunRecord>> runs_with_outputs(const std::string& owner, std::int64_t after,
                                                   int limit);
  Result<std::optional<UploadRecord>> find_upload(const std::string& owner,
                                                  const std::string& name);
  /// By name, from behind `after` on.
  Result<std::vector<UploadRecord>> uploads(const std::string& owner, const std::string& after,
                                            int limit);
  Result<std::optional<LinkRecord>> find_link(const std::string& owner, const std::string& alias);
  Result<std::vector<LinkRecord>> links(const std::string& owner);
  Result<std::optional<WorkflowRecord>> find_workflow(const std::string& owner,
                                                      std::int64_t number);
  Result<std::optional<WorkflowRecord>> find_workflow_of_key(const std::string& owner,
                                                             const std::string& key);
  /// The newest first, with smaller numbers than `below`.
  Result<std::vector<WorkflowRecord>> workflows(const std::string& owner, std::int64_t below,
                                                int limit);
  /// How many of its runs have which status.
  Result<std::map<std::string, std::int64_t>> workflow_statuses(const std::string& owner,
                                                                std::int64_t number);
  /// Its runs, by number.
  Result<std::vector<WorkflowNode>> workflow_graph(const std::string& owner, std::int64_t number);
  /// Without their values.
  Result<std::vector<SecretRecord>> secrets(const std::string& owner, const std::string& user);
  Result<std::optional<SecretRecord>> find_secret(const std::string& owner, const std::string& user,
                                                  const std::string& name);
  /// By name; owner "": of all of them.
  Result<std::vector<LayerRecord>> layers(const std::string& owner);
  Result<std::optional<LayerRecord>> find_layer(const std::string& owner, const std::string& name);
  /// `apt` before `pip` before `setup`.
  Result<std::vector<RunLayer>> layers_of_run(const std::string& run);
  /// Owner and name of those that runs were given that have not ended, and their numbers.
  struct LayerUse {
    std::string owner, layer;
    std::int64_t run = 0;
  };
  Result<std::vector<LayerUse>> layers_in_use();
  /// Of all owners; by owner, user and name.
  Result<std::vector<QuotaRecord>> quotas();
  /// Runs of a user that have a machine.
  /// `type`: of those alone that ask for it, in lower case; "": of all.
  Result<std::int64_t> runs_of(const std::string& owner, const std::string& user,
                               const std::string& type = {});
  /// Of a user: outputs and logs of his runs, and his uploads.
  Result<std::int64_t> bytes_of(const std::string& owner, const std::string& user);
  Result<Queue> queue();
  Result<std::vector<KeptRun>> kept_runs();
  Result<std::int64_t> count_runs();
  /// Random id of this database, renewed by a restore.
  Result<std::string> incarnation();
  /// The database as it is at one moment, into a new file; durable, and checked.
  Result<> copy_to(const std::string& path);
  /// All trees that must be kept, of all owners, as they are at one moment: outputs, uploads, and
  /// what the mounts of unfinished runs were resolved to.
  Result<std::vector<RootRecord>> roots();
  /// The commits of all runs of a workspace, and those that workflows have of it; each once.
  Result<std::vector<std::string>> commits(const std::string& owner, const std::string& workspace);
  /// The runs of a commit, by number.
  Result<std::vector<RunName>> runs_of_commit(const std::string& owner,
                                              const std::string& workspace,
                                              const std::string& commit);
  /// Ended runs without labels that their projects keep no longer.
  Result<std::vector<std::pair<std::string, std::int64_t>>> expired_runs(std::int64_t now_us);
  /// When the next run, after now, will be too old for its project; 0: none will.
  Result<std::int64_t> next_expiry_us(std::int64_t now_us);
  /// Whether any project removes runs.
  Result<bool> projects_keep();
  /// Ids of the runs that have not ended, and when they were made.
  Result<std::vector<std::pair<std::string, std::int64_t>>> living_runs();
  /// How long the logs of ended runs are.
  Result<std::vector<std::pair<RunName, std::int64_t>>> log_lengths();
  /// Reads every page of the database and of its log.
  Result<DatabaseCheck> check();
  /// By name.
  Result<std::vector<UserRecord>> users();
  Result<std::optional<UserRecord>> find_user(const std::string& name);
  /// Those that were made or have runs, with their highest numbers; by name.
  Result<std::map<std::string, std::int64_t>> owners();
  /// By owner and user.
  Result<std::vector<MemberRecord>> members();
  /// All of them, the oldest first.
  Result<std::vector<TokenRecord>> tokens();
  Result<std::vector<AuditRecord>> audit(const AuditQuery&);
  /// Of all owners.
  Result<std::vector<MachineRecord>> machines();
  Result<std::vector<MachineTypeRecord>> machine_types();
  /// The price lists of all owners.
  Result<std::vector<PriceRecord>> prices();
  /// For those who keep files of runs.
  Result<bool> has_run(const std::string& id);
  /// The run, or one that it goes on as, that has not ended; none: there is none.
  Result<std::optional<std::int64_t>> active_of_chain(const std::string& owner,
                                                      std::int64_t number);
  /// Entries of model/cost.hpp, of many runs at a time: those that ended since then, and others.
  Result<> costs(const std::string& owner, std::int64_t since_ms,
                 const std::function<Result<>(std::string_view entries)>&);
  /// The numbers that stand for it in them: it may have had other names.
  Result<std::vector<std::int64_t>> cost_numbers(const std::string& owner, const std::string& kind,
                                                 const std::string& name);
  /// Of all owners.
  Result<std::vector<BudgetRecord>> budgets();
  /// Those for which something is reserved though they have ended.
  Result<std::vector<RunRecord>> held_runs();
  /// What a number in them stands for; "": nothing.
  Result<std::string> cost_name(std::int64_t number);
  /// The number of a user, project, type or machine (`kind`); 0: it has none yet.
  Result<std::int64_t> cost_number(const std::string& owner, const std::string& kind,
                                   const std::string& name);
  Result<std::vector<LeasedRun>> leased_runs(const std::string& owner);
  /// Those that were there since then.
  Result<std::vector<MachineTimeRecord>> machine_times(const std::string& owner,
                                                       std::int64_t since_us);
  /// Of runs that are on machines, or were since then; without those that were removed.
  Result<std::vector<MachineStay>> machine_stays(const std::string& owner, std::int64_t since_us);
  /// Types of which runs have ended, on these days since 1970, whose price was not known.
  Result<std::vector<std::string>> unpriced_types(const std::string& owner, std::int64_t first_day,
                                                  std::int64_t last_day);
  /// What it calls sees the store as it is at one moment.
  Result<> at_one_moment(const std::function<Result<>()>&);
  /// A note that the service keeps for itself; 0 if there is none.
  Result<std::int64_t> note(const std::string& key);

 protected:
  std::unique_ptr<Impl> impl_;
};

class Writer : public Reader {
 public:
  /// Opens or makes the database; migrates. Errors: `newer_data` (made by a newer program),
  /// `damaged`, `disk_full`.
  static Result<Writer> open(const std::string& path);

  Result<> begin();
  /// An error: nothing of what came since begin() counts; rollback() is to be called.
  Result<> commit();
  void rollback();
  /// What went wrong beside the commits, once: the log could not be copied back, and grows.
  std::optional<Error> take_trouble();

  /// On a full disk: what the database has beside itself is kept small. Not within a transaction.
  Result<> save_space(bool wanted);

  Result<> insert_run(const RunRecord&);
  /// Everything that may change; the request does not.
  /// All but the request, which hardly ever changes.
  Result<> update_run(const RunRecord&);
  Result<> put_request(const RunRecord&);
  Result<> delete_run(const std::string& id);
  Result<> add_event(const std::string& run, const Event&);
  Result<> put_key(const std::string& owner, const std::string& key, const KeyRecord&);
  Result<> drop_keys_before(std::int64_t time_us);
  /// Non-final runs, oldest first.
  Result<std::vector<RunRecord>> active_runs();
  /// The same, one by one; nothing is to be written meanwhile.
  Result<> each_active_run(const std::function<void(RunRecord)>&);
  /// The highest number given to a run of this owner; 0: none.
  Result<std::int64_t> last_number(const std::string& owner);
  Result<> set_last_number(const std::string& owner, std::int64_t number);
  Result<> put_project(const std::string& owner, const std::string& name, const ProjectRecord&);
  Result<> rename_project(const std::string& owner, const std::string& from, const std::string& to);
  /// Replaces the workflow of this number.
  Result<> put_workflow(const WorkflowRecord&);
  /// With what was uploaded for it; its runs are nobody's then.
  Result<> delete_workflow(const std::string& owner, std::int64_t number);
  /// One that was never given before.
  Result<std::int64_t> next_workflow_number(const std::string& owner);
  /// Replaces the upload of this name.
  Result<> put_upload(const UploadRecord&);
  /// Fine if there is none.
  Result<> delete_upload(const std::string& owner, const std::string& name);
  Result<> put_link(const std::string& owner, const LinkRecord&);
  Result<> delete_link(const std::string& owner, const std::string& alias);
  /// Replaces the user of this name.
  Result<> put_user(const UserRecord&);
  /// Fine if he is one already.
  Result<> put_member(const MemberRecord&);
  /// Fine if he is none.
  Result<> delete_member(const MemberRecord&);
  Result<> put_token(const TokenRecord&);
  /// Fine if there is none.
  Result<> delete_token(const std::string& id);
  /// Those of kind "workflow" that this run shows.
  Result<> delete_tokens_of_run(const std::string& run);
  /// Those that have ended by themselves.
  Result<> drop_tokens_before(std::int64_t time_us);
  /// When a token and its user were seen last.
  Result<> set_seen(const std::string& token, std::int64_t time_us);
  /// The number is given here.
  Result<> add_audit(const AuditRecord&);
  /// Replaces the machine of this id.
  Result<> put_machine(const MachineRecord&);
  Result<> delete_machine(const std::string& id);
  Result<> put_machine_type(const MachineTypeRecord&);
  Result<> delete_machine_type(const std::string& owner, const std::string& name);
  Result<> delete_prices(const std::string& owner);
  Result<> put_price(const PriceRecord&);
  /// As cost_number(); gives it one.
  Result<std::int64_t> make_cost_number(const std::string& owner, const std::string& kind,
                                        const std::string& name);
  /// What was recorded under the one name counts under the other.
  Result<> rename_cost(const std::string& owner, const std::string& kind, const std::string& from,
                       const std::string& to);
  /// Entries of runs that ended at `until_ms` at the latest.
  Result<> add_costs(const std::string& owner, std::int64_t until_ms, const std::string& entries);
  /// Fine if that is known.
  Result<> add_unpriced(const std::string& owner, std::int64_t day, const std::string& type);
  Result<> add_machine_time(const MachineTimeRecord&);
  /// The machine of this id is in another phase; fine if nothing is recorded of it.
  Result<> set_machine_phase(const std::string& id, const std::string& phase, std::int64_t at_us);
  Result<> end_machine_time(const std::string& id, std::int64_t at_us);
  Result<> set_note(const std::string& key, std::int64_t value);
  /// Replaces the one of this name.
  Result<> put_secret(const std::string& owner, const std::string& user, const SecretRecord&);
  Result<> delete_secret(const std::string& owner, const std::string& user,
                         const std::string& name);
  Result<> use_repository(const std::string& owner, const std::string& workspace,
                          const std::string& name, std::int64_t now_us);
  /// Replaces the layer of this name.
  Result<> put_layer(const LayerRecord&);
  /// Fine if there is none.
  Result<> delete_layer(const std::string& owner, const std::string& name);
  /// Replaces the one of this method.
  Result<> put_run_layer(const std::string& run, const RunLayer&);
  Result<> put_quota(const QuotaRecord&);
  /// Fine if there is none.
  Result<> delete_quota(const QuotaRecord&);
  /// Replaces the one of this name.
  Result<> put_budget(const BudgetRecord&);
  /// Fine if there is none.
  Result<> delete_budget(const std::string& owner, const std::string& kind,
                         const std::string& name);
  /// Workers meet another database from now on.
  Result<> renew_incarnation();
  /// Run numbers of all owners go on so much higher.
  Result<> skip_numbers(std::int64_t skip);
  /// Random id of this database, as it was when it was opened.
  const std::string& incarnation() const { return incarnation_; }

 private:
  explicit Writer(Reader reader) : Reader(std::move(reader)) {}
  std::string incarnation_;
};

}  // namespace spell::store
