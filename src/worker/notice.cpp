#include "worker/notice.hpp"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/file.hpp"
#include "proc/spawn.hpp"

namespace spell::worker {

Result<> write_preemption_file(const std::string& run_folder, const Notice& notice,
                               std::int64_t at_unix_us) {
  nlohmann::json text{
      {"kind", notice.kind}, {"text", notice.text}, {"at", base::rfc3339(at_unix_us)}};
  // Made where the run has no hand in it; a rename follows no link.
  std::string made = run_folder + preemption_file;
  std::string to = run_folder + "/tmp" + preemption_file;
  SPELL_TRY(base::write_file(
      made, text.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n", 0644,
      false));
  if (::rename(made.c_str(), to.c_str()) != 0) return base::errno_error("make " + to);
  return ok();
}

Result<> remove_preemption_file(const std::string& run_folder) {
  std::string file = run_folder + "/tmp" + preemption_file;
  if (::unlink(file.c_str()) == 0 || errno == ENOENT) return ok();
  return base::errno_error("remove " + file);
}

bool is_shutting_down() {
  constexpr int patience_ms = 2000;
  int ends[2];
  if (!base::exists("/run/systemd/system") || ::pipe2(ends, O_CLOEXEC) != 0) return false;
  base::Fd ours(ends[0]), theirs(ends[1]);
  proc::SpawnOptions options;
  options.arguments = {"/usr/bin/systemctl", "is-system-running"};
  options.environment = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"};
  options.descriptors = {{theirs.get(), 1}};
  auto pid = proc::spawn(options);
  if (!pid) return false;
  theirs.reset();
  pollfd answer{ours.get(), POLLIN, 0};
  char text[64];
  ssize_t size = ::poll(&answer, 1, patience_ms) > 0 ? ::read(ours.get(), text, sizeof text) : 0;
  ::kill(*pid, SIGKILL);
  ::waitpid(*pid, nullptr, 0);
  return size > 0 && std::string_view(text, static_cast<std::size_t>(size)).starts_with("stopping");
}

int signal_number(const std::string& name) {
  constexpr std::pair<const char*, int> numbers[] = {
      {"HUP", SIGHUP}, {"INT", SIGINT}, {"TERM", SIGTERM}, {"USR1", SIGUSR1}, {"USR2", SIGUSR2}};
  for (auto& [known, number] : numbers)
    if (name == known) return number;
  return 0;
}

}  // namespace spell::worker
