// spelld: the service as a program. `spelld serve --personal` is started by the command line when
// it is needed: one per SPELL_DIR, on a Unix socket, with a worker for this computer; it ends by
// itself when there is nothing left to do. `spelld gc` and `spelld fsck` look after its storage.
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <iostream>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/file.hpp"
#include "base/spell_dir.hpp"
#include "base/text.hpp"
#include "lock.hpp"
#include "machine.hpp"
#include "net/client.hpp"
#include "service/service.hpp"
#include "spell/version.hpp"
#include "storage.hpp"
#include "worker/worker.hpp"

namespace spell::daemon {
namespace {

struct Options {
  std::string spell_dir;
  int ready_fd = -1;
  std::int64_t idle_seconds = 600;
  std::string cache_limit;
};

/// One JSON object a line into the service's log file; thread-safe.
class Log {
 public:
  explicit Log(const std::string& path) {
    struct stat st;
    if (::stat(path.c_str(), &st) == 0 && st.st_size > 10 << 20)
      ::rename(path.c_str(), (path + ".1").c_str());
    if (auto file = base::open(path, O_WRONLY | O_CREAT | O_APPEND, 0600)) file_ = std::move(*file);
  }
  void write(const std::string& message) {
    nlohmann::json line{
        {"time", base::rfc3339(base::unix_us())}, {"pid", ::getpid()}, {"message", message}};
    std::lock_guard lock(mutex_);
    (void)base::write_all(
        file_.get(), line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
  }
  int fd() const { return file_.get(); }

 private:
  std::mutex mutex_;
  base::Fd file_;
};

/// Tells the process that started this one, which waits for a line.
void tell(int ready_fd, const std::string& line) {
  if (ready_fd < 0) return;
  (void)base::write_all(ready_fd, line + "\n");
  ::close(ready_fd);
}

std::string own_path() {
  char path[4096];
  ssize_t n = ::readlink("/proc/self/exe", path, sizeof path - 1);
  return n > 0 ? std::string(path, static_cast<std::size_t>(n)) : "spelld";
}

/// Waits until the holder of the lock answers, or has gone.
Result<bool> wait_for_other(const base::SpellDirs& dirs) {
  net::HttpClient client("unix:" + dirs.socket);
  for (int attempt = 0; attempt < 200; ++attempt) {
    net::ClientRequest request;
    request.target = "/healthz";
    CallOptions options;
    options.timeout = std::chrono::seconds(5);
    if (client.send(request, options)) return true;
    auto held = take_lock(dirs.lock);
    if (!held) return held.error();
    if (!held->other) return false;
    ::usleep(
        50'000);  // the other is starting; there is nothing to wait on until its socket is there
  }
  return base::error("service_unreachable", "a service holds " + dirs.lock +
                                                " but does not answer; its log is " + dirs.log);
}

Result<std::string> serve(const Options& options, const base::SpellDirs& dirs, Log& log) {
  // Signals are taken by one thread; all others are born with them blocked.
  sigset_t signals;
  sigemptyset(&signals);
  for (int number : {SIGTERM, SIGINT, SIGHUP, SIGUSR1}) sigaddset(&signals, number);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  ::signal(SIGPIPE, SIG_IGN);

  std::unique_ptr<worker::Worker> worker;
  service::ServiceOptions service_options;
  service_options.state_folder = dirs.state;
  service_options.spell_dir = dirs.config;
  service_options.socket_path = dirs.socket;
  service_options.owner = base::user_name();
  service_options.machine = machine_name();
  service_options.places = places();
  service_options.notes = dirs.notes;
  service_options.idle_seconds = options.idle_seconds;
  service_options.worker_idle = [&worker] { return !worker || worker->idle(); };
  service_options.log = [&log](const std::string& line) { log.write(line); };
  auto service = service::Service::start(service_options);
  if (!service) return service.error();

  worker::WorkerOptions worker_options;
  worker_options.endpoint = "unix:" + dirs.socket;
  worker_options.token = (*service)->machine_token();
  worker_options.machine = service_options.machine;
  worker_options.folder = dirs.state + "/worker";
  worker_options.hidden = {dirs.config};
  if (dirs.state != dirs.config) worker_options.hidden.push_back(dirs.state);
  if (std::string folder = dirs.socket.substr(0, dirs.socket.rfind('/'));
      folder != dirs.state && folder != dirs.config)
    worker_options.hidden.push_back(folder);
  worker_options.source = &(*service)->objects();
  if (!options.cache_limit.empty()) {
    auto limit = base::parse_size(options.cache_limit);
    if (!limit || *limit < 1)
      return base::error("invalid_configuration",
                         "--cache-limit " + options.cache_limit + ": give a size, such as 50G");
    worker_options.cache_limit = *limit;
  }
  worker_options.revive = {own_path(), "serve", "--personal", "--spell-dir", dirs.config};
  if (!options.cache_limit.empty()) {
    worker_options.revive.push_back("--cache-limit");
    worker_options.revive.push_back(options.cache_limit);
  }
  worker_options.service_lock = dirs.lock;
  worker_options.base_environment = base_environment();
  worker_options.version = version();
  worker_options.log = [&log](const std::string& line) { log.write(line); };
  auto started = worker::Worker::start(worker_options);
  if (!started) return started.error();
  worker = std::move(*started);

  log.write(std::string("started, version ") + version());
  tell(options.ready_fd, "ready");
  std::thread listener([&] {
    int number = 0;
    while (sigwait(&signals, &number) == 0) {
      if (number == SIGUSR1) return;
      (*service)->request_stop("signal " + std::to_string(number));
    }
  });
  std::string reason = (*service)->wait();
  worker->stop();
  (*service)->stop();
  pthread_kill(listener.native_handle(), SIGUSR1);
  listener.join();
  return reason;
}

int serve_personal(const Options& options) {
  auto fail = [&](const Error& e) {
    std::cerr << "spelld: " << e.message() << std::endl;
    tell(options.ready_fd, "error " + e.code() + " " + e.message());
    return e.code() == "invalid_configuration" ? 3 : 1;
  };
  ::umask(077);
  if (options.ready_fd >= 0) ::fcntl(options.ready_fd, F_SETFD, FD_CLOEXEC);
  mallopt(M_ARENA_MAX, 2);
  auto dirs = base::resolve_spell_dirs(options.spell_dir, base::Environment::current());
  if (!dirs) return fail(dirs.error());
  if (::chdir("/") != 0) return fail(base::errno_error("change to /"));
  for (;;) {
    auto held = take_lock(dirs->lock);
    if (!held) return fail(held.error());
    if (held->other) {
      auto running = wait_for_other(*dirs);
      if (!running) return fail(running.error());
      if (!*running) continue;
      tell(options.ready_fd, "running");
      return 0;
    }
    Log log(dirs->log);
    auto reason = serve(options, *dirs, log);
    if (!reason) {
      log.write("could not start: " + reason.error().message());
      return fail(reason.error());
    }
    log.write("ended: " + *reason);
    return 0;
  }
}

}  // namespace
}  // namespace spell::daemon

int main(int argc, char** argv) {
  CLI::App app{"The service of Spell. The command line starts it when it is needed."};
  app.set_version_flag("--version", std::string("spelld ") + spell::version());
  app.require_subcommand(1);
  spell::daemon::Options options;
  auto* serve = app.add_subcommand("serve", "Serve until there is nothing left to do");
  bool personal = false;
  serve
      ->add_flag("--personal", personal,
                 "The personal service of this user, with a worker for this computer")
      ->required();
  serve->add_option("--spell-dir", options.spell_dir, "Its folder; default ~/.spell");
  serve->add_option("--ready-fd", options.ready_fd,
                    "Descriptor that gets a line when the service answers");
  serve
      ->add_option("--idle-seconds", options.idle_seconds,
                   "Ends after so long without anything to do; 0: never")
      ->capture_default_str();
  spell::daemon::StorageOptions storage;
  auto* gc = app.add_subcommand("gc", "Free what nothing names any more");
  auto* fsck = app.add_subcommand("fsck", "Read and verify everything that is stored");
  for (auto* command : {gc, fsck}) {
    command->add_option("--spell-dir", storage.spell_dir, "The service's folder; default ~/.spell")
        ->envname("SPELL_DIR");
    command->add_flag("--json", storage.json, "Print the API's object");
  }
  gc->add_option("--spare", storage.spare,
                 "Seconds: what arrived more recently stays; default: what unfinished uploads and "
                 "runs have sent")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{1'000'000'000}));
  serve->add_option("--cache-limit", options.cache_limit,
                    "Disk for data that runs mount, kept for the next; default: a fifth of it");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    int code = app.exit(e);
    return code == 0 ? 0 : 2;
  }
  if (*gc) return spell::daemon::collect(storage);
  if (*fsck) return spell::daemon::check(storage);
  return spell::daemon::serve_personal(options);
}
