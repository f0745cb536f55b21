// A workflow: runs that belong together, and the managing run whose program starts them.
//
// A program calls Workflow::current_or_create(): started by `spell workflow create` it finds the
// workflow that it manages, started by hand it makes one of its own.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "spell/client.hpp"
#include "spell/code.hpp"
#include "spell/options.hpp"
#include "spell/result.hpp"
#include "spell/run.hpp"

namespace spell {

/// A commit that runs of a workflow name by a label.
struct WorkflowCommit {
  std::string workspace{}, commit{}, repository{}, message{}, github_url{};
};

/// A run as part of its workflow's graph.
struct WorkflowRun {
  std::int64_t id = 0;
  std::string key{};  ///< its name in the workflow; "": it was made without one
  RunStatus status{};
  std::optional<int> user_exit_code{};
  bool manages = false;                ///< it has the workflow's credentials
  std::vector<std::int64_t> mounts{};  ///< the runs whose outputs it mounts
};

struct WorkflowInfo {
  std::int64_t id = 0;
  /// `running`, `stopping`, `killing`; then how its managing run, or it, has ended.
  RunStatus status{};
  std::string description{}, creator{};
  std::optional<std::int64_t> run{};    ///< the managing one; none: its program runs elsewhere
  std::optional<int> user_exit_code{};  ///< of its program
  std::map<std::string, WorkflowCommit> commits{};  ///< by label
  std::optional<Time> created_at{}, ended_at{};
  std::map<std::string, std::int64_t> runs_by_status{};
  std::vector<WorkflowRun> runs{};  ///< the graph; only of a workflow that is asked for by number
};

/// A program of this computer that a managing run is to execute.
struct WorkflowProgram {
  std::string path{};                    ///< an executable for Linux
  std::vector<std::string> arguments{};  ///< given to it
};

/// A CMake project of this computer whose program a managing run is to execute. It is built on the
/// machine, against the SDK of the service: find_package(spell), spell::static.
struct WorkflowBuild {
  std::string folder{};  ///< with CMakeLists.txt; folders of builds and .git are left out
  std::string target{};  ///< "": the only program that there is
  std::vector<std::string> arguments{};  ///< given to it
};

/// What is asked for. Plain values; every member has a default.
struct WorkflowSpec {
  std::string description{};
  std::map<std::string, Code> repositories{};  ///< by label; sent before anything starts
  /// The managing run; none: the program runs elsewhere, such as this one. Its code may be one of
  /// the labels.
  std::optional<RunSpec> run{};
  std::optional<WorkflowProgram> program{};  ///< becomes the command of `run`
  std::optional<WorkflowBuild> build{};      ///< likewise; instead of `program`
};

/// A cheap, thread-safe handle on a workflow.
class Workflow {
 public:
  /// The workflow that this program manages, or works in (see ClientOptions::workflow); else a new
  /// one that ends with finish(), stop() or kill().
  static Result<Workflow> current_or_create(const Client&, const WorkflowSpec& = {},
                                            CallOptions = {});

  std::int64_t id() const noexcept { return id_; }
  /// As the service knows it now, with the graph of its runs.
  Result<WorkflowInfo> info(CallOptions = {}) const;
  /// Makes a run of this workflow, or finds the one that was made under this key before: a program
  /// that was started again goes on where it was. The same key with another spec: error
  /// `key_conflict`, naming the field. Errors also: `workflow_ended`, `unknown_commit_label`.
  /// `key` "": only of an idempotent spec, whose key is its hash; else error `invalid_request`.
  Result<Run> run(const std::string& key, const RunSpec&, CallOptions = {}) const;
  /// The oldest first.
  Result<std::vector<RunInfo>> runs(CallOptions = {}) const;
  /// Ends its runs, queued ones too, and saves the outputs of those that run; no more are made.
  Result<WorkflowInfo> stop(CallOptions = {}) const;
  /// Ends its runs at once, nothing is saved; its credentials are void from the return on.
  Result<WorkflowInfo> kill(CallOptions = {}) const;
  /// Says how its program has ended. Only for a workflow without a managing run.
  Result<WorkflowInfo> finish(int exit_code, CallOptions = {}) const;
  /// Forgets an ended workflow and what was uploaded for it. Its runs stay.
  Result<> remove(CallOptions = {}) const;

  Workflow() = default;
  Workflow(std::shared_ptr<detail::Connection> connection, std::int64_t id)
      : connection_(std::move(connection)), id_(id) {}

 private:
  std::shared_ptr<detail::Connection> connection_;
  std::int64_t id_ = 0;
};

/// Workflows as a collection. Thread-safe.
class Workflows {
 public:
  /// Sends the repositories, then makes the workflow and its managing run. `key`: as of
  /// Runs::create. Within a workflow no other is made: the managing run, which `run` of the answer
  /// names, becomes one more of that.
  /// Errors also: `invalid_program`, `uncommitted_changes`.
  Result<WorkflowInfo> create(const WorkflowSpec&, const std::string& key = {},
                              const SubmitProgress& = {}, CallOptions = {}) const;
  /// See Workflow::current_or_create().
  Result<Workflow> current_or_create(const WorkflowSpec& = {}, CallOptions = {}) const;
  /// Error `workflow_not_found`.
  Result<Workflow> get(std::int64_t id, CallOptions = {}) const;
  /// The newest `limit`, the oldest of them first; without their graphs.
  Result<std::vector<WorkflowInfo>> list(int limit = 50, CallOptions = {}) const;

  explicit Workflows(std::shared_ptr<detail::Connection> connection)
      : connection_(std::move(connection)) {}

 private:
  std::shared_ptr<detail::Connection> connection_;
};

}  // namespace spell
