// `spelld backup` and `spelld restore`.
#pragma once
#include <cstdint>
#include <string>

#include "service_folder.hpp"

namespace spell::daemon {

struct BackupOptions {
  ServiceFolder service;
  std::string folder;  ///< of the backup
  bool json = false;
};

struct RestoreOptions {
  std::string folder;  ///< of the backup
  std::string data;    ///< to be made
  std::int64_t skip_numbers = 1000;
  bool json = false;
};

/// The exit status.
int back_up(const BackupOptions&);
int restore(const RestoreOptions&);

}  // namespace spell::daemon
