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
  /// Puts the objects of `old_id` that the new pack holds there, and drops the old pack. Durable.
  Result<> move(const std::string& old_id, const std::string& pack_id, const std::string& owner,
                std::int64_t size, const std::vector<Frame>& frames);
  /// Drops a pack that holds no object any more. Durable.
  Result<> drop(const std::string& pack_id);
  /// From here on nobody has sent these, and they are not there. Durable.
  Result<> remove(const std::vector<Name>& names);
  /// They stay readable, but nobody has sent them: something below them is not there. Durable.
  Result<> disown(const std::vector<Name>& names);
  /// With a greater number than `after`, in order of their numbers.
  struct Pack {
    std::int64_t number = 0;
    std::string id{};
  };
  Result<std::vector<Pack>> packs(std::int64_t after = 0);
  Result<std::int64_t> stored_bytes();
  /// Of all packs; objects that have gone are counted until their pack goes.
  Result<std::int64_t> objects();
  Result<std::int64_t> other_owners(const std::string& owner);

 private:
  class Statement;
  explicit PackIndex(sqlite3* db);
  Error error(const char* what) const;
  Result<> run(const char* sql);
  Result<> prepare();
  Result<std::int64_t> number(const char* sql);
  /// In one transaction, which is durable when it returns.
  template <class Change>
  Result<> durably(Change change);
  Result<> insert(const std::string& pack_id, const std::string& owner, std::int64_t size,
                  const std::vector<Indexed>& objects);

  sqlite3* db_;
  std::unique_ptr<Statement> find_, find_sent_, add_owner_, add_pack_, add_object_, add_sent_;
  std::unique_ptr<Statement> move_, remove_object_, remove_sent_, drop_, disown_;
};

}  // namespace spell::spellfs
