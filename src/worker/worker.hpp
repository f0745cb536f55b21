// The worker: carries out runs on this machine and reports to the service, over HTTP only.
// It owns the run folders below its own folder; the supervisors own the commands, so that this
// process may end, crash or be replaced at any moment: a new worker reads the folders, finds the
// supervisors again and goes on. It must not decide what runs where, nor read the service's store.
//
// Threads: one long poll for commands; one event loop, the only user of Agent and of the
// supervisors; small pools, there only while there is work, for what blocks (checkout, start, save;
// log and report requests).
#pragma once
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "model/worker_protocol.hpp"
#include "net/client.hpp"
#include "net/proxy.hpp"
#include "net/tls.hpp"
#include "spell/result.hpp"
#include "spellfs/store.hpp"

namespace spell::worker {

/// A run that is not here any more: the service has its end, or wants nothing of it.
struct LeftRun {
  std::string owner{};
  std::int64_t number = 0;
  std::optional<model::RunResult> result{};
  bool wanted = false;  ///< the service has taken the result from here
};

struct WorkerOptions {
  std::string endpoint{};    ///< the service: "unix:PATH", "https://HOST:PORT"
  net::Dial dial{};          ///< instead: gives connections; `endpoint` is a name then
  std::string token{};       ///< spm_…; sent as Authorization: Bearer
  net::Trust trust{};        ///< of an https endpoint
  net::Identity identity{};  ///< what is shown to it
  net::Proxy proxy{};        ///< on the way there
  /// Where runs that manage a workflow find the service, and its authority's fingerprint; "": where
  /// this worker does.
  std::string service_url{}, service_fingerprint{};
  /// Instead: a socket for them alone, in a folder with nothing else, which they see as
  /// /spell-service; of a service that runs are kept from.
  std::string workflow_socket{};
  std::string id{};                   ///< this machine's, as the routes name it; "": `machine`
  std::string machine{};              ///< this machine's name
  std::string folder{};               ///< the worker's own: runs/<id>/…, incoming/, trees/, code/
  std::string supervisor{};           ///< program; "": see exec::find_supervisor
  std::vector<std::string> hidden{};  ///< folders that runs must not see
  std::vector<std::string> revive{};  ///< argv that brings the service back
  std::string service_lock{};         ///< file that a living service holds locked
  bool embedded = true;               ///< part of the personal service
  std::vector<std::string> base_environment{};  ///< PATH HOME USER SHELL LANG TZ as this machine
                                                ///< defines them: NAME=VALUE
  int cores = 0;                                ///< offered; 0: those that this process may use
  std::string version{};                        ///< of the product, for the service to show
  /// Where what runs mount comes from, for as long as the worker lives; none: the service is asked.
  /// The embedded worker reads the service's own store.
  const spellfs::ObjectSource* source = nullptr;
  /// Bytes of trees that are kept to be mounted again; 0: a fifth of the disk. Code may take a
  /// tenth of that.
  std::int64_t cache_limit = 0;
  /// Bytes a second that the backups of all runs here read together; 0: 250 MB.
  std::int64_t backup_rate = 0;
  /// "FROM-TO": as root each run gets a user of its own from this range of ids; "": runs are this
  /// process's user. Where it cannot be had, the machine says so: `isolation: none`.
  std::string run_users{};
  /// "/data", "/scratch:rw": what runs may mount of this machine.
  std::vector<std::string> shares{};
  bool scopes = false;       ///< each run becomes a scope of systemd, see exec::can_make_scopes()
  std::string nvidia_smi{};  ///< program that lists the GPUs; "": looked for
  std::string cdi{};         ///< folder of device specifications; "": the usual ones
  /// Who is asked whether this machine is about to be taken away: "aws", "gcp", "azure", "none", or
  /// "auto"; and where, instead of the cloud's own address: "http://HOST:PORT".
  std::string notice = "none", metadata_url{};
  /// Called from any thread when a machine that goes has nothing any more that the service has not
  /// heard the end of; see notice_alone for one that nobody hears.
  std::function<void()> ready_to_go{};
  /// Called from any thread when the service has been met, and with why it cannot be reached:
  /// again only when that changes.
  std::function<void(const Result<>&)> connection{};
  /// It takes no runs and needs no supervisor: what is here of a machine that is dead is delivered.
  /// Error `in_use` at the start: a run goes on here.
  bool only_delivers = false;
  /// Called from any thread, for each run that leaves, and when none is here any more.
  std::function<void(const LeftRun&)> left{};
  std::function<void()> emptied{};
  /// Called from any thread with one line for the service's own log.
  std::function<void(const std::string& line)> log{};
};

/// The caches in the folder of a worker that does not run: see Worker::check_caches().
Result<std::vector<std::string>> check_caches_at_rest(const std::string& folder);

class Worker {
 public:
  /// Reads the run folders, finds living supervisors again, and begins to poll. The service need
  /// not be there yet.
  static Result<std::unique_ptr<Worker>> start(const WorkerOptions&);
  /// Ends the threads. Runs go on under their supervisors; a later worker takes them over.
  void stop();
  /// No run in its folders, so nothing that the service still has to hear of. Any thread.
  bool idle() const;
  /// The machine will be taken away in so long: its runs are told, and end. `kind`: see
  /// model::MachineNotice. Any thread.
  void notice(const std::string& kind, const std::string& text, std::chrono::milliseconds in);
  /// The disk is full: what is kept only to be quicker, and not in use, goes. Blocks; any thread.
  void make_room();
  /// Reads all of the caches; what is wrong goes, to be made anew. A line each. Blocks; any thread.
  std::vector<std::string> check_caches();
  ~Worker();

 private:
  struct Impl;
  explicit Worker(std::unique_ptr<Impl>);
  std::unique_ptr<Impl> impl_;
};

}  // namespace spell::worker
