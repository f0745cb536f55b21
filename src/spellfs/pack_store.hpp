// The store of a local folder: packs, and an index on disk. Beyond ChunkStore it saves without a
// detour, collects what no root reaches, checks everything, and tells how much room it takes.
// Thread-safe; of one process at a time.
#pragma once
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "spellfs/store.hpp"

namespace spell::spellfs {

/// A name that must stay with all below it, and what it is called when it is hurt ("ada runs/3").
struct Root {
  Name node{};
  std::string label{};
};
/// Asked for all roots of all owners; durable ones are enough (see Pin). Called while packs and
/// pins wait: it must not ask the store for any.
using Roots = std::function<Result<std::vector<Root>>()>;

struct CollectOptions {
  /// Packs that arrived more recently stay, with all that they name.
  std::chrono::seconds spare = std::chrono::hours(24);
  /// A pack is written anew when at least this part of it has gone.
  double worth = 0.25;
  std::stop_token stop{};  ///< error `canceled`; what was freed stays freed
};
struct CollectResult {
  std::int64_t objects = 0;  ///< that were condemned
  std::int64_t bytes = 0;    ///< that the file system got back
  std::int64_t packs_removed = 0, packs_rewritten = 0;
};

struct CheckOptions {
  /// What is damaged counts as missing from now on, with all that needs it, so that it can be sent
  /// again.
  bool forget_damaged = false;
  std::function<void(std::int64_t bytes)> progress{};  ///< read so far
  std::stop_token stop{};                              ///< error `canceled`
};
struct CheckResult {
  struct Damage {
    std::string pack{}, what{};  ///< its file name; one line
    std::optional<Name> name{};  ///< of the object; none: the pack's own parts
  };
  struct Hurt {
    std::string label{};
    std::vector<Name> names{};  ///< damaged or missing below the root; at most 100
  };
  std::int64_t packs = 0, objects = 0, bytes = 0;
  std::vector<Damage> damaged{};
  std::vector<Hurt> hurt{};
  bool fine() const { return damaged.empty() && hurt.empty(); }
};

struct Usage {
  std::int64_t bytes = 0, files = 0;  ///< as they would be on disk, shared ones counted each time
  std::int64_t stored = 0;            ///< of all objects below, each once, as stored
};

/// `folder`/packs/*.pack and `folder`/index.db (SQLite; rebuilt from the packs where it is lost).
class PackStore;
Result<std::unique_ptr<PackStore>> open_pack_store(const std::string& folder);

class PackStore : public ChunkStore {
 public:
  /// Keeps names, and all below them, from being collected. Taken *before* asking whether a name is
  /// owned, and held until a durable root names it.
  class Pin {
   public:
    Pin() = default;
    /// Lets go of it with the last copy.
    explicit Pin(std::shared_ptr<void> held) : held_(std::move(held)) {}

   private:
    std::shared_ptr<void> held_;
  };
  virtual Pin pin(std::vector<Name> names) = 0;

  /// A writer straight into the store, without a copy in between: for a save in this process. Its
  /// packs appear one by one, durable; finish() brings the last one. What the owner has sent before
  /// need not be added; ask missing() first (SaveOptions::missing). If a collection came in between
  /// and took what an object needs: `incomplete_pack`, save again.
  virtual Result<std::unique_ptr<PackWriter>> writer(const std::string& owner) = 0;

  /// A pack without an owner of the first of these objects, as they are stored: as many as fit
  /// `limit` bytes, at least one; for who reads from afar (remote_store.hpp) and verifies. Error
  /// `object_not_found`: one of them was not sent by this owner.
  virtual Result<std::string> pack_of(const std::string& owner, std::span<const Name> names,
                                      std::size_t limit) const = 0;

  /// Frees what neither a root nor a pin reaches, while all else goes on. Killed at any point it
  /// loses nothing and leaves nothing to clean up. Error `damaged` if something that a root needs
  /// cannot be read: then nothing is freed.
  virtual Result<CollectResult> collect(const Roots& roots, const CollectOptions& options = {}) = 0;

  /// Reads and verifies every byte of every pack, and that all below each root is there.
  virtual Result<CheckResult> check(const Roots& roots, const CheckOptions& options = {}) = 0;

  /// Above a million objects `stored` may be too small by a thousandth: memory stays bounded.
  virtual Result<Usage> usage(std::span<const Name> roots) const = 0;
};

}  // namespace spell::spellfs
