// spelld.toml: what `spelld init` chose for a team's service, for its administrator to change.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "spell/result.hpp"

namespace spell::daemon {

struct Settings {
  std::string owner{};                  ///< the team's name
  std::string listen = "0.0.0.0:8443";  ///< HOST:PORT
  std::vector<std::string> hosts{};  ///< names and addresses of this computer, the first for URLs
  std::string certificate{}, key{};  ///< PEM files; "": under the service's own authority
  bool with_worker = false;          ///< runs of type CPU are carried out beside the database
  int keep_free = 5;                 ///< percent of the disk; with less no new runs are taken
  int managing_runs = 50;            ///< managing runs of workflows that each machine carries
  std::int64_t keep_days = 0;        ///< older runs without labels are removed; 0: never
  std::int64_t keep_bytes = 0;       ///< of outputs and logs; beyond it the oldest go; 0: all stay
  std::int64_t environments = 0;     ///< bytes that environments may take; 0: a tenth of the disk
};

/// Where a service's things are in its folder.
std::string settings_path(const std::string& data);

/// Error `not_initialised` where there is none, `invalid_configuration` that names the line.
Result<Settings> read_settings(const std::string& data);
/// Durable, all or nothing.
Result<> write_settings(const std::string& data, const Settings&);

/// /var/lib/spelld for root and the user spelld, else ~/.local/share/spelld.
std::string default_data_folder();

}  // namespace spell::daemon
