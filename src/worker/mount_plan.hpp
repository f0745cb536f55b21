// How the mounts of a run are made on this machine. Pure.
#pragma once
#include <string>
#include <vector>

#include "exec/supervised.hpp"
#include "model/mount.hpp"
#include "spellfs/object.hpp"

namespace spell::worker {

enum class MountWay {
  overlay,    ///< a folder, which the run may write to: what it writes is its own
  read_only,  ///< a file, or a folder where overlays are not to be had
  copy        ///< where nothing can be mounted
};

struct PlannedMount {
  model::ResolvedMount mount{};
  spellfs::Entry entry{};  ///< what is to be there
  std::string key{};       ///< its name in the cache
  std::string in_spell{};  ///< path below /spell, "" elsewhere
  bool inside = false;     ///< it lies in an earlier one
  MountWay way = MountWay::read_only;
};

Error mount_failed(const model::ResolvedMount&, const std::string& why);
/// What a resolved mount stands for, without what is `below`. Error `mount_failed`.
Result<spellfs::Entry> entry_of(const model::ResolvedMount&);
/// The name of an entry's content: folders by their tree, files also by what their node does not
/// say.
std::string cache_key(const spellfs::Entry&);

struct FoundMount {
  model::ResolvedMount mount{};
  spellfs::Entry entry{};
};
/// Outer ones before inner ones. Errors `mount_failed`: a target outside of /spell where nothing
/// can be mounted, one in another that is a file.
Result<std::vector<PlannedMount>> plan_mounts(std::vector<FoundMount>, const exec::Capabilities&);

/// "Mounted uploads/x on /mnt/x (folder, 12 files, 3.4 MiB), from the cache"
std::string mount_notice(const PlannedMount&, bool was_cached);

}  // namespace spell::worker
