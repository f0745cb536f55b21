// One walk over a work tree: the state of every tracked file, what is untracked and what is
// ignored. Reads only.
#pragma once
#include <string>
#include <vector>

#include "git/libgit2.hpp"
#include "git/objects.hpp"
#include "git/stat_cache.hpp"
#include "git/tree.hpp"

namespace spell::git {

struct Scan {
  std::vector<Leaf> tracked{};  ///< the work tree as a commit of all changes would have it, sorted
  std::vector<Leaf> content{};  ///< the same with the files' bytes where those differ from Git's
                                ///< blob (LFS), sorted
  int lfs_files = 0;            ///< how many differ so
  std::vector<Leaf> untracked_files{};   ///< with `with_untracked`, sorted
  std::vector<std::string> untracked{};  ///< untracked files, whole folders as "dir/"
  std::vector<std::string> ignored{};    ///< ignored folders at the top, "data/"
  std::vector<std::string> modules{};    ///< submodules, all of them clean
  std::vector<std::string>
      nested{};  ///< untracked folders that are repositories of their own: never sent
};

/// `now_ns`: the time of day, which decides what the cache may keep.
/// `objects` gets the bytes of all that is not in the repository already.
/// Errors: `unsupported_repository` (changed submodules, LFS content that is not here),
/// `not_permitted`, `file_changed`.
Result<Scan> scan(git_repository* repository, StatCache& cache, NewObjects& objects,
                  bool with_untracked, std::int64_t now_ns);

}  // namespace spell::git
