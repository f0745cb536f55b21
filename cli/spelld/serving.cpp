#include "serving.hpp"

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/text.hpp"
#include "spell/version.hpp"
#include "worker/machine.hpp"
#include "worker/worker.hpp"

namespace spell::daemon {

namespace {

Result<std::unique_ptr<worker::Worker>> start_worker(const Serving& serving,
                                                     service::Service& service, Log& log) {
  const EmbeddedWorker& embedded = *serving.worker;
  worker::WorkerOptions options;
  options.endpoint = "unix:" + serving.service.socket_path;
  options.token = service.machine_token();
  options.machine = serving.service.machine;
  options.folder = embedded.folder;
  options.hidden = embedded.hidden;
  options.source = &service.objects();
  if (!embedded.cache_limit.empty()) {
    auto limit = base::parse_size(embedded.cache_limit);
    if (!limit || *limit < 1)
      return base::error("invalid_configuration",
                         "--cache-limit " + embedded.cache_limit + ": give a size, such as 50G");
    options.cache_limit = *limit;
  }
  if (!embedded.backup_rate.empty()) {
    auto rate = base::parse_size(embedded.backup_rate);
    if (!rate || *rate < 1)
      return base::error("invalid_configuration", "--backup-rate " + embedded.backup_rate +
                                                      ": give bytes a second, such as 50M");
    options.backup_rate = *rate;
  }
  options.service_url = service.url();
  options.service_fingerprint = service.fingerprint();
  options.workflow_socket = serving.service.workflow_socket;
  options.revive = embedded.revive;
  options.service_lock = embedded.service_lock;
  options.base_environment = worker::base_environment();
  options.version = version();
  options.log = [&log](const std::string& line) { log.write(line); };
  return worker::Worker::start(options);
}

}  // namespace

void tell(int ready_fd, const std::string& line) {
  if (ready_fd < 0) return;
  (void)base::write_all(ready_fd, line + "\n");
  ::close(ready_fd);
}

Result<std::string> serve_until_told(const Serving& serving, Log& log) {
  // Signals are taken by one thread; all others are born with them blocked.
  sigset_t signals;
  sigemptyset(&signals);
  for (int number : {SIGTERM, SIGINT, SIGHUP, SIGUSR1}) sigaddset(&signals, number);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  ::signal(SIGPIPE, SIG_IGN);

  std::unique_ptr<worker::Worker> worker;
  std::atomic<worker::Worker*> has_caches = nullptr;
  service::ServiceOptions options = serving.service;
  options.worker_idle = [&worker] { return !worker || worker->idle(); };
  options.give_up_caches = [&has_caches] {
    if (auto* one = has_caches.load()) one->make_room();
  };
  options.check_caches = [&has_caches] {
    auto* one = has_caches.load();
    return one ? one->check_caches() : std::vector<std::string>();
  };
  options.log = [&log](const std::string& line) { log.write(line); };
  options.log_request = [&log](const service::RequestLine& line) { log.write(line); };
  auto service = service::Service::start(options);
  if (!service) return service.error();
  if (serving.worker) {
    auto started = start_worker(serving, **service, log);
    if (!started) return started.error();
    worker = std::move(*started);
    has_caches = worker.get();
  }
  log.write(std::string("started, version ") + version());
  if (serving.ready) serving.ready(**service);
  std::thread listener([&] {
    std::chrono::seconds until{};
    if (serving.look) until = serving.look(**service);
    for (;;) {
      timespec wait{static_cast<time_t>(until.count()), 0};
      int number =
          serving.look ? sigtimedwait(&signals, nullptr, &wait) : sigwaitinfo(&signals, nullptr);
      if (number == SIGUSR1) return;
      if (number < 0 && errno == EINTR) continue;
      if (serving.look && (number == SIGHUP || number < 0))
        until = serving.look(**service);
      else
        (*service)->request_stop("signal " + std::to_string(number));
    }
  });
  std::string reason = (*service)->wait();
  if (worker) worker->stop();
  (*service)->stop();
  pthread_kill(listener.native_handle(), SIGUSR1);
  listener.join();
  return reason;
}

}  // namespace spell::daemon
