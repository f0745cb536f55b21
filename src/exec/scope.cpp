#include "exec/scope.hpp"

#include <unistd.h>

#include <cstdlib>

#include "base/file.hpp"

namespace spell::exec {

namespace {
constexpr const char* maker = "/usr/bin/systemd-run";
}

bool can_make_scopes() {
  // Of the process that systemd started, not of what it starts in turn; MANAGERPID names a manager
  // other than the system's.
  const char* main_process = std::getenv("SYSTEMD_EXEC_PID");
  return ::geteuid() == 0 && main_process && main_process == std::to_string(::getpid()) &&
         !std::getenv("MANAGERPID") && base::exists("/run/systemd/system") && base::exists(maker);
}

std::vector<std::string> in_scope(const Scope& scope, std::vector<std::string> program) {
  std::vector<std::string> out = {maker,
                                  "--scope",
                                  "--quiet",
                                  "--no-ask-password",
                                  "--collect",
                                  "--unit=" + scope.name + ".scope",
                                  "--description=" + scope.description,
                                  "--property=TasksMax=infinity",
                                  "--property=TimeoutStopSec=" + std::to_string(scope.stop_s),
                                  "--"};
  out.insert(out.end(), program.begin(), program.end());
  return out;
}

}  // namespace spell::exec
