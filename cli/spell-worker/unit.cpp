#include "unit.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include "base/error.hpp"
#include "base/file.hpp"
#include "proc/spawn.hpp"
#include "state.hpp"

namespace spell::worker_program {

namespace {

constexpr const char* unit = "spell-worker.service";

/// The exit status of systemctl; its words go where ours go.
Result<int> systemctl(std::vector<std::string> arguments, bool quiet) {
  for (auto* path : {"/usr/bin/systemctl", "/bin/systemctl"}) {
    if (!base::exists(path)) continue;
    proc::SpawnOptions options;
    options.arguments = {path};
    options.arguments.insert(options.arguments.end(), arguments.begin(), arguments.end());
    options.environment = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"};
    if (!quiet) options.descriptors = {{2, 2}};
    auto pid = proc::spawn(options);
    if (!pid) return pid.error();
    int status = 0;
    while (::waitpid(*pid, &status, 0) < 0)
      if (errno != EINTR) return base::errno_error("wait for systemctl");
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
  }
  return base::error("not_found", "there is no systemctl");
}

Result<> must(std::vector<std::string> arguments) {
  auto done = systemctl(arguments, false);
  if (!done) return done.error();
  if (*done == 0) return ok();
  return base::error("io_error", "systemctl " + arguments.front() + " " + unit + " failed with " +
                                     std::to_string(*done) + ": `journalctl -u " + unit +
                                     "` says more");
}

}  // namespace

bool has_unit(const std::string& folder) {
  if (::geteuid() != 0 || folder != default_state_folder() || !base::exists("/run/systemd/system"))
    return false;
  auto known = systemctl({"cat", unit}, true);
  return known && *known == 0;
}

Result<> enable_unit() { return must({"enable", "--now", unit}); }
Result<> disable_unit() { return must({"disable", "--now", unit}); }

}  // namespace spell::worker_program
