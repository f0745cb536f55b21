// `spelld init` and `spelld serve` of a team's service.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "spell/result.hpp"

namespace spell::daemon {

struct InitOptions {
  std::string data{}, owner = "team", listen = "0.0.0.0:8443", administrator{};
  std::vector<std::string> hosts{};
  bool password_stdin = false, json = false;
};
/// Makes the data of a service; prints what comes next. The exit status.
int init_team(const InitOptions&);

struct TeamOptions {
  std::string data{};
  std::string listen{}, certificate{}, key{};  ///< "": as in spelld.toml
  bool with_worker = false;
  int ready_fd = -1;  ///< gets "ready URL" when the service answers
  std::string cache_limit{}, backup_rate{}, packages{};
  std::int64_t pool_check = 300;  ///< seconds between two looks at what pools list
};
/// Root works as the user whom the folder belongs to; a folder that is to be made in the usual
/// place belongs to the user spelld, where there is one.
Result<> become_owner(const std::string& data);

/// Serves until it is told to end. The exit status.
int serve_team(const TeamOptions&);

}  // namespace spell::daemon
