// Running one command under spell-supervisor: start it, find it again after a crash, follow it, end
// it. The folder of a run on its machine (Launch::folder) holds: `spool` (Log v1 frames), `lock`
// (held by the supervisor while it lives), `sock` (its control socket, while it lives), `spell/`
// (seen by the run as /spell), `tmp/` (its TMPDIR). What to run goes to the supervisor by an
// anonymous file, since it may hold secrets. A folder serves one run. The supervisor adds
// SPELL_ROOT and TMPDIR to the environment, as they are under the fence that the run really got
// (/spell and /spell-tmp, else the real paths), unless the caller names them. A fence that cannot
// be had is replaced by the next weaker one, and State::containment says why. One of root's runs is
// root: it lost the capabilities that undo a fence, but can write a disk's device. On `best_effort`
// nothing is hidden and processes are hunted down one by one; those that changed their user may
// escape. Blocking calls are short; one Supervised is used by one thread at a time.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "exec/limits.hpp"
#include "exec/scope.hpp"
#include "spell/result.hpp"

namespace spell::exec {

/// How well a run is fenced in on this machine.
enum class Containment { namespaces, user_namespaces, best_effort };
const char* name_of(Containment);

struct Capabilities {
  Containment containment = Containment::best_effort;
  std::string remedy{};       ///< why not more, and what would help; "" if nothing is missing
  bool overlays = false;      ///< MountSpec::upper can be used in folders beside the scratch folder
  std::string no_overlays{};  ///< why not
  bool packages = false;      ///< SystemSpec::upper can be used likewise: it takes root, too
  std::string no_packages{};  ///< why not
};
/// Tries it by doing it (tiny runs in `scratch_folder`); about 20 ms. With a `user` as runs of that
/// user (Launch::user); error `no_isolation` with the reason if those are not to be had.
Result<Capabilities> probe(const std::string& supervisor, const std::string& scratch_folder,
                           std::uint32_t user = 0);

/// `spell-supervisor`: `option` if not empty, $SPELL_LIBEXEC, beside the running program,
/// ../libexec/PROGRAM beside it (each Debian package has its own), ../libexec/spell.
Result<std::string> find_supervisor(const std::string& option);

/// A folder or file of the host as it is, owners and modes included.
struct BindSpec {
  std::string from{}, to{};  ///< to: absolute path in the run
  bool read_only = false;
};

/// Data that a run may use and not change. What it writes goes to `upper` (an overlay, which needs
/// `work` beside it), or is refused where that is "".
struct MountSpec {
  std::string from{};           ///< folder or file on the host
  std::string upper{}, work{};  ///< empty folders on one file system
  std::string to{};             ///< absolute path in the run; made there where the host has it not
};

/// Packages over the host's own system, for fences with a run root: `layer` is a folder whose
/// folders (usr, etc, …) are laid over those of the same names at "/", and all of them are to be
/// read only. Or, for a build of one by root, what is changed in these folders goes to `upper`,
/// which needs `work` beside it: nothing else of the host is there then, and no device but the
/// harmless ones.
struct SystemSpec {
  std::string layer{}, upper{}, work{};
};

/// An image's folders in place of the host's system, for fences with a run root: `lower`, the first
/// on top of the others. What is changed there goes to `upper`, which needs `work` beside it. Of
/// the host there are its devices, and how it resolves names. `build`: packages are installed
/// there, by root: no device but the harmless ones then.
struct RootSpec {
  std::vector<std::string> lower{};
  std::string upper{}, work{};
  bool build = false;
};

struct Launch {
  std::string run_id{};      ///< 32 hex digits
  std::string supervisor{};  ///< program
  std::string folder{};      ///< of this run; exists, with spell/ and tmp/ in it
  Containment containment = Containment::namespaces;
  std::string command{};           ///< run by bash -c, else sh -c
  std::vector<std::string> env{};  ///< NAME=VALUE, complete
  std::string working_folder{};    ///< relative to /spell; a folder that does not exist: the run
                                   ///< fails to start, code `no_such_folder`
  /// uid and gid of the command, which it shares with nobody; 0: as this process. Takes root and
  /// Containment::namespaces, for which no weaker fence is taken then (error code `no_isolation`).
  /// The run's files stay root's on disk. Of the host it sees the system's folders alone; /tmp,
  /// /var/tmp and /dev/shm are its own.
  std::uint32_t user = 0;
  std::vector<std::string> hidden{};  ///< folders that the run must not see ($SPELL_DIR, where the
                                      ///< sockets are); an empty read-only one is over them
  std::vector<BindSpec> binds{};
  std::vector<MountSpec> mounts{};  ///< for fences with a run root; inner ones after outer ones
  SystemSpec system{};
  RootSpec root{};  ///< not with a SystemSpec
  /// (target, absolute path in the run): symbolic links in the run root's own top, which is
  /// read-only; for fences with a run root.
  std::vector<std::pair<std::string, std::string>> links{};
  std::int64_t log_limit =
      10LL << 30;  ///< output bytes; then the supervisor stops reading, the command waits
  std::int64_t log_wait_s = 600;  ///< …and is stopped after so long
  std::int64_t stop_grace_s =
      30;  ///< the time of a sleeping computer does not count, as for log_wait_s
  std::int64_t timeout_s =
      0;  ///< from the command's start, sleep included; 0: none. Then as stop(), reason `timeout`
  /// CLOCK_BOOTTIME: then the tree is killed, reason `lease_expired`, unless renew() has come
  /// before; 0: never.
  std::int64_t lease_until_us = 0;
  /// CLOCK_BOOTTIME: then as stop(), reason `allowance`, unless allow() has come before; 0: never.
  std::int64_t allowed_until_us = 0;
  bool split_output = false;          ///< two pipes; stderr frames carry frame_stderr
  std::vector<std::string> masks{};   ///< values that become `***` in the output, 4 bytes or more
  std::vector<std::string> revive{};  ///< argv that brings the service back; run when it has been
                                      ///< away at the command's end, or for 10 s
  std::string
      service_lock{};  ///< file that a living service holds locked (flock); "": never revive
  Scope scope{};       ///< for supervisor and command; where it is refused they stay in this
                       ///< process's unit, see Supervised::in_scope()
  Limits limits{};     ///< of all its processes, guests included; where they cannot be had it has
                       ///< none, see Supervised::not_limited()
};

struct Exit {
  std::optional<int> code{};  ///< as a shell reports it: 128 + signal if a signal ended it; 126/127
                              ///< if it could not be run
  std::optional<int> signal{};
  std::string ended_by{};  ///< "": by itself; the reason of stop() or kill(); "timeout",
                           ///< "log_limit", "lease_expired", "allowance"; "shutdown": SIGTERM to
                           ///< the supervisor; "memory": more of it than its limit;
                           ///< "machine_memory": there was none left here
  std::string error_code{},
      error{};               ///< the command was never started (no_such_folder, mount_failed, …)
  std::int64_t time_us = 0;  ///< CLOCK_BOOTTIME
  /// Likewise: when its end was asked for first, and when the command was started; 0: it was not,
  /// or that is not known (an older supervisor).
  std::int64_t stopped_us = 0, started_us = 0;
};

struct State {
  enum class Phase {
    starting,
    running,
    ended,
    supervisor_lost,
    host_rebooted
  } phase = Phase::starting;
  std::int64_t started_us = 0;    ///< CLOCK_BOOTTIME of the command's start; 0: not yet
  std::int64_t spool_end = 0;     ///< bytes of the spool that are whole frames now
  std::int64_t output_bytes = 0;  ///< payload bytes of output in them
  bool log_full = false;          ///< the command waits for log space
  bool command_ended = false;     ///< what it left of its tree is being ended
  std::optional<Exit> exit{};     ///< when ended: everything is in the spool, the tree is gone
  std::string containment{};      ///< what it really got, with the reason if it is less than asked
};

class Supervised {
 public:
  struct Impl;
  /// Writes the spec and starts the supervisor (posix_spawn), a child of this process that outlives
  /// it. Returns as soon as it stands; failures of the command's start come as its exit.
  static Result<Supervised> start(const Launch&);
  /// Whether the scope that start() was asked for was made.
  bool in_scope() const;
  /// What of the limits that start() was asked for there is not, and why; "": all of them are.
  const std::string& not_limited() const;
  /// Finds a supervisor again by its folder, or what it left behind. Error `not_found`: there never
  /// was one.
  static Result<Supervised> attach(const std::string& folder);

