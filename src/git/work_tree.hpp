// The user's side of Git: what a repository looks like, and a commit of its present state, made
// without touching .git. The only place with libgit2 is this folder; none of its types is in a
// header. Blocking; thread-safe (no shared state).
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "spell/code.hpp"
#include "spell/result.hpp"

namespace spell::git {

/// See spell::inspect. `stat_cache`: folder for the client's own stat cache ("": none).
Result<CodeInfo> inspect(const std::string& path, const std::string& ref,
                         const std::string& stat_cache = {});

struct SnapshotOptions {
  std::string path = ".", ref = "HEAD";
  bool include_untracked = false, require_clean = false;
  std::string stat_cache{};
};

/// A commit and all it needs; keeps the repository open and the new objects in memory.
class Snapshot {
 public:
  struct Impl;
  explicit Snapshot(std::shared_ptr<Impl>);
  const CodeInfo& info() const;
  const std::string& commit()
      const;  ///< the commit to run: the snapshot's, or info().commit if nothing was changed
  const std::string& base_commit() const;  ///< "" if commit() is the user's own
  /// Lines for the user: what was included, what is not sent, with the option that changes it.
  const std::vector<std::string>& notices() const;
  /// Ids of trees of recent ancestors, newest first (at most `count`), to ask the service which it
  /// has.
  std::vector<std::string> recent_trees(int count = 64) const;
  /// Writes a pack with the commit and what its tree needs beyond `known_trees` to `fd`. Returns
  /// its size. `progress(done, total)` counts objects.
  Result<std::int64_t> write_pack(
      int fd, const std::vector<std::string>& known_trees,
      const std::function<void(std::int64_t, std::int64_t)>& progress = {}) const;

 private:
  std::shared_ptr<Impl> impl_;
};

/// Errors: `not_a_repository`, `no_commit`, `bad_ref`, `uncommitted_changes` (require_clean),
/// `unsupported_repository` (submodule with changes, LFS pointers whose content is missing, …: says
/// which and the way out). `file_changed` (a file was written to while it was read),
/// `not_permitted` (an unreadable file). A linked worktree is sent as it is; in a shallow clone the
/// oldest commit that is there stands for the root commit. The commit is a function of base and
/// content: fixed author, the base's date, so the same tree has the same id.
Result<Snapshot> snapshot(const SnapshotOptions&);

/// A repository by URL: https://, or file:// and a local path, which are read where they are.
/// https:// is fetched into a bare repository below `cache`; concurrent calls wait for each other.
/// info().root is "" then. `ref`: branch, tag, commit id. Errors: `cannot_fetch` (names the URL
/// without credentials), `bad_ref`, `no_commit`, `unsupported_repository`.
Result<Snapshot> fetch_url(const std::string& url, const std::string& ref,
                           const std::string& cache);

}  // namespace spell::git
