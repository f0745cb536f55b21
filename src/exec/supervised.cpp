#include "exec/supervised.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <mutex>
#include <utility>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/fd.hpp"
#include "exec/spec.hpp"
#include "exec/spool.hpp"
#include "proc/spawn.hpp"
#include "supervisor/protocol.hpp"

namespace spell::exec {

using supervisor::Field;
using supervisor::FieldReader;
using supervisor::number_of;

const char* name_of(Containment c) {
  switch (c) {
    case Containment::namespaces:
      return "namespaces";
    case Containment::user_namespaces:
      return "user_namespaces";
    case Containment::best_effort:
      break;
  }
  return "best_effort";
}

namespace {

/// Supervisors that this process has started, and of which nobody waits for the end any more: they
/// leave no zombie while it goes on.
class Children {
 public:
  static void leave(pid_t child) {
    std::lock_guard lock(mutex);
    if (child > 0) left.push_back(child);
    std::erase_if(left, [](pid_t pid) { return ::waitpid(pid, nullptr, WNOHANG) != 0; });
  }
  /// The exit status of one that has ended; 0 where the embedding program lets the kernel reap.
  static int reap(pid_t child) {
    int status = 0;
    pid_t gone;
    do gone = ::waitpid(child, &status, 0);
    while (gone < 0 && errno == EINTR);
    return gone == child ? status : 0;
  }

 private:
  static inline std::mutex mutex;
  static inline std::vector<pid_t> left;
};

}  // namespace

struct Supervised::Impl {
  std::string folder;
  base::Fd socket;
  State now;
  int connections = 0;
  bool over = false;
  bool stopping = false;  ///< its end was asked for
  pid_t child = 0;        ///< the supervisor, where this object started it and has not seen its end
  bool scoped = false;
  std::string not_limited;

