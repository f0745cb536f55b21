// Packs from outside: nothing in them is believed before it was checked.
#pragma once
#include <string>

#include "git/libgit2.hpp"

namespace spell::git {

/// A pack with its index in a work folder, synced, not yet visible to readers.
struct IndexedPack {
  std::string folder{}, name{};
  OidSet ids{};
  std::string pack_file() const { return folder + "/pack-" + name + ".pack"; }
  std::string index_file() const { return folder + "/pack-" + name + ".idx"; }
};

/// Copies a pack into `folder` and indexes it. The ids come from hashing the objects, so none can
/// lie about its own. Errors: `bad_pack`, `disk_full`.
Result<IndexedPack> index_pack(int fd, std::int64_t size, const std::string& folder);

/// Adds the ids in a pack to `ids`.
Result<> list_pack(const std::string& index_file, OidSet& ids);

/// Checks that the pack together with a store's objects has all that `commit` needs, and nothing
/// that it does not need. Objects in the store are complete already (see Store), so only the pack's
/// own are walked. Errors: `bad_pack`, `incomplete_pack`.
Result<> check_complete(const IndexedPack& pack, const std::string& objects_folder,
                        const Oid& commit);

}  // namespace spell::git
