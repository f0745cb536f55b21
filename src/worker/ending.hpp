// How a run whose command has ended is reported, and whether its files are saved. Pure.
#pragma once
#include <optional>

#include "exec/supervised.hpp"
#include "model/worker_protocol.hpp"

namespace spell::worker {

struct Ending {
  model::RunResult result;
  bool save = false;
};

/// `phase`: ended, supervisor_lost or host_rebooted. `want`: the stop or kill that was asked for,
/// if any. A stop that came too late for the command changes nothing; a kill always means that
/// nothing is saved. `notice`: why its machine will be taken away, which the run was told of; null:
/// it was not. Who ends after that has been interrupted, unless it was a success. `memory`: what it
/// might use, in bytes.
Ending ending_of(exec::State::Phase phase, bool command_started, const std::optional<exec::Exit>&,
                 const std::optional<model::Command>& want, const model::RunRequest&,
                 const std::string* notice = nullptr, std::int64_t memory = 0);
/// "went over its memory limit of 8.0 GiB".
std::string over_memory(std::int64_t limit);
/// Exit::ended_by of a run that was halted because its machine goes.
inline constexpr const char* ended_by_notice = "notice";

/// Ended by force: what its program was writing then is torn. As a shell tells of a signal, it is
/// one.
bool by_force(exec::State::Phase phase, const std::optional<exec::Exit>&);

/// When its end was asked for (SIGTERM to all of its processes), of a command that went on, and
/// says itself that it did not end well: a launcher, for one, whose writer was torn by that. 0: it
/// was not, or all is in order.
std::int64_t torn_at_us(const std::optional<exec::Exit>&);

/// What is reserved for it is used up: its service says whether more of it may be had.
model::RunResult allowance_used_result();
/// Of an exclusive run whose machine has been without the service for too long.
model::RunResult lease_expired_result();

/// Ended before its command was started, because somebody wanted so.
model::RunResult killed_result(const std::optional<model::Command>& want);
/// Its machine goes.
model::RunResult noticed_result(const std::string& notice);

}  // namespace spell::worker
