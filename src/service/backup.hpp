// Backups: a copy of all that a service keeps, in a folder of its own, made while the service goes
// on, and brought up to date the next time. And back.
//
//   backup.json   what the backup is of and which database belongs to it; written last. Whenever a
//                 backup is cut off, this one still names a database whose files are all there.
//   db-N.sqlite   the database as it was at one moment
//   objects/packs logs code keys spelld.toml   as in the service's folder. Files that only the last
//                 backup but one needed go after backup.json was replaced.
//
// Keys are part of it: whoever reads a backup can read the secrets in it.
#pragma once
#include <cstdint>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "service/mirror.hpp"
#include "service/readers.hpp"
#include "spell/result.hpp"

namespace spell::service {

struct BackupDone {
  std::string folder{};
  std::int64_t time_us = 0;
  Mirrored mirrored{};
  std::int64_t database_bytes = 0;
};

/// Nothing may collect while it goes on. Errors: `backup_running` (another has the folder),
/// `not_a_backup` (it holds something else), `disk_full`, `not_permitted`, `canceled`.
Result<BackupDone> back_up(const std::string& state_folder, Readers&, const std::string& folder,
                           const std::string& owner, std::int64_t now_us, std::stop_token = {});

/// Of a service that does not run: the caller holds its lock.
Result<BackupDone> back_up_at_rest(const std::string& state_folder, const std::string& folder,
                                   const std::string& owner, std::int64_t now_us);
nlohmann::json backup_json(const BackupDone&);

struct Restored {
  std::int64_t time_us = 0;  ///< of the backup
  std::int64_t runs = 0, bytes = 0;
  /// Runs that had not ended: what became of them nobody knows, so they are `interrupted`, and are
  /// never started again by themselves.
  std::vector<std::string> interrupted{};
  std::int64_t numbers_skipped = 0;
  std::vector<std::string> missing{};  ///< what is damaged or not there, a line each
};

/// Makes `data`, which must not exist or be empty, from a backup; it appears when it is whole.
/// The database gets a new incarnation, and run numbers go on `skip` above those it knows: it does
/// not know which were given after the backup. Errors: `not_a_backup`, `newer_data`, `damaged`
/// (the database), `file_exists`, `disk_full`.
Result<Restored> restore(const std::string& folder, const std::string& data, std::int64_t skip,
                         std::int64_t now_us);

}  // namespace spell::service
