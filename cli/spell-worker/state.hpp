// The folder of a worker that is a program of its own:
//
//   joined.json    see worker/joined.hpp
//   status.json    what the running daemon last had to say of its connection
//   lock           held by the running daemon
//   worker.toml    see config.hpp
//   worker/        runs, and what they have in common (worker/run_folder.hpp)
#pragma once
#include <cstdint>
#include <optional>
#include <string>

#include "base/fd.hpp"
#include "spell/result.hpp"

namespace spell::worker_program {

/// /var/lib/spell-worker for root, else ~/.local/share/spell-worker.
std::string default_state_folder();
/// Its real path; made (0700) if it is not there. Errors `invalid_configuration`: others may write
/// to it, or it is not ours.
Result<std::string> open_state_folder(const std::string& folder);

/// None: another daemon holds it.
Result<std::optional<base::Fd>> take_lock(const std::string& folder);
/// Whether one holds it; takes nothing, so that it is in nobody's way.
bool daemon_runs(const std::string& folder);

/// Of the daemon's connection.
struct Status {
  std::string state = "stopped";  ///< stopped, waiting (not joined), connecting, connected
  std::string code{}, error{};    ///< why it is not connected
  std::string version{};          ///< of the daemon
  std::int64_t since_us = 0, joined_us = 0;  ///< joined_us: of the joining that this is about
  int pid = 0;
};
/// "stopped" where no daemon runs, whatever an earlier one has left.
Status read_status(const std::string& folder);
/// Best effort: who reads it learns later.
void write_status(const std::string& folder, const Status&);
inline constexpr const char* status_file = "status.json";

/// Runs that have a folder here.
std::int64_t count_runs(const std::string& folder);

/// Tells when a name appears, changes or goes in a folder. Not thread-safe.
class Watch {
 public:
  static Result<Watch> open(const std::string& folder);
  int fd() const { return fd_.get(); }
  /// Forgets what has been told so far.
  void drain();

 private:
  base::Fd fd_;
};

}  // namespace spell::worker_program