  /// Readable (poll/epoll) when state() may have changed. Edge: call state() after each wake-up. -1
  /// when it has ended.
  int event_fd() const;
  /// Which connection event_fd() is, counted from 1; 0 when it has ended. A later one often has the
  /// number of a descriptor that is closed.
  int connections() const;
  /// What is known now; drains event_fd.
  Result<State> state();
  /// The way to the supervisor, for a Guest: a copy of the connection. It hangs up (POLLHUP) when
  /// the run is over. Error `run_not_running`.
  Result<base::Fd> connection() const;
  /// SIGTERM to the command's process group, SIGKILL to the tree after the grace. Idempotent.
  /// `reason`, at most 48 bytes, becomes Exit::ended_by: that of the first stop, or of a kill that
  /// came after it.
  Result<> stop(const std::string& reason = "stop");
  Result<> kill(const std::string& reason = "kill");
  /// See Launch::lease_until_us. A lease that is over stays over, and there is none where it began
  /// without.
  Result<> renew(std::int64_t until_us);
  /// See Launch::allowed_until_us; also where it began without. A supervisor that is older than
  /// this takes no notice of it.
  Result<> allow(std::int64_t until_us);
  /// To the command's process group, once it runs. A supervisor that is older than this takes no
  /// notice of it.
  Result<> signal(int number);

  explicit Supervised(std::unique_ptr<Impl>);
  Supervised(Supervised&&) noexcept;
  Supervised& operator=(Supervised&&) noexcept;
  ~Supervised();

 private:
  std::unique_ptr<Impl> impl_;
};

/// Whether the run in this folder was begun before this computer started last: what it has written
/// and not synced since may be lost.
bool is_of_earlier_boot(const std::string& folder);

/// When the run's supervisor wrote last, of the time of day: its last word is that of the end. 0:
/// it never did.
std::int64_t spool_written_ns(const std::string& folder);

/// Whether the command of the run in this folder is alive: its supervisor is asked anew. False too
/// where it does not answer.
bool command_lives(const std::string& folder);

/// Halts all processes of the run in this folder, those that were let in too: none of them does
/// anything any more until the run is ended. What one of them has asked of the kernel just now may
/// still be finished. Errors: `run_not_running`; `not_permitted`, where one of them may not be
/// halted.
Result<> freeze(const std::string& folder);

}  // namespace spell::exec
