// The daemon: waits quietly until the machine has joined, works for the service it has joined, and
// takes over what changes.
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <iostream>
#include <memory>
#include <mutex>
#include <optional>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/text.hpp"
#include "commands.hpp"
#include "config.hpp"
#include "exec/scope.hpp"
#include "proc/run.hpp"
#include "say.hpp"
#include "spell/version.hpp"
#include "state.hpp"
#include "worker/joined.hpp"
#include "worker/machine.hpp"
#include "worker/notice.hpp"
#include "worker/worker.hpp"

namespace spell::worker_program {

namespace {

/// Lines of the daemon's own log: the journal adds the time. Thread-safe.
void log(const std::string& line) {
  static std::mutex mutex;
  std::lock_guard lock(mutex);
  std::cerr << "spell-worker: " << line << std::endl;
}

class Daemon {
 public:
  /// `ready`: an eventfd, written to when a machine that goes has nothing left to do, and when no
  /// run is here any more.
  Daemon(std::string folder, Config config, const base::Fd& ready)
      : folder_(std::move(folder)), config_(std::move(config)), ready_(ready) {}
  ~Daemon() { stop(); }

  /// Does what joined.json says now.
  Result<> follow() {
    auto joined = worker::read_joined(folder_);
    if (!joined || !*joined) {
      stop();
      // Telling changes a file in the folder too: once is enough.
      Result<> why = joined ? ok() : Result<>(joined.error());
      std::string text = why ? "" : why.error().message();
      if (waits_ != text) tell("waiting", why);
      waits_ = text;
      return ok();
    }
    waits_.reset();
    if (worker_ && (*joined)->joined_us == joined_.joined_us && (*joined)->token == joined_.token)
      return ok();
    stop();
    joined_ = std::move(**joined);
    return start();
  }

  /// False: nobody works here.
  bool notice(const std::string& text, const char* kind = "signal") {
    drain();
    if (worker_) worker_->notice(kind, text, std::chrono::seconds(config_.notice_seconds));
    return worker_ != nullptr;
  }
  void drain() {
    std::uint64_t earlier;
    (void)!::read(ready_.get(), &earlier, sizeof earlier);
  }

  void stop() {
    if (worker_) worker_->stop();
    worker_.reset();
  }

  /// Until the next look at whether it is to end by itself, in milliseconds; -1: none is due. Where
  /// it is connected or begins to be away, a file in the folder changes; where its last run goes,
  /// `ready` is written to.
  int next_look() const {
    auto left = time_left(config_.end_after);
    if (left && left->count() == 0) left = time_left(config_.end_anyway);
    return left ? static_cast<int>(left->count()) : -1;
  }
  /// It has heard nothing for too long, and nobody would miss it.
  bool is_over() const {
    auto left = time_left(config_.end_after);
    if (!left || left->count() > 0) return false;
    return !worker_ || worker_->idle() || time_left(config_.end_anyway)->count() == 0;
  }
  /// Nothing is left here.
  bool is_empty() const { return !worker_ || worker_->idle(); }

 private:
  /// Until it has been away for so long, an hour at most. None: it does not end by itself, or is
  /// connected.
  std::optional<std::chrono::milliseconds> time_left(std::chrono::seconds limit) const {
    std::int64_t since = away_since_ns_;
    if (config_.end_after.count() == 0 || since == 0) return std::nullopt;
    auto left = limit - std::chrono::nanoseconds(base::boot_ns() - since);
    return std::clamp<std::chrono::milliseconds>(std::chrono::ceil<std::chrono::milliseconds>(left),
                                                 std::chrono::milliseconds(0),
                                                 std::chrono::hours(1));
  }

