// `spelld serve --personal`: started by the command line when it is needed; one per SPELL_DIR, on a
// Unix socket, with a worker for this computer. It ends by itself when there is nothing left to do.
#pragma once
#include <cstdint>
#include <string>

namespace spell::daemon {

struct PersonalOptions {
  std::string spell_dir;
  int ready_fd = -1;  ///< gets a line when the service answers
  std::int64_t idle_seconds = 600;
  int managing = 50;  ///< managing runs of workflows at the same time
  std::string cache_limit, backup_rate, packages;
  std::int64_t pool_check = 300;  ///< seconds between two looks at what pools list
};

/// The exit status.
int serve_personal(const PersonalOptions&);

}  // namespace spell::daemon
