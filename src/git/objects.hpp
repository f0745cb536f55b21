// Objects that exist only for a snapshot: kept in memory, or (large files) as a promise to read the
// work tree again. They stand in front of a repository's own objects in one object database that is
// never written to.
#pragma once
#include <string>
#include <unordered_map>

#include "git/libgit2.hpp"

namespace spell::git {

/// The id of a blob with the first `size` bytes of a file. Error `file_changed` if it has fewer by
/// now.
Result<Oid> hash_file(int fd, std::int64_t size, const std::string& shown);
Oid hash_object(std::string_view bytes, git_object_t type);

class NewObjects {
 public:
  Oid add(std::string bytes, git_object_t type);
  /// A blob with the first `size` bytes of a file; its content must still have this id when it is
  /// read.
  void add_file(const Oid& id, std::string path, std::int64_t size);
  bool has(const Oid& id) const { return items_.contains(id); }
  /// Ids of its blobs.
  std::vector<Oid> blobs() const;

  /// A database of these objects over those in `objects_folder`. Must not outlive this object.
  Result<OdbPtr> open_over(const std::string& objects_folder);

 private:
  struct Item {
    git_object_t type = GIT_OBJECT_BLOB;
    std::string bytes{}, path{};
    std::int64_t size = 0;
  };
  struct Backend;
  std::unordered_map<Oid, Item, OidHash> items_;
};

}  // namespace spell::git
