// The daemon: waits quietly until the machine has joined, works for the service it has joined, and
// takes over what changes.
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

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
#include "say.hpp"
#include "spell/version.hpp"
#include "state.hpp"
#include "worker/joined.hpp"
#include "worker/machine.hpp"
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
  Daemon(std::string folder, Config config) : folder_(std::move(folder)), config_(config) {}
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

  void stop() {
    if (worker_) worker_->stop();
    worker_.reset();
  }

 private:
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
    options.run_users = config_.run_users;
    options.shares = config_.shares;
    options.scopes = exec::can_make_scopes();
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
  worker::Joined joined_;
  std::unique_ptr<worker::Worker> worker_;
  std::optional<std::string> waits_;  ///< why, as it was told
};

Result<> serve(const Options& options) {
  ::umask(077);
  ::mallopt(M_ARENA_MAX, 2);
  ::signal(SIGPIPE, SIG_IGN);
  // Taken by this thread's descriptor; all others are born with them blocked.
  sigset_t signals;
  sigemptyset(&signals);
  for (int number : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&signals, number);
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

  Daemon daemon(*folder, *config);
  for (;;) {
    SPELL_TRY(daemon.follow());
    pollfd events[] = {{ended.get(), POLLIN, 0}, {watch->fd(), POLLIN, 0}};
    if (::poll(events, 2, -1) < 0 && errno != EINTR) return base::errno_error("wait for events");
    if (events[0].revents != 0) return ok();
    watch->drain();
  }
}

}  // namespace

int run(const Options& options) {
  auto served = serve(options);
  return served ? 0 : fail(served.error(), false);
}

}  // namespace spell::worker_program
