// Worker protocol 1: what a worker and the service say to each other. JSON over POST
// /v1/machines/{name}/sync.
//
// The worker reports what it has, the service answers with numbered commands, repeated until `seen`
// covers them. Every report of a run carries its epoch (fencing token together with the
// incarnation); events are numbered per run and epoch, from 1, and may be sent again: the service
// takes each once. {name} of the route is the machine's id, which a rename leaves as it is.
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "model/mount.hpp"
#include "model/run.hpp"
#include "spell/machine.hpp"
#include "spell/result.hpp"

namespace spell::model {

inline constexpr int worker_protocol = 1;
inline constexpr int oldest_worker_protocol = 1;  ///< that this version still understands

/// An entry of the run's log that the worker writes; with a `status` it is also a step of the
/// life-cycle.
struct RunEvent {
  std::int64_t number = 0;
  std::string
      status{};  ///< "building", "mounting", "running", "saving", "pushing" or "": text only
  std::string text{};
  bool important = false;
  std::int64_t age_us = 0;      ///< how long ago, when this report is sent
  std::int64_t log_offset = 0;  ///< output bytes that come before it
  /// The run's reason from here on; its text is that of the event. "": there is none any more.
  std::optional<std::string> reason_code{};
};

/// How a run ended on its machine; sent when nothing more will come but what has been sent already
/// (log and outputs are durable).
struct RunResult {
  std::string
      status{};  ///< complete, failed, build_failed, mount_failed, interrupted, stopped, killed
  std::string reason_code{}, reason{};
  std::optional<int> exit_code{}, signal{};
  std::int64_t log_bytes = 0;
  std::string outputs{};  ///< SpellFS name of the saved tree, "" if nothing was saved
  std::int64_t output_files = 0, output_bytes = 0;
  std::int64_t ended_age_us = 0;  ///< how long ago the command ended
};

/// What of a run that goes on is safe: a tree of what its program has finished, which takes the
/// place of the one before.
struct RunBackup {
  std::string outputs{};  ///< SpellFS name
  std::int64_t files = 0, bytes = 0;
};

/// The machine is about to be taken away.
struct MachineNotice {
  std::string kind{};  ///< "aws", "gcp", "azure", "signal", "alone", "asked"; "withdrawn": it stays
  std::string text{};  ///< for people
  std::int64_t remaining_ms = 0;  ///< until it is, when this is sent
};

struct RunReport {
  std::string run{};  ///< id
  std::int64_t epoch = 0;
  std::vector<RunEvent> events{};
  std::optional<RunResult> result{};
  std::optional<RunBackup> backup{};
  std::optional<RunBacklog> backlog{};  ///< as it is now
};

/// What a worker says of its machine; sent with the first sync of a connection and when it changes.
struct WorkerHello {
  std::string version{}, boot_id{};
  int cores = 0;
  std::int64_t memory = 0, disk_free = 0;
  std::map<std::string, std::string> capabilities{};
  std::vector<std::string> shares{};  ///< "/data", "/scratch:rw": folders that runs may mount
  std::vector<std::string> notes{};   ///< what is degraded, and the remedy
  std::vector<GpuInfo> gpus{};
};

struct SyncRequest {
  int protocol = worker_protocol;
  std::string incarnation{};  ///< the one last seen; "": none yet
  std::int64_t seen = 0;      ///< number of the last command carried out or taken over
  std::int64_t wait_ms = 0;   ///< how long the service may wait for a command; 0: answer at once
  std::optional<WorkerHello> hello{};
  /// With hello: every run this worker has a folder of, finished ones included (epoch by id).
  std::map<std::string, std::int64_t> holds{};
  /// With hello: the highest run number that this worker has heard of, by owner. A service whose
  /// data was restored gives higher ones from then on.
  std::map<std::string, std::int64_t> numbers{};
  std::vector<RunReport> reports{};
  std::optional<MachineNotice> notice{};  ///< with each sync from the notice on; once: withdrawn
};

/// Everything a worker needs to carry out a run.
struct StartCommand {
  std::string run{};                   ///< id
  std::int64_t epoch = 0, number = 0;  ///< number: the run's, as users see it
  std::string owner{}, machine{};
  /// The run begins when fewer than so many are under way here; until then it waits, without a
  /// trace on disk. 0: at once.
  std::int64_t places = 0;
  RunRequest request{};
  std::string
      code_url{};  ///< file:///…: a bare repository that has request.code->commit; "": no code
  std::map<std::string, std::string> env{};  ///< SPELL_… variables of the service
  std::vector<ResolvedMount> mounts{};       ///< in the order of request.mounts
  /// Variable -> value, of request.secrets. For the run's environment only: never to be written to
  /// a disk or log. A worker that lost them gets its start again with its next hello.
  std::map<std::string, std::string> secrets{};
  /// What of the machine is this run's: cores and bytes (0: as it comes), and how many GPUs; which
  /// of them is the worker's choice.
  std::int64_t cpus = 0, memory = 0, gpus = 0;
  /// SpellFS name of what is put into /spell over the files of the commit: what an interrupted run
  /// had saved, which goes on as this one. Of what this run saves it is a part. "": nothing.
  std::string restore{};
  /// It manages a workflow: it takes no place, `secrets` hold its credentials, and it is shown the
  /// way to the service.
  bool manages = false;
  /// So long after it was taken over it is to have ended, with all that it saves: what is reserved
  /// for it pays for no more. 0: whenever it ends. A command "allowance" may say more later.
  std::int64_t allowance_ms = 0;
};

struct Command {
  std::int64_t number = 0;
  std::string type{};  ///< "start", "stop", "kill", "forget" (delete the run's folder),
                       ///< "open_stream" (dial GET /v1/machines/{machine}/streams/{stream}),
                       ///< "notice" (the machine will be taken away), "allowance" (the run may
                       ///< go on longer, or has an allowance now)
  std::string run{};
  std::int64_t epoch = 0;
  std::string reason_code{}, reason{};  ///< of stop and kill: who wants it ("user", "timeout")
  std::optional<StartCommand> start{};
  std::string stream{}, kind{};   ///< of open_stream: its id; "exec", "forward", "stats"
  std::int64_t remaining_ms = 0;  ///< of notice: until the machine goes
  std::int64_t allowance_ms = 0;  ///< of allowance: see StartCommand
};

struct SyncAnswer {
  std::string incarnation{};
  std::int64_t lease_ms = 75'000;  ///< poll again within a third of it
  std::vector<Command> commands{};
  /// Reports that the service refuses for good (unknown run, old epoch): id -> reason. The worker
  /// parks or forgets them.
  std::map<std::string, std::string> refused{};
  /// Seconds without a sign of life after which the runs here count as interrupted; 0: never.
  std::int64_t lost_after = 0;
};

/// Body of POST /v1/join, with a join token.
struct JoinRequest {
  int protocol = worker_protocol;
  std::string name{};        ///< as the machine calls itself; it counts where the token names none
  std::string version{};     ///< the worker's
  std::string public_key{};  ///< PEM, SubjectPublicKeyInfo: what its certificate is bound to; "":
                             ///< none, on a Unix socket
  WorkerHello hello{};
};

struct JoinAnswer {
  std::string machine{};      ///< its id: {machine} of the routes of its worker
  std::string name{};         ///< as people call it
  std::string token{};        ///< the worker's from now on; the earlier one is void
  std::string certificate{};  ///< PEM chain for public_key; "" without one
  std::string incarnation{};
  std::int64_t lost_after = 0;  ///< see SyncAnswer
};

/// What a worker says of its machine is kept and shown: error `invalid_request` where it is out of
/// all bounds.
Result<> check_hello(const WorkerHello&);

json to_json(const JoinRequest&);
Result<JoinRequest> parse_join_request(const json&);
json to_json(const JoinAnswer&);
Result<JoinAnswer> parse_join_answer(const json&);
json to_json(const WorkerHello&);
Result<WorkerHello> parse_worker_hello(const json&);

json to_json(const SyncRequest&);
Result<SyncRequest> parse_sync_request(const json&);
json to_json(const SyncAnswer&);
Result<SyncAnswer> parse_sync_answer(const json&);

}  // namespace spell::model
