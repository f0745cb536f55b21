// Copies of a service's files in another folder, brought up to date: what is there already, by size
// and time, is left alone. A copy appears under its name when it is whole, durable, and has been
// read again and found equal.
#pragma once
#include <cstdint>
#include <functional>
#include <set>
#include <stop_token>
#include <string>

#include "spell/result.hpp"

namespace spell::service {

struct Mirrored {
  std::int64_t files = 0, bytes = 0;          ///< that are there now
  std::int64_t new_files = 0, new_bytes = 0;  ///< that had to be copied
};

class Mirror {
 public:
  Mirror(std::string from, std::string to, std::stop_token stop = {})
      : from_(std::move(from)), to_(std::move(to)), stop_(std::move(stop)) {}

  /// The file or folder `path` (relative). Folders are read until nothing vanishes while they are
  /// read, those of `last` after everything beside them: what other files name is then there too.
  /// Fine if it does not exist. Error `disk_full`, `io_error`, `canceled`.
  Result<> take(const std::string& path, const std::set<std::string>& last = {});
  /// What stands below `path` at the destination and was not taken is deleted.
  Result<> drop_others(const std::string& path);
  const Mirrored& mirrored() const { return mirrored_; }

 private:
  Result<bool> take_folder(const std::string& path, const std::set<std::string>& last);
  Result<bool> take_file(const std::string& path);

  std::string from_, to_;
  std::stop_token stop_;
  std::set<std::string> taken_;
  Mirrored mirrored_;
};

}  // namespace spell::service
