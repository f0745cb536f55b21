// worker.toml: what the owner of a machine has to say about it. The folder's own, else
// /etc/spell/worker.toml.
//
//   cores = 8              offered; default: all that this process may use
//   cache-limit = "50G"    disk for data that runs mount, kept for the next; default: a fifth of it
//   backup-rate = "50M"    bytes a second that the backup of running runs reads; default: 250M
//   nvidia-smi = "/path"   the program that lists the GPUs; default: where drivers put it
//   share = ["/data", "/scratch:rw"]    folders that runs may mount (--mount machine:/data)
//   notice = "auto"        who says that this machine is about to be taken away: "aws", "gcp",
//                          "azure", "none"; default: as the firmware says whose machine it is
//   sigterm-is-notice = true    SIGTERM means the end of the machine, as it does for jobs of a
//                          cluster; default: only while the machine is shutting down
//   notice-seconds = 30    what SIGTERM and SIGPWR leave then
//   run-users = "FROM-TO"  ids of which each run gets one as its user, where the worker is root;
//                          default: 1900000000-1900000999; "none": runs are the worker's user
//   end-after = 1800       seconds: having heard nothing of its service for so long, the worker
//                          ends if it has no run, and nothing of one that the service does not
//                          have; default: 0, never
//   end-anyway = 86400     seconds: after so long whatever it has; its runs end as on a machine
//                          that is taken away, in notice-seconds, and lie there for who salvages
//                          them
//   on-end = "COMMAND"     what a shell does then, such as "shutdown -h now"; its environment has
//                          SPELL_WORKER, this program, and SPELL_WORKER_STATE, this folder
#pragma once
#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "spell/result.hpp"

namespace spell::worker_program {

struct Config {
  int cores = 0;
  std::int64_t cache_limit = 0, backup_rate = 0;
  std::string nvidia_smi{}, cdi{};
  std::vector<std::string> shares{};
  std::string run_users{};  ///< "": none
  std::string notice = "auto";
  bool sigterm_is_notice = false;
  std::int64_t notice_seconds = 30;
  std::chrono::seconds end_after{}, end_anyway{std::chrono::hours(24)};
  std::string on_end{};
};

/// Defaults where there is no file. Error `invalid_configuration`, which names file, line and key.
Result<Config> read_config(const std::string& folder);

}  // namespace spell::worker_program