  Result<> start() {
    auto proxy = net::proxy_from_environment();
    if (!proxy) return proxy.error();
    worker::WorkerOptions options;
    options.endpoint = joined_.url;
    options.token = joined_.token;
    options.trust = joined_.trust();
    options.identity = joined_.identity;
    options.proxy = proxy->host.empty() ? joined_.proxy : *proxy;
    options.id = joined_.machine;
    options.machine = joined_.name;
    options.folder = folder_ + "/worker";
    options.hidden = {folder_};
    constexpr std::string_view local = "unix:";
    if (joined_.url.starts_with(local))
      options.hidden.push_back(
          joined_.url.substr(local.size(), joined_.url.rfind('/') - local.size()));
    options.embedded = false;
    options.base_environment = worker::base_environment();
    options.cores = config_.cores;
    options.cache_limit = config_.cache_limit;
    options.backup_rate = config_.backup_rate;
    options.nvidia_smi = config_.nvidia_smi;
    options.cdi = config_.cdi;
    options.run_users = config_.run_users;
    options.shares = config_.shares;
    options.scopes = exec::can_make_scopes();
    options.notice = config_.notice;
    if (const char* url = ::getenv("SPELL_METADATA_URL")) options.metadata_url = url;
    options.ready_to_go = options.emptied = [this] {
      std::uint64_t one = 1;
      (void)!::write(ready_.get(), &one, sizeof one);
    };
    options.version = version();
    options.log = log;
    options.connection = [this](const Result<>& state) {
      tell(state ? "connected" : "connecting", state);
    };
    tell("connecting");
    auto started = worker::Worker::start(options);
    if (!started) return started.error();
    worker_ = std::move(*started);
    return ok();
  }

  void tell(const std::string& state, const Result<>& why = ok()) {
    std::int64_t connected = 0;
    if (state == "connecting")
      away_since_ns_.compare_exchange_strong(connected, base::boot_ns());
    else
      away_since_ns_ = 0;
    Status status;
    status.state = state;
    if (!why) {
      status.code = why.error().code();
      status.error = why.error().message();
    }
    status.version = version();
    status.since_us = base::unix_us();
    status.joined_us = state == "waiting" ? 0 : joined_.joined_us;
    write_status(folder_, status);
    if (state == "waiting" && status.error.empty())
      log("this machine has not joined a service; `spell-worker join URL -` does it");
    else if (state == "connected")
      log("connected to " + joined_.url + " as " + joined_.name);
    else if (!status.error.empty())
      log(status.error + (state == "connecting" ? "; tried again until it works" : ""));
  }

