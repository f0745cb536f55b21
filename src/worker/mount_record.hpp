// What was mounted for a run, in its folder as `mounts` (JSON): the start, the saving and a
// restarted worker go by it.
#pragma once
#include <string>
#include <vector>

#include "exec/supervised.hpp"
#include "spell/result.hpp"
#include "spellfs/tree.hpp"

namespace spell::worker {

struct MountRecord {
  std::vector<exec::MountSpec> mounts{};  ///< for the supervisor
  std::vector<exec::BindSpec> binds{};    ///< of the machine's own folders
  std::vector<std::string> keys{};        ///< trees of the cache that it uses
  std::vector<std::string> copies{};      ///< paths below spell/ that are copies, no outputs
  /// Places below spell/ that were made for mounts, as they were then; a folder's path ends with
  /// '/'. They are no outputs either.
  std::map<std::string, spellfs::KnownFile> places{};
};

Result<> write_mount_record(const std::string& run_folder, const MountRecord&);
/// Empty where there is none. Error `damaged`.
Result<MountRecord> read_mount_record(const std::string& run_folder);

}  // namespace spell::worker
