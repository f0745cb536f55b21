// The checksum of a tree on this machine's disk: of the names, contents, modes and times of its
// files, its folders and its links. By it a tree is known to be as it was made.
#pragma once
#include <stop_token>
#include <string>

#include "spell/result.hpp"

namespace spell::worker {

/// Of a file or folder; reads all of it. In hex. Errors: `canceled`, those of the disk.
Result<std::string> tree_sum(const std::string& path, std::stop_token stop);

}  // namespace spell::worker
