// What a store looks like on disk, for those who write in it.
//
//   objects/pack/…       packs and their indexes; a pack is there for readers when its index is
//   refs/spell/NAME      a commit that is kept although perhaps no run names it (yet): one that has
//                        arrived has its own id as NAME; "hold-…" belongs to a submission
//   spell-writer.lock    held by who adds a pack, and while what was collected goes
//   spell-keeper.lock    shared by who begins to rely on a commit, alone while what was collected
//                        goes; short
//   spell-joiner.lock    held by who joins or collects packs; taken before the others
//   spell-condemned      packs that are going, by name: what they still hold may lack something by
//                        now, so whoever opens the store after a crash ends their removal first
//   spell-incoming-… spell-joining-…   work folders, removed when nobody holds their lock
#pragma once
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "git/incoming.hpp"
#include "git/libgit2.hpp"
#include "git/store.hpp"

namespace spell::git {

constexpr char writer_lock[] = "spell-writer.lock", keeper_lock[] = "spell-keeper.lock",
               joiner_lock[] = "spell-joiner.lock";
constexpr char incoming_prefix[] = "spell-incoming-", joining_prefix[] = "spell-joining-";
constexpr char condemned_file[] = "spell-condemned", hold_prefix[] = "hold-";

/// flock: held as long as the descriptor is open; the kernel releases it when a process dies.
Result<base::Fd> lock_file(const std::string& path, int how);
std::vector<std::string> names_in(const std::string& folder);

/// A folder for one operation, gone at its end.
struct WorkFolder {
  std::string path;
  static Result<WorkFolder> make(const std::string& store, const std::string& prefix);
  explicit WorkFolder(std::string p) : path(std::move(p)) {}
  WorkFolder(WorkFolder&& other) noexcept : path(std::exchange(other.path, {})) {}
  ~WorkFolder();
};

struct Store::Impl {
  std::string path;
  std::mutex mutex;  ///< guards odb, which serves one thread at a time
  OdbPtr odb;        ///< null: to be opened when it is needed

  std::string pack_folder() const { return path + "/objects/pack"; }
  std::string ref(const std::string& name) const { return path + "/refs/spell/" + name; }

  /// Looks with fresh eyes from here on: another process may have taken away what was known.
  void forget() {
    std::lock_guard lock(mutex);
    odb.reset();
  }
  /// The caller holds `mutex`. Another process may have joined the packs that were known.
  Result<bool> find(const Oid& id, git_object_t type);
  /// Moves an indexed pack from a work folder to where readers find it. Durable on return.
  Result<> publish(const IndexedPack& pack);
  /// The names of packs, without ending.
  std::vector<std::string> packs() const;
  /// Removes packs by name, as far as they are there; durable on return. Bytes that go.
  Result<std::int64_t> remove_packs(const std::vector<std::string>& names);
  /// Ends a removal that a killed process began.
  Result<> remove_condemned();
  /// All of the condemned have gone. The caller holds the writers' lock.
  Result<> end_removal();
  /// Writes objects into new packs in a work folder: trees and commits apart from files, so that
  /// what is written anew whenever a tree is dropped stays small.
  Result<std::vector<IndexedPack>> write_packs(git_odb* from, const std::vector<Oid>& ids,
                                               const std::string& work);
};

}  // namespace spell::git
