// Where objects are kept. ObjectSource is what reading is written against, ChunkStore what saving
// is; PackStore keeps packs in a local folder with an index on disk; MemoryStore is for tests;
// objects of another machine's store are read through remote_store.hpp. Thread-safe. Names become
// visible only when their bytes are durable.
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

class ObjectSource {
 public:
  virtual ~ObjectSource() = default;
  /// The object's uncompressed bytes, verified against its name. Errors: `object_not_found`,
  /// `damaged`.
  virtual Result<std::string> get(Kind, const Name&) const = 0;
  /// A chunk of which the size is known, and where its bytes are to go.
  struct ChunkRead {
    Name name{};
    char* to = nullptr;
    std::size_t size = 0;
  };
  /// Several at once, which is quicker. Errors: as of get(); `damaged` also for another size. What
  /// was written to is of no use then.
  virtual Result<> read_chunks(std::span<const ChunkRead>) const;
};

class ChunkStore : public ObjectSource {
 public:
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

std::unique_ptr<ChunkStore> make_memory_store();

struct Squeezed;
struct PackTarget;

/// A file for a pack, the caller's, and how many bytes it may have there, about.
struct PackPlace {
  int fd = -1;
  std::int64_t limit = INT64_MAX;
  std::span<char> mapped{};  ///< the file's beginning, if it is in memory: written there at once
};

/// Writes a pack v1 into a file, or packs of bounded size one after the other. Not thread-safe.
class PackWriter {
 public:
  /// Takes a whole pack of `size` bytes and returns the place for the next one. May still be busy
  /// with it then; but packs are to arrive in their order, since one may name objects of those
  /// before it.
  using Next = std::function<Result<PackPlace>(std::int64_t size)>;
  /// Writes to `fd` from its start; the file is the caller's.
  explicit PackWriter(int fd);
  /// Hands each pack on to `next` that has reached its limit of bytes, or 65,536 objects; the last
  /// one is the caller's, see finish(). A limit of at least what save() asks about at once (16 MiB)
  /// keeps equal content from being written twice.
  PackWriter(PackPlace first, Next next);
  /// As a store of this process does it (pack.hpp).
  explicit PackWriter(std::unique_ptr<PackTarget> target);
  ~PackWriter();
  /// Compresses where that pays. A name that this pack, or the one before, has is not written
  /// again.
  Result<> add(Kind, const Name&, std::string_view bytes);
  /// The same for objects that are compressed already (pack.hpp): written together.
  Result<> add(std::span<const Squeezed> objects);
  /// Of this class what may be called while another thread adds.
  bool has(const Name&) const;
  /// In the present pack.
  std::int64_t objects() const;
  /// Written so far, as stored, in all packs.
  std::int64_t bytes() const;
  /// Of that, bytes of files, before compression.
  std::int64_t content() const;
  /// Footer and checksum of the present pack. Returns its size. Of a store's writer: all is durable
  /// then.
  Result<std::int64_t> finish();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// The folder nodes in a finished pack: what edit() needs of a tree that was just made.
Result<> each_folder_node(int fd, std::int64_t size,
                          const std::function<void(const Name&, std::string bytes)>& take);

}  // namespace spell::spellfs
