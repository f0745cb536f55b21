// Client: the connection to a service, and where everything starts.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "spell/account.hpp"
#include "spell/budget.hpp"
#include "spell/cost.hpp"
#include "spell/environment.hpp"
#include "spell/function.hpp"
#include "spell/machine.hpp"
#include "spell/options.hpp"
#include "spell/project.hpp"
#include "spell/quota.hpp"
#include "spell/resource.hpp"
#include "spell/result.hpp"
#include "spell/run.hpp"
#include "spell/secret.hpp"

namespace spell {

/// Which runs a list holds.
struct RunFilter {
  int limit = 50;  ///< the newest so many; 0: all
  std::string label{}, project{}, repository{};
  bool active_only = false;
  bool with_archived = false;
  std::int64_t workflow = 0;  ///< only runs of this one; 0: of any and of none
};

struct RepositoryInfo {
  std::string workspace{}, name{};
  std::int64_t runs = 0, bytes = 0;
  std::optional<Time> last_used_at{};
};

/// What `spell status` shows.
struct ServiceInfo {
  std::string version{}, owner{}, user{}, location{}, spell_dir{};
  std::int64_t pid = 0, protocol = 0;
  std::optional<Time> started_at{};
  std::map<std::string, std::int64_t> runs_by_status{};
  std::vector<MachineInfo> machines{};
  std::int64_t storage_bytes = 0, log_bytes = 0, disk_free = 0;
  std::vector<std::string> notes{};  ///< what is degraded, and the remedy
};

class Workflows;

/// Told while a run is submitted: "packing", "sending" with bytes done and in all.
using SubmitProgress =
    Function<void(const std::string& step, std::int64_t done, std::int64_t total)>;
/// Told, line by line, what of a repository travels and what does not, with the option that changes
/// it.
using SubmitNotice = Function<void(const std::string& line)>;

/// Runs as a collection. Thread-safe.
class Runs {
 public:
  /// Submits a run. `key`: the same key and spec give the same run (kept 30 days); same key, other
  /// spec: `key_conflict`.
  /// "": the library makes one for its own retries; of a client that works in a workflow error
  /// `invalid_request`, but for an idempotent spec, whose key is its hash. Returns when the run is
  /// durable.
  Result<Run> create(const RunSpec&, const std::string& key = {}, CallOptions = {}) const;
  /// The same, with what the service reports, and progress while code is sent. Callbacks come on
  /// the calling thread.
  Result<RunInfo> submit(const RunSpec&, const std::string& key = {}, const SubmitProgress& = {},
                         CallOptions = {}, const SubmitNotice& = {}) const;
  /// Error `run_not_found`.
  Result<Run> get(std::int64_t id, CallOptions = {}) const;
  /// The newest first, page by page as it is read: memory does not grow with their number.
  Stream<RunInfo> list(const RunFilter& = {}, CallOptions = {}) const;

  // For those who have a number and not a handle: as Run's members of these names.
  Result<RunInfo> stop(std::int64_t id, CallOptions = {}) const;
  Result<RunInfo> kill(std::int64_t id, CallOptions = {}) const;
  Result<RunInfo> wait(std::int64_t id, CallOptions = {}) const;
  Stream<LogEntry> logs(std::int64_t id, LogOptions = {}) const;
  /// What the run saved, at the top or at `path`.
  Result<std::vector<ResourceInfo>> resources(std::int64_t id, std::string_view path = "",
                                              CallOptions = {}) const;

  explicit Runs(std::shared_ptr<detail::Connection> connection)
      : connection_(std::move(connection)) {}

 private:
  std::shared_ptr<detail::Connection> connection_;
};

/// Thread-safe and cheap to copy; one pool of connections. No globals, no signal handlers, prints
/// nothing.
class Client {
 public:
  /// $SPELL_BASE_URL, else where `spell login` has led last, else the personal service under
  /// $SPELL_DIR (default ~/.spell). Does not connect yet, but makes that folder. Error
  /// `invalid_configuration`.
  static Result<Client> from_environment();
  /// Of the environment only HOME and XDG_* count here: they say where this user's folders are.
  static Result<Client> make(const ClientOptions&);

  /// As Runs::create().
  Result<Run> run(const RunSpec&, const std::string& key = {}, CallOptions = {}) const;
  Runs runs() const { return Runs(connection_); }
  Workflows workflows() const;  ///< see spell/workflow.hpp
  Resources resources() const { return Resources(connection_); }
  /// "uploads/x", "runs/7/results"; nothing is asked yet.
  Resource resource(std::string path) const { return Resource(connection_, std::move(path)); }
  Projects projects() const { return Projects(connection_); }
  Account account() const { return Account(connection_); }
  Users users() const { return Users(connection_); }
  /// Whose runs are meant; "": the service will be asked for it.
  std::string owner() const;
  Owners owners() const { return Owners(connection_); }
  Tokens tokens() const { return Tokens(connection_); }
  /// Who did what; for administrators. The oldest first.
  Result<std::vector<AuditEntry>> audit(const AuditFilter& = {}, CallOptions = {}) const;
  Secrets secrets() const { return Secrets(connection_); }
  Environments environments() const { return Environments(connection_); }
  Quotas quotas() const { return Quotas(connection_); }
  Budgets budgets() const { return Budgets(connection_); }
  /// What was spent: exact sums of what was recorded when each run got its machine and left it.
  Result<CostReport> costs(const CostFilter& = {}, CallOptions = {}) const;
  Machines machines() const { return Machines(connection_); }
  MachineTypes machine_types() const { return MachineTypes(connection_); }
  /// As MachineTypes::select().
  Result<std::vector<RankedMachineType>> select(const MachineQuery&, CallOptions = {}) const;
  /// spell::inspect, with a memory: much quicker the second time where Git's own index is stale.
  Result<CodeInfo> inspect(const Code&) const;
  Result<std::vector<RepositoryInfo>> repositories(CallOptions = {}) const;
  /// Starts the personal service if it does not run (unless autostart is off: error
  /// `service_unreachable`).
  Result<ServiceInfo> status(CallOptions = {}) const;
  /// Ends the service; running commands are not touched. Returns when its socket is free. Fine if
  /// it does not run.
  Result<> stop_service(CallOptions = {}) const;
  /// Path of the personal service's own log file.
  std::string service_log() const;
  /// One request as the API defines it, for what this library does not cover yet. `path` begins
  /// with '/'. Returns the answer's JSON.
  Result<std::string> request(const std::string& method, const std::string& path,
                              const std::string& body = {}, CallOptions = {}) const;

  /// For spell/asio.hpp.
  const std::shared_ptr<detail::Connection>& connection() const noexcept { return connection_; }

  explicit Client(std::shared_ptr<detail::Connection> connection)
      : connection_(std::move(connection)) {}

 private:
  std::shared_ptr<detail::Connection> connection_;
};

}  // namespace spell
