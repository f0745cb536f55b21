// What the client remembers of a work tree, in a file of its own: a stale Git index costs seconds
// and must not be written. Everything in it can be lost or damaged without harm: what cannot be
// read back is computed again.
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "git/libgit2.hpp"

struct stat;

namespace spell::git {

struct FileState {
  std::int64_t size = 0, mtime_ns = 0, ctime_ns = 0;
  std::uint64_t inode = 0;
  std::uint32_t mode = 0;
  bool operator==(const FileState&) const = default;
};
FileState file_state(const struct stat& st);

class StatCache {
 public:
  struct Ids {
    Oid raw{};    ///< blob with the file's bytes
    Oid clean{};  ///< blob that Git holds for these bytes where it is another one (line ends, LFS
                  ///< pointer), else `raw`
    bool operator==(const Ids&) const = default;
  };

  /// `folder` "": remembers nothing.
  StatCache(const std::string& folder, const std::string& work_tree);

  std::optional<Ids> find(const std::string& path, const FileState& state) const;
  /// Ignored for a file that changed within 2 s of `now_ns`: it may change again without another
  /// time stamp.
  void put(const std::string& path, const FileState& state, const Ids& ids, std::int64_t now_ns);

  /// The root commit of a commit's history.
  std::optional<Oid> find_root(const Oid& commit) const;
  void put_root(const Oid& commit, const Oid& root);

  /// Blobs sent for recent snapshots: tree -> blobs that are in no commit of the user's.
  const std::map<Oid, std::vector<Oid>>& sent() const { return sent_; }
  void put_sent(const Oid& tree, std::vector<Oid> blobs);

  /// Writes the file if anything was put. Drops files that are gone from the work tree.
  void save();

 private:
  void load();
  struct Entry {
    FileState state{};
    Ids ids{};
  };
  std::string file_, work_tree_;
  std::map<std::string, Entry> entries_;
  std::vector<std::pair<Oid, Oid>> roots_;
  std::map<Oid, std::vector<Oid>> sent_;
  std::vector<Oid> sent_order_;
  bool changed_ = false;
};

}  // namespace spell::git