  std::string folder_;
  Config config_;
  const base::Fd& ready_;
  worker::Joined joined_;
  std::unique_ptr<worker::Worker> worker_;
  std::optional<std::string> waits_;             ///< why, as it was told
  std::atomic<std::int64_t> away_since_ns_ = 0;  ///< 0: it is connected, or has not joined
};

/// What the owner of the machine wants done when its worker has ended by itself.
Result<> end_machine(const std::string& command, const std::string& folder) {
  if (command.empty()) return ok();
  char self[4096];
  ssize_t n = ::readlink("/proc/self/exe", self, sizeof self);
  proc::RunOptions options;
  options.spawn.arguments = {"/bin/sh", "-c", command};
  options.spawn.environment = {
      "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8",
      "SPELL_WORKER=" + std::string(self, n > 0 ? static_cast<std::size_t>(n) : 0),
      "SPELL_WORKER_STATE=" + folder};
  options.limit = std::chrono::minutes(10);
  auto ended = proc::run(options);
  if (!ended) return ended.error();
  if (ended->how == proc::Ended::How::exited && ended->code == 0) return ok();
  return base::error(
      "io_error", "'" + command + "' (on-end) failed: " + base::to_utf8(base::trim(ended->errors)));
}

/// Until all is ready for the end that was said. Another signal is the end, and so is the time.
void wait_ready(const Config& config, const base::Fd& signals, const base::Fd& ready) {
  pollfd over[] = {{signals.get(), POLLIN, 0}, {ready.get(), POLLIN, 0}};
  constexpr int slack_ms = 2000;
  ::poll(over, 2, static_cast<int>(config.notice_seconds * 1000) + slack_ms);
}

/// Of a machine that has not heard of its service for too long. What goes on there ends as it does
/// when the machine is taken away, and lies on the disk for who salvages it.
void end_alone(Daemon& daemon, const Config& config, const base::Fd& signals, const base::Fd& ready,
               const std::string& folder) {
  std::string why = "its service has not been heard of for ";
  if (daemon.is_empty()) {
    log(why + std::to_string(config.end_after.count()) + " s and more: this worker ends");
  } else {
    why += std::to_string(config.end_anyway.count()) + " s";
    log(why + ": its runs and this worker end; `spell-worker salvage " + folder +
        "` delivers what they leave");
    if (daemon.notice(why, worker::notice_alone)) wait_ready(config, signals, ready);
  }
  daemon.stop();
  ::sync();  // the machine may lose its power
}

Result<> serve(const Options& options) {
  ::umask(077);
  ::mallopt(M_ARENA_MAX, 2);
  ::signal(SIGPIPE, SIG_IGN);
  // Taken by this thread's descriptor; all others are born with them blocked.
  sigset_t signals;
  sigemptyset(&signals);
  for (int number : {SIGTERM, SIGINT, SIGHUP, SIGPWR}) sigaddset(&signals, number);
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  base::Fd ended(::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!ended) return base::errno_error("watch for signals");

  auto folder = open_state_folder(options.state.empty() ? default_state_folder() : options.state);
  if (!folder) return folder.error();
  auto config = read_config(*folder);
  if (!config) return config.error();
  if (!options.backup_rate.empty()) {
    auto rate = base::parse_size(options.backup_rate);
    if (!rate || *rate < 1)
      return base::error("invalid_configuration", "--backup-rate " + options.backup_rate +
                                                      ": give bytes a second, such as 50M");
    config->backup_rate = *rate;
  }
  auto lock = take_lock(*folder);
  if (!lock) return lock.error();
  if (!*lock)
    return base::error(
        "in_use", "another spell-worker runs with " + *folder + "; `spell-worker status` shows it");
  auto watch = Watch::open(*folder);
  if (!watch) return watch.error();
  if (::chdir("/") != 0) return base::errno_error("change to /");

  if (!options.notice.empty()) config->notice = options.notice;
  config->sigterm_is_notice = config->sigterm_is_notice || options.sigterm_is_notice;
  base::Fd ready(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!ready) return base::errno_error("make an eventfd");

  Daemon daemon(*folder, *config, ready);
  for (;;) {
    SPELL_TRY(daemon.follow());
    pollfd events[] = {
        {ended.get(), POLLIN, 0}, {watch->fd(), POLLIN, 0}, {ready.get(), POLLIN, 0}};
    if (::poll(events, 3, daemon.next_look()) < 0 && errno != EINTR)
      return base::errno_error("wait for events");
    watch->drain();
    daemon.drain();
    if (daemon.is_over()) {
      end_alone(daemon, *config, ended, ready, *folder);
      lock->reset();
      return end_machine(config->on_end, *folder);
    }
    signalfd_siginfo info;
    if (::read(ended.get(), &info, sizeof info) != static_cast<ssize_t>(sizeof info)) continue;
    if (info.ssi_signo == SIGPWR) {
      daemon.notice("power failure, SIGPWR");
      continue;
    }
    bool goes =
        info.ssi_signo == SIGTERM && (config->sigterm_is_notice || worker::is_shutting_down());
    if (!goes || !daemon.notice("the machine is shutting down")) return ok();
    wait_ready(*config, ended, ready);
    return ok();
  }
}

}  // namespace

int run(const Options& options) {
  auto served = serve(options);
  return served ? 0 : fail(served.error(), false);
}

}  // namespace spell::worker_program
