// A run: what is asked for (RunSpec), what the service reports (RunInfo), and the handle to act on
// it (Run).
#pragma once
#include <chrono>
#include <cstdint>
#include <iosfwd>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "spell/code.hpp"
#include "spell/metric.hpp"
#include "spell/options.hpp"
#include "spell/result.hpp"
#include "spell/session.hpp"
#include "spell/stats.hpp"
#include "spell/stream.hpp"
#include "spell/units.hpp"

namespace spell {

using Time = std::chrono::system_clock::time_point;

/// A run's place in its life-cycle, by the name it has on the wire. Values that this version does
/// not know survive.
class RunStatus {
 public:
  static constexpr std::string_view machine_requested = "machine_requested", building = "building",
                                    mounting = "mounting", running = "running", saving = "saving",
                                    pushing = "pushing", stopping = "stopping", killing = "killing",
                                    complete = "complete", failed = "failed",
                                    build_failed = "build_failed", mount_failed = "mount_failed",
                                    interrupted = "interrupted", killed = "killed",
                                    stopped = "stopped";
  RunStatus() = default;
  RunStatus(std::string_view name) : name_(name) {}
  RunStatus(const char* name) : name_(name) {}
  const std::string& name() const noexcept { return name_; }
  /// Whether the run has ended, in whatever way.
  bool is_final() const noexcept;
  friend bool operator==(const RunStatus& a, std::string_view b) { return a.name_ == b; }
  friend bool operator==(const RunStatus& a, const RunStatus& b) { return a.name_ == b.name_; }

