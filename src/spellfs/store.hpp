// Where objects are kept. ChunkStore is the interface that saving and reading are written against;
// PackStore keeps packs in a local folder with an index on disk; MemoryStore is for tests.
// Thread-safe. Names become visible only when their bytes are durable.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "spellfs/object.hpp"

namespace spell::spellfs {

class ChunkStore {
 public:
  virtual ~ChunkStore() = default;
  /// The object's uncompressed bytes, verified against its name. Errors: `object_not_found`,
  /// `damaged`.
  virtual Result<std::string> get(Kind, const Name&) const = 0;
  /// Those that this owner has not sent yet.
  virtual Result<std::vector<Name>> missing(const std::string& owner,
                                            std::span<const Name>) const = 0;
  /// Takes a pack (format v1) from `fd`: checks header, every frame's hash, the footer, and that
  /// every object that a node of it names is in it or was sent before by this owner. Durable on
  /// return. Errors: `bad_pack`, `incomplete_pack`.
  virtual Result<> add_pack(const std::string& owner, int fd, std::int64_t size) = 0;
  /// Whether the object was sent by this owner (together with all below it).
  virtual Result<bool> owns(const std::string& owner, const Name&) const = 0;
  virtual std::int64_t stored_bytes() const = 0;
};

/// `folder`/packs/*.pack and `folder`/index.db (SQLite; rebuilt from the packs where it is lost).
Result<std::unique_ptr<ChunkStore>> open_pack_store(const std::string& folder);
std::unique_ptr<ChunkStore> make_memory_store();

/// Writes a pack v1 into a file. Not thread-safe.
class PackWriter {
 public:
  /// Writes to `fd` from its start; the file is the caller's.
  explicit PackWriter(int fd);
  ~PackWriter();
  /// Compresses where that pays. A name that this pack has already is not written again.
  Result<> add(Kind, const Name&, std::string_view bytes);
  bool has(const Name&) const;
  std::int64_t objects() const;
  /// Written so far, as stored.
  std::int64_t bytes() const;
  /// Footer and checksum. Returns the pack's size.
  Result<std::int64_t> finish();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace spell::spellfs
