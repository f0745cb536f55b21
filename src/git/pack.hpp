// Writing packs without deltas: they are fast to make, join and check, and the service can refuse
// all others.
#pragma once
#include <cstdint>
#include <functional>
#include <vector>

#include "git/libgit2.hpp"

namespace spell::git {

/// Writes a pack with these objects to `fd`. Its size in bytes.
Result<std::int64_t> write_pack(
    git_odb* odb, const std::vector<Oid>& ids, int fd,
    const std::function<void(std::int64_t, std::int64_t)>& progress = {});

}  // namespace spell::git
