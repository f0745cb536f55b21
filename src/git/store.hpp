// The service's side of Git: one bare repository per owner and workspace; and the worker's: files
// of a commit in a folder. A Store serialises its writers itself, across processes too; reads are
// safe from any thread. Invariant: every object in a store is complete, that is, all it needs is in
// the store as well (a commit's parents are not needed). A pack is taken only as a whole, when that
// holds for all of its objects, so "is it here" answers "is it complete".
#pragma once
#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "spell/result.hpp"

namespace spell::git {

class Store {
 public:
  /// `path`: a bare repository, made if it is not there.
  static Result<Store> open(const std::string& path);
  /// Whether there is one, whole: asking makes none.
  static bool exists(const std::string& path);

  /// Whether the commit and all its tree needs are here (checked once when they came).
  Result<bool> has_commit(const std::string& commit) const;
  /// Those of `trees` that are complete here.
  Result<std::vector<std::string>> known_trees(const std::vector<std::string>& trees) const;
  /// Takes a pack from `fd` (`size` bytes from its start): indexes it, checks every object's hash,
  /// and that `commit` with all its tree names is complete afterwards. Durable on return; on an
  /// error nothing of it stays. Errors: `bad_pack` (damaged, with deltas, with objects that the
  /// commit does not need, with names that a checkout refuses), `incomplete_pack` (names what is
  /// missing, perhaps because it was collected since known_trees told of it), `disk_full`. The
  /// commit is protected under its own id.
  Result<> add_pack(int fd, std::int64_t size, const std::string& commit);
  /// Writes a pack to `fd` of the commit and all its tree needs beyond what those of `have` need
  /// (commits; one that is not here counts for nothing). Returns its size. Error
  /// `commit_not_found`.
  Result<std::int64_t> pack_commit(const std::string& commit, const std::vector<std::string>& have,
                                   int fd) const;
  /// Protects a commit from collection for a while: refs/spell/<name>. Not synced: the run's record
  /// is the durable truth. Error `commit_not_found`.
  Result<> protect(const std::string& name, const std::string& commit);
  Result<> unprotect(const std::string& name);
  /// For a submission: the commit stays as long as the handle lives, within which its run becomes
  /// durable. Takes the place of the protection that the commit came with. Error
  /// `commit_not_found`.
  Result<std::shared_ptr<void>> hold(const std::string& commit);
  /// Names that protect a commit, the most recent first.
  std::vector<std::string> protectors(std::size_t limit) const;
  /// Bytes on disk.
  std::int64_t size() const;
  /// Joins many small packs into one when there are more than `limit`; safe while readers and
  /// writers go on.
  Result<> repack(int limit = 200);

  struct Freed {
    std::int64_t objects = 0, bytes = 0;
    bool spared = false;  ///< something stays only because it arrived within `spare`
  };
  /// Frees what no commit needs but those that are held, are protected since less than `spare`, or
  /// are `named`. That is asked twice, the second time under the store's locks. History is not
  /// needed. Of a pack that loses files only, less than a quarter of it, nothing goes. Others may
  /// read, send and submit meanwhile; may be killed at any point. Errors: `missing_object`,
  /// `bad_object` (something that is named is not whole: nothing is freed), `disk_full`,
  /// `canceled`.
  using Named = std::function<Result<std::vector<std::string>>()>;
  Result<Freed> collect(const Named& named, std::chrono::seconds spare, std::stop_token stop = {});

  struct Checked {
    std::int64_t packs = 0, objects = 0, bytes = 0;  ///< that were read
    std::vector<std::string> damaged{};              ///< a line each
    std::vector<std::string> hurt{};                 ///< those of the commits that are not whole
  };
  /// Looks whether all packs are as they were written, and `commits` whole.
  Result<Checked> check(const std::vector<std::string>& commits, std::stop_token stop = {}) const;

 private:
  struct Impl;
  class Collection;
  std::shared_ptr<Impl> impl_;
};

/// What checkout made: enough to tell later which files are new or changed. Relative path -> state.
/// A path that ends in '/' is an empty folder, without a state.
struct CheckedOutFile {
  std::int64_t size = 0, mtime_ns = 0, ctime_ns = 0;
  std::uint64_t inode = 0;
  std::uint32_t mode = 0;
  std::array<std::uint8_t, 20> blob{};  ///< its id; zeros: not known
};
using CheckoutManifest = std::map<std::string, CheckedOutFile>;

/// Writes the files of a commit below `folder` (which exists and is empty). Executable bits and
/// links arrive as they are; no filter, no end-of-line conversion, no user's Git settings. A path
/// that would leave the folder or name ".git" is an error. Submodules become empty folders, named
/// in `notices`. Errors: `commit_not_found`, `bad_tree`, `disk_full`, `io_error`; what was written
/// until then stays.
Result<CheckoutManifest> checkout(const std::string& repository, const std::string& commit,
                                  const std::string& folder, std::vector<std::string>& notices);

/// A file of a commit; no link is followed. Errors: `commit_not_found`, `not_found` (no such file,
/// or no plain one), `too_large`.
Result<std::string> read_committed(const std::string& repository, const std::string& commit,
                                   const std::string& path, std::size_t limit);

/// Whether the file or link `name` in an open folder has the content that the checkout wrote. Reads
/// it.
bool has_content(const CheckedOutFile& written, int folder, const std::string& name);

}  // namespace spell::git
