// The journal of a run on its machine: one JSON line for each thing the service told about it and
// each thing to be said of it, written before it is acted on or sent. Reading it gives a restarted
// worker the numbers and texts it has used already. Not synced: it must survive the death of the
// process; after a power loss the boot id tells.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "model/worker_protocol.hpp"
#include "spell/result.hpp"

namespace spell::worker {

/// "told" line: a start (without the values of its secrets), stop, kill or allowance. `boot_id` is
/// that of now.
std::string journal_line(const model::Command&, const std::string& boot_id);
/// "said" line. Events carry their time (CLOCK_BOOTTIME µs) in `age_us`, a result in
/// `ended_age_us`.
std::string journal_line(const model::RunReport&);
/// "metrics" line: where the run's endpoint listens.
std::string journal_line(int metrics_port);

struct Journal {
  model::StartCommand start;
  std::string boot_id;               ///< of the boot in which the run was taken over
  std::vector<model::Command> told;  ///< stop, kill and allowance
  std::vector<model::RunEvent> events;
  std::optional<model::RunResult> result;
  int metrics_port = 0;  ///< 0: it has had none
};
/// A last line that was cut short is left out. Error `bad_journal`: not even the start is there.
Result<Journal> read_journal(std::string_view text);

}  // namespace spell::worker
