// What stands behind a Snapshot: an opened repository, the commit to send and the objects that are
// only in memory.
#pragma once
#include <mutex>

#include "git/libgit2.hpp"
#include "git/objects.hpp"
#include "git/stat_cache.hpp"
#include "git/work_tree.hpp"

namespace spell::git {

struct Snapshot::Impl {
  CodeInfo info{};
  std::string commit{}, base_commit{};
  std::vector<std::string> notices{};
  std::string stat_cache{};
  Oid id{}, tree{}, base{};
  NewObjects objects{};  ///< before the database that points to it
  OdbPtr odb{};
  std::mutex mutex{};  ///< the database serves one thread at a time
};

/// Opens the objects of a repository and fills what its commit says: commit, tree, base, message,
/// workspace.
Result<> load_commit(Snapshot::Impl& snapshot, git_repository* repository, const Oid& commit,
                     StatCache& cache);
/// Refuses a tree that cannot arrive as it is without its work tree; adds notices for what will be
/// empty.
Result<> check_committed_tree(Snapshot::Impl& snapshot, const std::string& shown);
/// The commit that `ref` names. Errors: `bad_ref`, `no_commit`.
Result<Oid> resolve(git_repository* repository, const std::string& ref, const std::string& shown);
/// "a, b, c, …"
std::string short_list(const std::vector<std::string>& names);
/// The last part of a path or URL, without ".git".
std::string last_part(std::string address);

}  // namespace spell::git
