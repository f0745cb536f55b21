#include "worker/ending.hpp"

#include <csignal>

#include "base/text.hpp"

namespace spell::worker {

using Phase = exec::State::Phase;

namespace {

constexpr int shell = 128, signals = 64;  ///< as a shell tells of a signal

model::RunResult result(std::string status, std::string code, std::string reason) {
  model::RunResult out;
  out.status = std::move(status);
  out.reason_code = std::move(code);
  out.reason = std::move(reason);
  return out;
}

/// The reason that came with a stop or kill; users' own are named by what they asked for.
model::RunResult by_command(std::string status, const std::optional<model::Command>& want) {
  bool by_user = !want || want->reason_code.empty() || want->reason_code == "user";
  return result(status, by_user ? status + "_by_user" : want->reason_code,
                want && !want->reason.empty() ? want->reason
                : by_user                     ? status + " by the user"
                                              : want->reason_code);
}

std::string duration(std::int64_t seconds) {
  if (seconds % 60 == 0 && seconds > 0) return std::to_string(seconds / 60) + " min";
  return std::to_string(seconds) + " s";
}

}  // namespace

std::string over_memory(std::int64_t limit) {
  return "went over its memory limit of " + base::format_size(limit);
}

std::int64_t torn_at_us(const std::optional<exec::Exit>& exit) {
  if (!exit || !exit->code || exit->ended_by.empty()) return 0;
  return *exit->code == 0 || *exit->code == shell + SIGTERM ? 0 : exit->stopped_us;
}

bool by_force(Phase phase, const std::optional<exec::Exit>& exit) {
  if (phase == Phase::host_rebooted || phase == Phase::supervisor_lost || !exit) return true;
  if (exit->signal) return true;
  // So ends who was asked to and has put his things in order before.
  if (!exit->ended_by.empty() && exit->code == shell + SIGTERM) return false;
  return exit->code && *exit->code > shell && *exit->code <= shell + signals;
}

model::RunResult lease_expired_result() {
  return result("interrupted", "lease_expired",
                "its machine was without the service for so long that the run may go on "
                "elsewhere (--exclusive)");
}

model::RunResult allowance_used_result() {
  return result("stopped", "allowance_used_up",
                "the time that was paid for is used up, and no more could be had from the service");
}

model::RunResult killed_result(const std::optional<model::Command>& want) {
  return by_command("killed", want);
}

model::RunResult noticed_result(const std::string& notice) {
  return result("interrupted", "machine_notice", "its machine is taken away (" + notice + ")");
}

Ending ending_of(Phase phase, bool command_started, const std::optional<exec::Exit>& exit,
                 const std::optional<model::Command>& want, const model::RunRequest& request,
                 const std::string* notice, std::int64_t memory) {
  if (want && want->type == "kill") {
    Ending ending{killed_result(want), false};
    if (exit) ending.result.exit_code = exit->code, ending.result.signal = exit->signal;
    return ending;
  }
  if (phase == Phase::host_rebooted)
    return {
        result("interrupted", "host_reboot", "the machine was restarted while the run was on it"),
        true};
  if (phase == Phase::supervisor_lost || !exit)
    return {
        result("failed", "supervisor_lost", "the run's supervisor died, and its command with it"),
        true};
  if (!exit->error_code.empty())
    return {result(exit->error_code == "mount_failed" ? "mount_failed" : "failed", exit->error_code,
                   exit->error),
            false};
  if (exit->ended_by == "lease_expired") {
    Ending ending{lease_expired_result(), command_started};
    ending.result.exit_code = exit->code;
    ending.result.signal = exit->signal;
    return ending;
  }
  if (exit->ended_by == "kill") return {killed_result(want), false};
  if (exit->ended_by == "allowance" && !command_started) return {allowance_used_result(), false};
  if (exit->ended_by == "stop" && !command_started) return {killed_result(want), false};
  bool by_itself = exit->ended_by.empty() || exit->ended_by == "shutdown";
  if (notice && !want &&
      (exit->ended_by == ended_by_notice || (by_itself && exit->code.value_or(0) != 0))) {
    Ending ending{noticed_result(*notice), true};
    if (exit->ended_by.empty())
      ending.result.reason +=
          "; it ended with exit code " + std::to_string(*exit->code) + " after it had been told";
    return ending;
  }

  Ending ending{{}, true};
  if (exit->ended_by.empty())
    ending.result = result("complete", "", "");
  else if (exit->ended_by == "memory" && !want)
    ending.result = result("complete", "memory_limit", over_memory(memory));
  else if (exit->ended_by == "machine_memory" && !want)
    ending.result = result("complete", "machine_memory",
                           "the memory of its machine was used up, and the kernel ended the run");
  else if (exit->ended_by == "timeout")
    ending.result =
        result("stopped", "timeout",
               "ran longer than its timeout of " + duration(request.timeout.value_or(0)));
  else if (exit->ended_by == "allowance")
    ending.result = allowance_used_result();
  else if (exit->ended_by == "log_limit")
    ending.result =
        result("stopped", "log_full",
               "its log stayed full (" + base::format_size(request.log_limit) + "; --log-limit)");
  else if (exit->ended_by == "shutdown" && !want)
    ending.result =
        result("interrupted", "host_reboot", "the machine was shut down while the run was on it");
  else
    ending.result = by_command("stopped", want);
  ending.result.exit_code = exit->code;
  ending.result.signal = exit->signal;
  return ending;
}

}  // namespace spell::worker
