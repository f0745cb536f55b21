// The control plane as a library: API, state, logs, storage, on a Unix socket, and for a team on
// TCP inside TLS. Threads: one or two for HTTP, the reactor, a timer, and a few for blocking work
// while there is some.
#pragma once
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "net/certificate.hpp"
#include "service/retention.hpp"
#include "spell/result.hpp"
#include "spellfs/store.hpp"

namespace spell::service {

/// A request that was answered, as the service's log has it. Its target is without the query.
struct RequestLine {
  std::string id{}, user{}, method{}, path{};
  int status = 0;
  std::chrono::microseconds took{};
  std::string code{}, message{};  ///< of an error
};

struct ServiceOptions {
  std::string state_folder;  ///< data; made if missing (0700)
  std::string spell_dir;     ///< as the user knows it, for `status`
  std::string socket_path;   ///< "": only dial() leads here, and `listen`
  std::string owner;         ///< the login name, or the team's; a team's service may have more
  std::string machine;       ///< name of the embedded worker's machine; "": there is none
  int places = 2;            ///< of that machine, for type CPU
  int managing = 50;         ///< managing runs of workflows that each machine carries
  /// Of a personal service: another socket, alone in its folder, on which nothing but workflows'
  /// credentials counts; "": none.
  std::string workflow_socket{};
  std::vector<std::string> notes;  ///< what is degraded, and the remedy
  std::string sdk{};       ///< folder of the SDK that builds of programs use; see service/sdk.hpp
  std::string packages{};  ///< folder of the Debian packages that /install/ hands out; "": none
  std::string pools{};     ///< folder of the programs of pools that come along; "": none do
  std::string worker_program{};          ///< a spell-worker, for pools on this computer
  std::chrono::seconds pool_check{300};  ///< so often what pools list is compared
  std::int64_t idle_seconds =
      600;  ///< ends by itself after so long without anything to do; 0: never
  std::function<bool()> worker_idle;  ///< whether the embedded worker has nothing left to do
  /// What is wrong in the caches of the service's own worker, a line each: may block for long.
  std::function<std::vector<std::string>()> check_caches{};
  std::function<void()> give_up_caches{};  ///< the disk is full: may block, on a thread of its own
  std::function<void(const std::string& line)>
      log;  ///< one JSON object a line, without newline; thread-safe

  enum class Kind {
    personal,  ///< whoever reaches the socket as its own user is its administrator
    team,      ///< users with tokens; besides listens on TCP
  } kind = Kind::personal;
  std::string listen{};       ///< of a team: "HOST:PORT"; PORT 0: any
  std::string host{};         ///< of a team: the name or address by which others reach it
  net::Identity identity{};   ///< of a team: what `listen` shows
  net::Identity authority{};  ///< of a team: what its machines' certificates are issued under
  /// Requests that changed something or failed, of all but workers; thread-safe.
  std::function<void(const RequestLine&)> log_request{};
  int keep_free = 0;  ///< percent of the disk; with less no new runs are taken
  Retention retention{};
  /// Bytes that environments may take, each reckoned alone; then those that were not used for the
  /// longest go. 0: a tenth of the disk.
  std::int64_t environments = 0;
};

class Service {
 public:
  struct Impl;
  /// Opens the data and serves. Errors: `newer_data`, `damaged`, `disk_full`, `io_error`.
  static Result<std::unique_ptr<Service>> start(const ServiceOptions&);
  ~Service();
  /// What it keeps, for the embedded worker to read.
  const spellfs::ChunkStore& objects() const;
  /// The secret that the embedded worker shows. Made anew at each start, never stored.
  const std::string& machine_token() const;
  /// A connection to it, without any address: who has it is this process's user. Not after stop().
  Result<base::Fd> dial();
  /// As others reach it: "https://HOST:PORT", "unix:PATH"; and the fingerprint of the authority to
  /// be trusted there, "": none.
  std::string url() const;
  std::string fingerprint() const;
  /// Of a team: where `listen` really listens.
  int port() const;
  /// Connections that begin from now on are shown this one. Error `invalid_certificate`: nothing
  /// has changed.
  Result<> set_identity(const net::Identity&);
  /// Blocks until somebody asked the service to end: a client, stop(), or idleness. Returns the
  /// reason.
  std::string wait();
  /// Makes wait() return. Any thread; safe after the end.
  void request_stop(const std::string& reason);
  /// Ends all threads; what was answered is durable. Called by the destructor too.
  void stop();

 private:
  explicit Service(std::unique_ptr<Impl>);
  std::unique_ptr<Impl> impl_;
};

}  // namespace spell::service