  ~Impl() { Children::leave(child); }
  Result<> connect();
  Result<> send(std::string_view what, std::string_view key, std::string_view value);
  void take_state(std::string_view packet);
  Result<> resolve();
};

namespace {

constexpr int attach_wait_ms = 2000;

Result<std::string> spec_of(const Launch& launch, const std::vector<std::string>& groups = {}) {
  SpecWriter spec;
  spec.put("run", launch.run_id);
  spec.put("containment", static_cast<std::int64_t>(launch.containment));
  spec.put("command", launch.command);
  spec.put("working_folder", launch.working_folder);
  spec.put("log_limit", launch.log_limit);
  spec.put("log_wait_s", launch.log_wait_s);
  spec.put("stop_grace_s", launch.stop_grace_s);
  spec.put("timeout_s", launch.timeout_s);
  spec.put("split_output", launch.split_output ? 1 : 0);
  spec.put("service_lock", launch.service_lock);
  if (launch.user != 0) spec.put("user", launch.user);
  if (launch.lease_until_us > 0) spec.put("lease_until_us", launch.lease_until_us);
  if (launch.allowed_until_us > 0) spec.put("allowed_until_us", launch.allowed_until_us);
  for (auto& entry : launch.env) spec.put("env", entry);
  for (auto& value : launch.masks) spec.put("mask", value);
  for (auto& path : launch.hidden) spec.put("hidden", path);
  for (auto& word : launch.revive) spec.put("revive", word);
  for (auto& folder : groups) spec.put("group", folder);
  for (auto& bind : launch.binds) {
    spec.put(bind.read_only ? "bind_from_read_only" : "bind_from", bind.from);
    spec.put("bind_to", bind.to);
  }
  for (auto& mount : launch.mounts) {
    spec.put("mount_from", mount.from);
    spec.put("mount_upper", mount.upper);
    spec.put("mount_work", mount.work);
    spec.put("mount_to", mount.to);
  }
  if (!launch.system.layer.empty()) spec.put("system_layer", launch.system.layer);
  if (!launch.system.upper.empty()) {
    spec.put("system_upper", launch.system.upper);
    spec.put("system_work", launch.system.work);
  }
  for (auto& path : launch.root.lower) spec.put("root_lower", path);
  if (!launch.root.upper.empty()) {
    spec.put(launch.root.build ? "root_build_upper" : "root_upper", launch.root.upper);
    spec.put("root_work", launch.root.work);
  }
  for (auto& [target, at] : launch.links) {
    spec.put("link_to", target);
    spec.put("link_at", at);
  }
  return std::move(spec).finish();
}

std::vector<std::string> own_environment() {
  std::vector<std::string> out;
  for (char** entry = environ; entry && *entry; ++entry) out.emplace_back(*entry);
  return out;
}

/// Waits for a supervisor's next step: once it listens it writes its lock file anew, and it lets go
/// of that before it ends.
class Change {
 public:
  static Result<Change> of(const std::string& folder, const LockFile& lock) {
    Change out;
    out.folder_ = base::Fd(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
    if (!out.folder_ || ::inotify_add_watch(out.folder_.get(), folder.c_str(),
                                            IN_CREATE | IN_MODIFY | IN_CLOSE_WRITE) < 0)
      return base::errno_error("watch the folder " + folder);
    out.look_at(lock);
    return out;
  }
  /// False: nothing happened for too long.
  bool wait(const LockFile& lock) {
    look_at(lock);
    pollfd files[] = {{folder_.get(), POLLIN, 0}, {process_.get(), POLLIN, 0}};
    auto left = std::chrono::ceil<std::chrono::milliseconds>(until_ - Clock::now()).count();
    if (left <= 0 || ::poll(files, 2, static_cast<int>(left)) <= 0)
      return left > 0 && errno == EINTR;
    char events[4096];
    while (::read(folder_.get(), events, sizeof events) > 0) {
    }
    return true;
  }

 private:
  void look_at(const LockFile& lock) {
    if (!process_ && lock.pid > 0)
      process_ = base::Fd(static_cast<int>(::syscall(SYS_pidfd_open, lock.pid, 0)));
  }

  using Clock = std::chrono::steady_clock;
  base::Fd folder_, process_;
  Clock::time_point until_ = Clock::now() + std::chrono::milliseconds(attach_wait_ms);
};

Error start_error(const Launch& launch, int status) {
  switch (WIFEXITED(status) ? static_cast<supervisor::Start>(WEXITSTATUS(status))
                            : supervisor::Start::system) {
    case supervisor::Start::bad_spec:
      return base::error("supervisor_version",
                         launch.supervisor +
                             " does not know this version's run spec; install both from one build");
    case supervisor::Start::bad_folder:
      return base::error("not_permitted", "cannot use the run folder " + launch.folder);
    case supervisor::Start::locked:
      return base::error("in_use", "a supervisor already runs in " + launch.folder);
    case supervisor::Start::used_folder:
      return base::error("in_use", launch.folder + " already has the spool of a run");
    case supervisor::Start::no_space:
      return base::error("disk_full", "no space for the run folder " + launch.folder);
    default:
      return base::error("supervisor_failed",
                         launch.supervisor + " could not start in " + launch.folder);
  }
}

}  // namespace

Result<> Supervised::Impl::connect() {
  auto made = connect_supervisor(folder);
  if (!made) return made.error();
  socket = std::move(*made);
  ++connections;
  return ok();
}

void Supervised::Impl::take_state(std::string_view packet) {
  Field field;
  std::string level, reason;
  for (FieldReader reader(packet.data(), packet.size()); reader.next(field);) {
    if (field.key == "started_us") now.started_us = number_of(field.value, 0);
    if (field.key == "spool_end") now.spool_end = number_of(field.value, 0);
    if (field.key == "output_bytes") now.output_bytes = number_of(field.value, 0);
    if (field.key == "log_full") now.log_full = field.value == "1";
    if (field.key == "command_ended") now.command_ended = field.value == "1";
    if (field.key == "stopping") stopping = field.value == "1";
    if (field.key == "level") level = field.value;
    if (field.key == "containment") reason = field.value;
  }
  now.containment = reason.empty() || level.empty() ? level : level + ": " + reason;
  now.phase = now.started_us ? State::Phase::running : State::Phase::starting;
}

/// The connection is gone, or never was: finds out from the folder what became of the run.
Result<> Supervised::Impl::resolve() {
  socket.reset();
  std::optional<Change> change;
  for (;;) {
    auto lock = read_lock(folder);
    if (!lock) return lock.error();
    SpoolView known;
    known.end = now.spool_end;
    known.output_bytes = now.output_bytes;
    auto spool = read_spool(folder, known);
    if (!spool && spool.error().code() != "not_found") return spool.error();
    if (spool && !lock->held) {
      now.spool_end = spool->end;
      now.output_bytes = spool->output_bytes;
    }
    if (spool && spool->exit) {
      now.spool_end = spool->end;
      now.output_bytes = spool->output_bytes;
      now.started_us = spool->started_us;
      now.containment = spool->containment;
      now.exit = spool->exit;
      now.phase = State::Phase::ended;
    } else if (!lock->held) {
      // An empty lock file is one whose content the loss of power took.
      bool same_boot = lock->boot == base::boot_id();
      now.phase = same_boot ? State::Phase::supervisor_lost : State::Phase::host_rebooted;
      if (same_boot) {
        await_end_of_tree(*lock);
        remove_groups(folder);
      }
    } else {
      if (connect()) return ok();
      // It is about to listen, or about to be gone.
      if (!change) {
        auto made = Change::of(folder, *lock);
        if (!made) return made.error();
        change = std::move(*made);
        continue;
      }
      if (change->wait(*lock)) continue;
      return base::error("supervisor_unreachable",
                         "the supervisor in " + folder + " does not answer");
    }
    now.log_full = false;
    over = true;
    // It has let go of everything, or is just being ended by the kernel.
    if (child > 0) Children::reap(std::exchange(child, 0));
    return ok();
  }
}

Result<> Supervised::Impl::send(std::string_view what, std::string_view key,
                                std::string_view value) {
  if (over) return ok();
  supervisor::FieldWriter<supervisor::packet_limit> packet;
  packet.put("do", what);
  packet.put(key, value.substr(0, 48));
  if (::send(socket.get(), packet.data(), packet.size(), MSG_NOSIGNAL) >= 0) return ok();
  if (errno == EPIPE || errno == ECONNRESET ||
      errno == ENOTCONN) {  // it has ended, as was wanted; or is to be found again
    SPELL_TRY(resolve());
    if (over || ::send(socket.get(), packet.data(), packet.size(), MSG_NOSIGNAL) >= 0) return ok();
  }
  return base::errno_error("reach the supervisor in " + folder);
}

namespace {

/// What came of a supervisor: it stands (`status` 0), or has ended with that.
struct Outcome {
  std::unique_ptr<Supervised::Impl> impl;
  int status = 0;
};

/// Writes what a supervisor reads until its end; one that has ended meanwhile says why itself.
void tell(const base::Fd& where, std::string_view text) {
  while (!text.empty()) {
    ssize_t n = ::send(where.get(), text.data(), text.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;
    text.remove_prefix(static_cast<std::size_t>(n));
  }
}

/// The spec of a run whose limits are those that can be had below the groups of `process`.
Result<std::string> limit(const Launch& launch, pid_t process, GroupsMade& groups) {
  auto places = find_groups("/proc/" + std::to_string(process));
  bool moves = process != ::getpid() || places.memory.top;
  groups = make_groups(places, "spell-run-" + launch.run_id, launch.limits, launch.folder,
                       moves ? process : 0);
  return spec_of(launch, groups.folders);
}

Result<Outcome> stand(const Launch& launch) {
  auto spec = spec_of(launch);
  if (!spec) return spec.error();
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0)
    return base::errno_error("make a socket");
  base::Fd ours(ends[0]), theirs(ends[1]);

  GroupsMade groups;
  // In a scope: it waits for its spec until it is there, so that all that it starts is there too.
  bool scoped = !launch.scope.name.empty();
  base::Fd input, gate;
  if (scoped) {
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
      return base::errno_error("make a socket");
    gate = base::Fd(ends[0]);
    input = base::Fd(ends[1]);
  } else {
    if (launch.limits.any()) spec = limit(launch, ::getpid(), groups);
    if (!spec) return spec.error();
    auto file = file_with(*spec);
    if (!file) return file.error();
    input = std::move(*file);
  }

  proc::SpawnOptions options;
  options.arguments = {launch.supervisor, launch.folder};
  options.environment = own_environment();  // for the service that it may have to bring back
  options.descriptors = {{input.get(), 0}, {theirs.get(), supervisor::client_descriptor}};
  options.new_session = true;
  auto child = proc::spawn(options);
  if (!child) return child.error();
  theirs.reset();
  input.reset();
  auto impl = std::make_unique<Supervised::Impl>();
  impl->child = *child;
  if (scoped) {
    auto scope = launch.scope;
    scope.delegated = launch.limits.any();
    impl->scoped = put_in_scope(scope, *child).ok();
    if (launch.limits.any())
      if (auto limited = limit(launch, *child, groups)) spec = std::move(limited);
    tell(gate, *spec);
    gate.reset();
  }
  // Its first word is that it stands.
  char packet[supervisor::packet_limit];
  ssize_t n;
  do {
    pollfd file{ours.get(), POLLIN, 0};
    ::poll(&file, 1, -1);
    n = ::recv(ours.get(), packet, sizeof packet, MSG_DONTWAIT);
  } while (n < 0 && (errno == EINTR || errno == EAGAIN));
  if (n > 0)
    impl->take_state({packet, static_cast<std::size_t>(n)});
  else if (int status = Children::reap(std::exchange(impl->child, 0)); status != 0) {
    for (auto& folder : groups.folders) ::rmdir(folder.c_str());
    return Outcome{nullptr, status};
  }

  impl->folder = launch.folder;
  impl->not_limited = not_limited(groups);
  impl->socket = std::move(ours);
  impl->connections = 1;
  return Outcome{std::move(impl)};
}

}  // namespace

Result<Supervised> Supervised::start(const Launch& launch) {
  auto outcome = stand(launch);
  if (!outcome) return outcome.error();
  if (!outcome->impl) return start_error(launch, outcome->status);
  return Supervised(std::move(outcome->impl));
}

bool Supervised::in_scope() const { return impl_->scoped; }
const std::string& Supervised::not_limited() const { return impl_->not_limited; }

Result<Supervised> Supervised::attach(const std::string& folder) {
  auto impl = std::make_unique<Impl>();
  impl->folder = folder;
  SPELL_TRY(impl->resolve());
  if (!impl->over) {  // the first packet says where it stands
    pollfd file{impl->socket.get(), POLLIN, 0};
    ::poll(&file, 1, attach_wait_ms);
  }
  return Supervised(std::move(impl));
}

bool is_of_earlier_boot(const std::string& folder) {
  auto lock = read_lock(folder);
  return lock && !lock->held && lock->boot != base::boot_id();
}

std::int64_t spool_written_ns(const std::string& folder) {
  struct stat st;
  if (::stat((folder + "/spool").c_str(), &st) != 0) return 0;
  return st.st_mtim.tv_sec * 1'000'000'000 + st.st_mtim.tv_nsec;
}

bool command_lives(const std::string& folder) {
  Supervised::Impl run;
  run.folder = folder;
  if (!run.resolve() || run.over) return false;
  pollfd file{run.socket.get(), POLLIN, 0};
  char packet[supervisor::packet_limit];
  // The first packet says where it stands.
  if (::poll(&file, 1, attach_wait_ms) <= 0) return false;
  ssize_t n = ::recv(run.socket.get(), packet, sizeof packet, MSG_DONTWAIT);
  if (n <= 0) return false;
  run.take_state({packet, static_cast<std::size_t>(n)});
  return run.now.phase == State::Phase::running && !run.now.command_ended && !run.stopping;
}

int Supervised::event_fd() const { return impl_->over ? -1 : impl_->socket.get(); }
int Supervised::connections() const { return impl_->over ? 0 : impl_->connections; }

Result<State> Supervised::state() {
  char packet[supervisor::packet_limit];
  while (!impl_->over) {
    ssize_t n = ::recv(impl_->socket.get(), packet, sizeof packet, MSG_DONTWAIT);
    if (n > 0)
      impl_->take_state({packet, static_cast<std::size_t>(n)});
    else if (n < 0 && errno == EINTR)
      continue;
    else if (n < 0 && errno == EAGAIN)
      break;
    else
      SPELL_TRY(impl_->resolve());
  }
  return impl_->now;
}

Result<base::Fd> Supervised::connection() const {
  if (impl_->over) return base::error("run_not_running", "the run is not running");
  base::Fd copy(::fcntl(impl_->socket.get(), F_DUPFD_CLOEXEC, 3));
  if (!copy) return base::errno_error("copy a descriptor");
  return copy;
}

Result<> Supervised::stop(const std::string& reason) {
  return impl_->send("stop", "reason", reason);
}
Result<> Supervised::kill(const std::string& reason) {
  return impl_->send("kill", "reason", reason);
}
Result<> Supervised::renew(std::int64_t until_us) {
  return impl_->send("lease", "until_us", std::to_string(until_us));
}
Result<> Supervised::allow(std::int64_t until_us) {
  return impl_->send("allow", "until_us", std::to_string(until_us));
}
Result<> Supervised::signal(int number) {
  return impl_->send("signal", "signal", std::to_string(number));
}

Supervised::Supervised(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Supervised::Supervised(Supervised&&) noexcept = default;
Supervised& Supervised::operator=(Supervised&&) noexcept = default;
Supervised::~Supervised() = default;

}  // namespace spell::exec
