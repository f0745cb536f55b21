// The commands of spell-worker. Each returns the exit status: 0, 1 after an error, 3 after one in
// the configuration.
#pragma once
#include <string>

namespace spell::worker_program {

struct Options {
  std::string state;  ///< folder; "": the default
  bool json = false;
  std::string url, token;  ///< join; token "-": from standard input
  bool foreground = false;
  bool force = false;              ///< leave
  std::string folder{};            ///< salvage
  std::string backup_rate{};       ///< run; "": as worker.toml says
  std::string notice{};            ///< join, run; likewise
  bool sigterm_is_notice = false;  ///< likewise
};

int join(const Options&);
int run(const Options&);
int leave(const Options&);
int status(const Options&);
int salvage(const Options&);

}  // namespace spell::worker_program
