// Work on trees: building one from a list of files, comparing two, and what one tree needs beyond
// others.
#pragma once
#include <string>
#include <vector>

#include "git/libgit2.hpp"
#include "git/objects.hpp"

namespace spell::git {

struct Leaf {
  std::string path{};
  std::uint32_t mode = mode_file;
  Oid id{};
};

/// Adds the trees for `leaves`, which are sorted by path and have no path twice, to `objects`. The
/// root's id.
Oid build_tree(const std::vector<Leaf>& leaves, NewObjects& objects);

/// Paths of the files that differ between two trees (added, removed, another content or mode),
/// sorted.
Result<std::vector<std::string>> changed_paths(git_odb* odb, const Oid& before, const Oid& after);

/// Ids of the trees and blobs below `tree` (itself included) that none of `known` has at the same
/// place or in the same folder. Equal folders are not descended into, so the cost follows the
/// difference.
Result<std::vector<Oid>> missing_objects(git_odb* odb, const Oid& tree,
                                         const std::vector<Oid>& known);

struct TreeSurvey {
  std::vector<std::string> modules{};       ///< paths of submodules
  std::vector<std::string> lfs_pointers{};  ///< paths of Git LFS pointers
};
/// Looks for what a plain checkout of the tree would leave out.
Result<TreeSurvey> survey(git_odb* odb, const Oid& tree);

/// What a Git LFS pointer says; nothing if `bytes` is not one.
struct LfsPointer {
  std::string sha256{};
  std::int64_t size = 0;
};
std::optional<LfsPointer> parse_lfs_pointer(std::string_view bytes);
constexpr std::size_t lfs_pointer_limit = 1024;

}  // namespace spell::git
