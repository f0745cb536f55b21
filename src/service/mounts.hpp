// What the mounts of a submission stand for now.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "model/mount.hpp"
#include "service/api.hpp"

namespace spell::service {

struct Mounts {
  std::vector<model::ResolvedMount> list{};
  /// Keeps what was found from being collected: to be held until a durable record names it.
  std::shared_ptr<std::vector<spellfs::PackStore::Pin>> pins =
      std::make_shared<std::vector<spellfs::PackStore::Pin>>();
};
/// Of a tree that is there.
void describe(model::ResolvedMount&, const spellfs::Entry&);
/// Looks up what a submission mounts, and last the image that it names where a resource
/// holds that. What an unfinished run will have saved is left
/// for later, see ResolvedMount::run. Error `invalid_mount`, which names the resource or target.
Result<Mounts> resolve_mounts(Context&, const Submission&);

}  // namespace spell::service
