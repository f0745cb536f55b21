#include "personal.hpp"

#include <fcntl.h>
#include <malloc.h>
#include <sys/stat.h>
#include <unistd.h>

#include <iostream>

#include "base/error.hpp"
#include "base/spell_dir.hpp"
#include "lock.hpp"
#include "machine.hpp"
#include "net/client.hpp"
#include "program.hpp"
#include "serving.hpp"
#include "worker/machine.hpp"

namespace spell::daemon {

namespace {

constexpr std::chrono::seconds patience{10};

bool answers(const base::SpellDirs& dirs) {
  net::HttpClient client("unix:" + dirs.socket);
  net::ClientRequest request;
  request.target = "/healthz";
  CallOptions options;
  options.timeout = std::chrono::seconds(5);
  return client.send(request, options).ok();
}

/// `turn`: of those who want to start; the next one's when this one answers.
Result<std::string> serve_personal(const PersonalOptions& options, const base::SpellDirs& dirs,
                                   base::Fd& turn, Log& log) {
  Serving serving;
  serving.service.state_folder = dirs.state;
  serving.service.spell_dir = dirs.config;
  serving.service.socket_path = dirs.socket;
  serving.service.workflow_socket =
      dirs.socket.substr(0, dirs.socket.rfind('.')) + "-workflows/spelld.sock";
  serving.service.managing = options.managing;
  serving.service.owner = base::user_name();
  serving.service.machine = worker::machine_name();
  serving.service.places = places();
  serving.service.notes = dirs.notes;
  serving.service.packages = packages_folder(options.packages);
  serving.service.sdk = sdk_folder();
  serving.service.pools = pools_folder();
  serving.service.worker_program = worker_program();
  serving.service.pool_check = std::chrono::seconds(options.pool_check);
  serving.service.idle_seconds = options.idle_seconds;
  EmbeddedWorker& worker = serving.worker.emplace();
  worker.folder = dirs.state + "/worker";
  worker.hidden = {dirs.config};
  if (dirs.state != dirs.config) worker.hidden.push_back(dirs.state);
  if (std::string folder = dirs.socket.substr(0, dirs.socket.rfind('/'));
      folder != dirs.state && folder != dirs.config)
    worker.hidden.push_back(folder);
  worker.revive = {own_path(), "serve", "--personal", "--spell-dir", dirs.config};
  worker.cache_limit = options.cache_limit;
  if (!options.cache_limit.empty()) {
    worker.revive.push_back("--cache-limit");
    worker.revive.push_back(options.cache_limit);
  }
  worker.backup_rate = options.backup_rate;
  if (!options.backup_rate.empty()) {
    worker.revive.push_back("--backup-rate");
    worker.revive.push_back(options.backup_rate);
  }
  if (!options.packages.empty()) {
    worker.revive.push_back("--packages");
    worker.revive.push_back(options.packages);
  }
  if (options.managing != PersonalOptions().managing) {
    worker.revive.push_back("--managing-runs");
    worker.revive.push_back(std::to_string(options.managing));
  }
  if (options.pool_check != PersonalOptions().pool_check) {
    worker.revive.push_back("--pool-check");
    worker.revive.push_back(std::to_string(options.pool_check));
  }
  worker.service_lock = dirs.lock;
  serving.ready = [&](service::Service&) {
    turn.reset();
    tell(options.ready_fd, "ready");
  };
  return serve_until_told(serving, log);
}

}  // namespace

int serve_personal(const PersonalOptions& options) {
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
  auto turn = take_turn(dirs->lock, patience);
  if (!turn) return fail(turn.error());
  auto held = take_lock(dirs->lock);
  while (held && held->other) {
    if (answers(*dirs)) {
      tell(options.ready_fd, "running");
      return 0;
    }
    // It is about to end, or somebody looks at this moment whether the lock is held.
    auto released = await_release(dirs->lock, patience);
    if (!released) return fail(released.error());
    if (!*released && !answers(*dirs))
      return fail(base::error(
          "service_unreachable",
          "a service holds " + dirs->lock + " but does not answer; its log is " + dirs->log));
    held = take_lock(dirs->lock);
  }
  if (!held) return fail(held.error());
  Log log(dirs->log);
  auto reason = serve_personal(options, *dirs, *turn, log);
  if (!reason) {
    log.write("could not start: " + reason.error().message());
    return fail(reason.error());
  }
  log.write("ended: " + *reason);
  return 0;
}

}  // namespace spell::daemon
