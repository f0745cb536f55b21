// A machine that is about to be taken away: who says so, and what its runs are told.
//
//   clouds (cloud_notice.hpp), signals, the service's command -> Worker::notice() -> Agent -> each
//   run: its preemption file, the signal that it asked for, a line in its log; and, when the time
//   that remains is what is needed for it, its halt, the last of its backup, its end (tracker.hpp)
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "spell/result.hpp"

namespace spell::worker {

/// The kind of notice of a machine that goes because it has not heard of its service for long: what
/// is left to do there is to write down how its runs ended.
inline constexpr const char* notice_alone = "alone";

/// See model::MachineNotice.
struct Notice {
  std::string kind{}, text{};
  std::int64_t at_us = 0;  ///< when the machine goes; CLOCK_BOOTTIME
};

/// What became of the files of a run that was halted.
struct Flushed {
  bool known = false;  ///< else there was no backup of it, or it does not know
  std::string tree{};  ///< that is safe; "": none is
  std::int64_t files = 0, bytes = 0;
  std::vector<std::string> torn{}, left{};  ///< see backup::Finished
};

/// In the folder of temporary files, as the run sees it (SPELL_PREEMPTION_FILE) and as it lies in
/// the run's folder.
inline constexpr const char* preemption_file = "/preemption";

/// Lets the run's preemption file appear: {"kind", "text", "at"}. Again is fine.
Result<> write_preemption_file(const std::string& run_folder, const Notice&,
                               std::int64_t at_unix_us);
/// It stays after all. Where there is none that is fine.
Result<> remove_preemption_file(const std::string& run_folder);

/// This computer is shutting down, or starting anew (`systemctl is-system-running`: "stopping").
bool is_shutting_down();

/// "HUP", … of model::notice_signals(); 0: none of them.
int signal_number(const std::string& name);

}  // namespace spell::worker
