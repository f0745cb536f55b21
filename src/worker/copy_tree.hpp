// A private copy of a tree of the cache, for a run that cannot have mounts.
#pragma once
#include <stop_token>
#include <string>

#include "spell/result.hpp"

namespace spell::worker {

struct Copied {
  std::int64_t files = 0, reflinked = 0;
};
/// Copies a file or folder to `to`, which does not exist yet; by reflink where the file system can.
/// Modes, times and links are kept, links never followed. Errors: `canceled`, those of the disk.
Result<Copied> copy_tree(const std::string& from, const std::string& to, std::stop_token stop);

}  // namespace spell::worker
