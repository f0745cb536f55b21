// What the mounts of a submission stand for now.
#pragma once
#include <string>
#include <vector>

#include "model/mount.hpp"
#include "service/api.hpp"

namespace spell::service {

/// Looks up what a request mounts, for its owner. What an unfinished run will have saved is left
/// for later, see ResolvedMount::run. Error `invalid_mount`, which names the resource or target.
Result<std::vector<model::ResolvedMount>> resolve_mounts(Context&, const std::string& owner,
                                                         const model::RunRequest&);

}  // namespace spell::service
