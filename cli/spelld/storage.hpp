// `spelld gc` and `spelld fsck`: asked of the service where it runs, else done here on its folder.
#pragma once
#include <cstdint>
#include <optional>
#include <string>

#include "service_folder.hpp"

namespace spell::daemon {

struct StorageOptions {
  ServiceFolder service;
  std::optional<std::int64_t> spare;  ///< seconds
  bool json = false;
  bool accept_log = false;  ///< of fsck: leave out what a damaged log of the database cannot say
};

/// The exit status.
int collect(const StorageOptions&);
int check(const StorageOptions&);

}  // namespace spell::daemon
