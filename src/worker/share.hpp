// Folders that the owner of a machine lets runs have: `--mount machine:/data`. As they are on its
// disk, with their owners and modes; nothing is copied or saved.
#pragma once
#include <string>
#include <vector>

#include "exec/supervised.hpp"
#include "model/mount.hpp"
#include "spell/result.hpp"

namespace spell::worker {

struct Share {
  std::string path{};  ///< absolute, without links, "." and ".."
  bool writable = false;
  std::string text() const { return path + (writable ? ":rw" : ""); }
};
/// "/data" or "/scratch:rw", an existing folder. Error `invalid_configuration`.
Result<Share> parse_share(const std::string& text);
/// What a run mounts of them. Error `mount_failed`: it is not shared, or not there.
Result<exec::BindSpec> bind_share(const std::vector<Share>&, const model::ResolvedMount&);

}  // namespace spell::worker
