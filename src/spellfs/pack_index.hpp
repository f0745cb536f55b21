// The index of a PackStore: which object lies where, and who sent it. SQLite (WAL, synchronous
// NORMAL: what a power loss takes from it is found again in the packs). Private to this module. One
// connection: its user locks. Every operation may fail with `damaged_index`: then the file is to be
// removed and built anew from the packs.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "spellfs/node.hpp"
#include "spellfs/pack.hpp"

struct sqlite3;

namespace spell::spellfs {

struct Indexed {
  Frame frame{};
  Facts facts{};  ///< of a frame that is elsewhere: not used
};
struct Location {
  std::int64_t pack = 0;  ///< its number
  std::string pack_id{};
  Indexed object{};
};

class PackIndex {
 public:
  static Result<std::unique_ptr<PackIndex>> open(const std::string& path);
  ~PackIndex();
  PackIndex(const PackIndex&) = delete;
  PackIndex& operator=(const PackIndex&) = delete;

  Result<std::optional<Location>> find(const Name& name);
  /// The object's facts if `owner` sent it and its bytes are there.
  Result<std::optional<Facts>> find_sent(const std::string& owner, const Name& name);
  /// In one transaction. An object that is there already stays where it is, and is then sent by
  /// both.
  Result<> add(const std::string& pack_id, const std::string& owner, std::int64_t size,
               std::vector<Indexed> objects);
  /// Drops a pack that is no longer there, with its objects.
  Result<> forget(const std::string& pack_id);
  Result<std::vector<std::string>> packs();
  Result<std::int64_t> stored_bytes();

 private:
  class Statement;
  explicit PackIndex(sqlite3* db);
  Error error(const char* what) const;
  Result<> run(const char* sql);
  Result<> prepare();
  Result<> insert(const std::string& pack_id, const std::string& owner, std::int64_t size,
                  const std::vector<Indexed>& objects);

  sqlite3* db_;
  std::unique_ptr<Statement> find_, find_sent_, add_owner_, add_pack_, add_object_, add_sent_;
};

}  // namespace spell::spellfs