 private:
  std::string name_ = std::string(machine_requested);
};
std::ostream& operator<<(std::ostream&, const RunStatus&);

/// Data that a run finds in its place; what it changes there is its own and is not saved.
struct Mount {
  std::string resource{};  ///< "runs/3/data", "uploads/x", "public/y", a link's alias
  /// Absolute, or relative to the working folder; "": the resource's base name. A folder may be
  /// written to where the machine can do it (the log says where not), a file is read-only.
  std::string at{};
};

/// What is asked for. Plain values; every member has a default.
struct RunSpec {
  std::string command{};  ///< given to `bash -c`; required
  Code code = Code::none();
  std::string machine_type{};  ///< "": the owner's default (CPU)
  std::map<std::string, std::string> env{};
  std::optional<std::chrono::seconds>
      timeout{};  ///< from "running" on; then the run is stopped, its outputs saved
  std::chrono::seconds stop_grace{30};  ///< between SIGTERM and SIGKILL when the run is stopped
  std::int64_t log_limit =
      10LL << 30;  ///< bytes of output kept; then the command waits (promise: no byte is dropped)
  std::string description{};  ///< "": the commit's message
  std::string project{};
  std::vector<std::string> labels{};
  std::vector<std::int64_t> after{};  ///< starts when these runs are complete with exit code 0
  std::string
      folder{};  ///< working folder relative to /spell; "": where the user stood; ".": its top
  std::string virtual_env{};  ///< a virtual environment whose programs come first in PATH (personal
                              ///< service)
  bool split_output = false;  ///< keep stderr apart (order between the two is then not kept)
  bool save_all = false;  ///< save also __pycache__, .git, .venv, node_modules, .ipynb_checkpoints
  bool idempotent = false;  ///< reuse an identical run if there is one
  /// One of what an unfinished run will have saved makes this run wait for it, as `after` does.
  std::vector<Mount> mounts{};
  /// Variable -> name of one of your secrets, see spell/secret.hpp. Its value is looked up when the
  /// run starts, and is shown as `***` in its log.
  std::map<std::string, std::string> secrets{};
  /// "2", "A100:2" (GPUs whose name has A100 in it), "0"; "": what the machine type gives, and one
  /// on a machine with GPUs that is named.
  std::string gpu{};
  std::int64_t cpus = 0, memory = 0;  ///< cores, bytes; 0: what the machine type gives
  /// Name -> what stands in the command for each `:NAME:`; kept with the run. Error
  /// `invalid_request`: the command has no such place.
  std::map<std::string, std::string> params{};
  /// Whether a run that is interrupted, with its machine, goes on as another; none: as its machine
  /// type says.
  std::optional<bool> auto_resume{};
  /// Rather lost work than two copies: its machine ends it when it has been without the service for
  /// so long that the run counts as lost there.
  bool exclusive = false;
  /// "TERM", "USR1", …: what the command's process group gets when its machine is about to be taken
  /// away; "": nothing.
  std::string notice_signal{};
  /// Patterns, as in .gitignore, of files that stay open and grow (logs, CSV): while the run runs
  /// what is there of them is saved, as it is.
  std::vector<std::string> append{};
  /// pip: Python packages for the run ("numpy", "numpy==1.26.4"), in a virtual environment that is
  /// built once and shared; apt: packages of the machine's own distribution ("ffmpeg",
  /// "sl=5.02-1+b1"), over its system and for the run alone. See docs/environments.md.
  std::vector<std::string> pip{}, apt{};
  /// The folder, below /spell, that a resumed run finds as it was. Not yet: another one, which is
  /// refused before anything is sent, error `not_available`.
  std::string checkpoints = "checkpoints";
  /// The run and what it goes on as cost no more than that: their commands are stopped in time, and
  /// outputs are saved; see docs/costs.md. Error `price_not_known`: of the machine type.
  std::optional<Dollars> max_cost{};
  /// A requirements file of the commit, relative to the working folder: what it asks for is
  /// installed with `pip`. It counts by its content. Error `invalid_requirements`.
  std::string requirements{};
  /// Given to `bash -c` in the folder $SPELL_ENV, once: what it leaves there every run of the same
  /// environment finds there. It does not see the code.
  std::string setup{};
  /// Build it anew, with the newest packages that fit; later runs use that one.
  bool refresh_environment = false;
  /// "low", "normal", "high": whose turn comes first where runs wait for the same machines; "": as
  /// its workflow's managing run, else normal. See docs/machines.md. Error `not_permitted`: high is
  /// for administrators.
  std::string priority{};
  /// What the run runs in instead of the machine's own system: an image of a registry ("debian:12",
  /// "docker://ghcr.io/x/y:1"), or one that a resource holds ("oci:uploads/x",
  /// "docker-archive:uploads/x.tar"). Unpacked once, then shared. See docs/environments.md.
  std::string image{};
  /// A file of the commit that names conda packages, relative to the working folder; it counts by
  /// its content. Needs micromamba, mamba or conda on the machine, or in the image.
  std::string conda_file{};
};

/// A layer of an environment: an image, or what was built of packages, or by a setup command.
struct EnvironmentLayer {
  std::string name{};                   ///< what made it, as a hash
  std::string method{};                 ///< "image", "apt", "conda", "pip", "setup"
  std::vector<std::string> packages{};  ///< what was installed: "sl=5.02-1+b1", "numpy==1.26.4"
};

/// What a run that goes on has finished writing, and is not safe yet.
struct RunBacklog {
  std::int64_t files = 0, bytes = 0;
  std::chrono::seconds age{};  ///< of the oldest of them
};

/// What the service reports of a run.
struct RunInfo {
  std::int64_t id = 0;
  RunStatus status{};
  std::string reason_code{}, reason{};  ///< why it waits, failed, was interrupted
  std::optional<int> user_exit_code{};  ///< of the command, as a shell reports it (128 + signal)
  std::optional<int> user_signal{};     ///< the signal that ended the command
  std::string command{}, description{}, creator{}, project{}, machine_type{}, machine{};
  std::vector<std::string> labels{};
  std::map<std::string, std::string> env{};
  std::string git_commit{}, git_base_commit{};  ///< base: what the snapshot commit was made from
                                                ///< ("" if it is no snapshot)
  std::string workspace{}, repository{}, github_url{}, folder{};
  std::vector<std::int64_t> after{};
  std::optional<std::chrono::seconds> timeout{};
  std::optional<Time> created_at{}, started_at{}, ended_at{};  ///< started_at: the command's start
  /// An interrupted run goes on as another, which has its predecessor's files: both are of one
  /// chain, which ends where its last run does.
  std::optional<std::int64_t> resumed_as_run{}, resumed_from_run{};
  std::int64_t log_bytes = 0;  ///< output stored so far
  std::int64_t output_files = 0, output_bytes = 0;
  std::string outputs{};  ///< SpellFS name of the saved tree; "" if nothing was saved
  bool archived = false;
  bool already_existed = false;  ///< the submission found this run instead of making it
  std::int64_t version = 0;      ///< grows with every change
  std::vector<Mount> mounts{};   ///< `at`: as the run sees it, absolute
  std::map<std::string, std::string> secrets{};  ///< variable -> name of a secret
  std::optional<std::int64_t> workflow{};        ///< whose run it is
  std::string key{};     ///< its name in that workflow; "": it was made without one
  bool manages = false;  ///< its program manages the workflow
  std::map<std::string, std::string> params{};  ///< what stands in the command for their names
  std::optional<bool> auto_resume{};            ///< as it was asked for; see RunSpec
  bool exclusive = false;                       ///< see RunSpec
  std::string notice_signal{};
  std::vector<std::string> append{};
  std::optional<RunBacklog>
      backlog{};  ///< of a run that goes on; none: its machine said nothing yet
  /// What an hour costs, as it was when the run got its machine, and what it has cost until now;
  /// none: not known, or it has no machine of its own yet.
  std::optional<Dollars> price{}, cost{};
  std::optional<Dollars> max_cost{};  ///< as it was asked for; see RunSpec
  std::vector<std::string> pip{};
  std::string requirements{}, setup{};          ///< see RunSpec
  std::vector<EnvironmentLayer> environment{};  ///< what it was given; none: nothing yet
  std::vector<std::string> apt{};
  std::string priority{};             ///< "low", "normal", "high": as it was asked for; see RunSpec
  std::string image{}, conda_file{};  ///< see RunSpec
};

enum class LogKind { output, status, system };

/// A piece of a run's log.
struct LogEntry {
  LogKind kind = LogKind::output;
  std::int64_t run = 0;
  RunStatus status{};  ///< the run's status when this was written
  Time time{};
  bool is_stderr = false;  ///< only with split_output
  bool important = false;
  std::string text{};  ///< one line without its newline; with LogOptions::raw bytes as they came
};
/// Writes the text.
std::ostream& operator<<(std::ostream&, const LogEntry&);

struct LogOptions {
  bool follow = false;                 ///< goes on until the chain has ended and all is read
  std::optional<std::int64_t> tail{};  ///< only the last N lines, of the chain's last run
  std::optional<LogKind> only{};       ///< only entries of this kind
  bool raw = false;                    ///< output in pieces as it comes, not cut into lines
  std::stop_token stop{};              ///< ends the stream with the error `canceled`
  /// Of the stream as a whole: then it ends with the error `timeout`; none: as long as it takes.
  std::optional<std::chrono::milliseconds> timeout{};
};

struct Checkpoint;  // spell/checkpoint.hpp

namespace detail {
class Connection;
}

/// A cheap, thread-safe handle on a run and on those that it goes on as when it is interrupted: its
/// chain. Waiting, reading and ending follow the chain from this run on; a run that is completed
/// after all, though it was given up as interrupted, is its chain's end. What acts on this run
/// alone says so.
class Run {
 public:
  std::int64_t id() const noexcept { return id_; }
  /// The state of this run, as the service knows it now.
  Result<RunInfo> info(CallOptions = {}) const;
  /// Waits for the end, whatever it is; `id` of the answer says which run of the chain it is.
  Result<RunInfo> wait(CallOptions = {}) const;
  /// Waits for `complete` with exit code 0; else the error `run_unsuccessful` with exit code or
  /// status, signal, reason and last log lines. An interruption is its end only if nothing goes on.
  Result<RunInfo> wait_success(CallOptions = {}) const;
  /// Waits until a run of the chain has one of these; returns the state that has. Error
  /// `wait_failed` as soon as that can no longer come: it has gone past all of them, or has ended.
  Result<RunInfo> wait_status(const std::vector<RunStatus>& any_of, CallOptions = {}) const;
  /// Waits until something changed since `info`, a state of any run of the chain, and returns the
  /// new one: after an interruption the first of the run that goes on. At once if the chain has
  /// ended.
  Result<RunInfo> wait_change(const RunInfo& info, CallOptions = {}) const;
  /// Reconnects by itself, without a gap or a double, when the service goes away. Of a chain one
  /// log after the other; `run` of an entry says whose it is.
  Stream<LogEntry> logs(LogOptions = {}) const;
  /// What the program has sent with send_metric(), in its order. Reconnects by itself, without a
  /// gap or a double. Of a chain the points of one run after those of the other.
  Stream<Metric> metrics(MetricOptions = {}) const;
  /// The names there are of this run, with the last point of each.
  Result<std::vector<MetricInfo>> metric_names(CallOptions = {}) const;
  /// Waits for a point of this name for which `op` (<, <=, >, >=, ==) holds; it is returned. NaN
  /// and text hold for nothing. Error `wait_failed` when the chain has ended without one.
  Result<Metric> wait_metric(std::string_view name, std::string_view op, double value,
                             CallOptions = {}) const;
  /// What is safe of its progress, by step, else by time; of a run that was resumed, all runs of
  /// its chain. `follow`: also what becomes safe, until the chain has ended. A checkpoint is safe
  /// when the run has saved it. Reconnects by itself.
  Stream<Checkpoint> checkpoints(bool follow = false, CallOptions = {}) const;
  /// Waits for the first. Error `wait_failed` when the chain has ended without one.
  Result<Checkpoint> wait_checkpoint(CallOptions = {}) const;
  /// Waits for one of a later step; where the names tell none, of a later time.
  Result<Checkpoint> wait_checkpoint(const Checkpoint& after, CallOptions = {}) const;
  /// "runs/9" or "runs/9/path", as `spell ls` and mounts take it: of the chain's last run, by now
  /// the one that finished. Asks the service; where it cannot tell, this run is named.
  std::string output(std::string_view path = "") const;
  /// Ends the command and saves its outputs; a run that is not yet running is killed. Nothing goes
  /// on afterwards. What is returned is of the run of the chain that was ended. Idempotent.
  Result<RunInfo> stop(CallOptions = {}) const;
  /// Ends the run at once; nothing is saved, and nothing goes on. Else as stop().
  Result<RunInfo> kill(CallOptions = {}) const;
  // This run alone, from here on.
  Result<RunInfo> archive(bool archived = true, CallOptions = {}) const;
  /// Deletes a final run for good, its log and outputs included.
  Result<> remove(CallOptions = {}) const;
  Result<RunInfo> label(const std::vector<std::string>& add,
                        const std::vector<std::string>& remove = {}, CallOptions = {}) const;
  /// Submits the same again, as a new run.
  Result<Run> rerun(CallOptions = {}) const;

  /// Starts a command inside the running run, given to the shell as the run's own was. Returns when
  /// it has been started. Errors: `run_not_running`, `not_permitted`, `machine_away`, …
  Result<Session> exec(const std::string& command, ExecOptions = {}, CallOptions = {}) const;
  /// Leads connections to a port here to `port` of the run's machine, as the run itself would reach
  /// it at localhost. Returns when it listens. Errors: `run_not_running`, `not_permitted`,
  /// `machine_away`, `port_in_use`, …
  Result<Forward> forward(int port, ForwardOptions = {}, CallOptions = {}) const;
  /// What the run uses, a sample an interval, until it ends; then the error `run_ended`. Errors
  /// also: `run_not_running`. Samples that are not taken are left out.
  Stream<RunStats> stats(StatsOptions = {}) const;

  /// For spell/asio.hpp.
  const std::shared_ptr<detail::Connection>& connection() const noexcept { return connection_; }

  Run() = default;
  Run(std::shared_ptr<detail::Connection> connection, std::int64_t id)
      : connection_(std::move(connection)), id_(id) {}

 private:
  std::shared_ptr<detail::Connection> connection_;
  std::int64_t id_ = 0;
};

}  // namespace spell
