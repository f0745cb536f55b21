// PackStore on a local folder. Private to this module; its parts are in pack_store.cpp (opening,
// reading, adding), rebuild.cpp (the index from the packs), collect.cpp and audit.cpp.
//
//   folder/format          "spellfs 1 …": versions of the formats, written once
//   folder/packs/ID.pack   immutable; names its owner (pack.hpp)
//   folder/packs/ID.tmp    a pack that is being written, locked by its writer; those without one
//                          are removed when the store is opened
//   folder/index.db        can be lost: built anew from the packs
//
// A pack is synced, renamed, its folder synced; then the index is committed, and only then do its
// names exist. A crash in between leaves a whole pack that the next opening takes in.
//
// An object counts as sent only while everything that it names is there. So an index
// that is built from the packs may hold again what a collection had condemned (until the next one),
// but never half of it.
//
// Locks, in their order: `collecting_` (one collection at a time); `adding_` for the adding of a
// pack (so what anybody sends is stored once), a rebuilding, and each step of a collection;
// the pins; `reading_` for the look-ups, never while a pack is read.
#pragma once
#include <atomic>
#include <map>
#include <mutex>
#include <set>
#include <unordered_map>
#include <unordered_set>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "spellfs/pack_index.hpp"
#include "spellfs/pack_store.hpp"

namespace spell::spellfs {

class LocalStore final : public PackStore {
 public:
  explicit LocalStore(const std::string& folder) : folder_(folder) {}
  Result<> open();

  Result<std::string> get(Kind, const Name&) const override;
  Result<> read_chunks(std::span<const ChunkRead>) const override;
  Result<std::vector<Name>> missing(const std::string& owner, std::span<const Name>) const override;
  Result<bool> owns(const std::string& owner, const Name&) const override;
  Result<> add_pack(const std::string& owner, int fd, std::int64_t size) override;
  std::int64_t stored_bytes() const override;

  Pin pin(std::vector<Name> names) override;
  Result<std::unique_ptr<PackWriter>> writer(const std::string& owner) override;
  Result<std::string> pack_of(const std::string& owner, std::span<const Name> names,
                              std::size_t limit) const override;
  Result<CollectResult> collect(const Roots&, const CollectOptions&) override;
  Result<CheckResult> check(const Roots&, const CheckOptions&) override;
  Result<Usage> usage(std::span<const Name> roots) const override;

 private:
  class DirectTarget;
  class Collection;
  class Audit;
  // pack_store.cpp
  std::string index_path() const { return folder_ + "/index.db"; }
  std::string pack_path(const std::string& id) const { return folder_ + "/packs/" + id + ".pack"; }
  Result<> check_format();
  Result<> open_index() const;
  Result<std::string> read_object(Kind, const Name&) const;
  Result<> read_located(std::span<const ChunkRead>) const;
  /// Where the stored bytes of an object are.
  struct Stored {
    Frame frame{};
    std::string path{};
    std::shared_ptr<base::Fd> file{};
    Result<std::string> read() const;
    Result<> read_to(char* to) const;
    Result<std::string_view> unpack(Decompressor&, std::string_view stored) const;
    /// Names the pack where something is damaged.
    Error in_pack(const Error&) const;
  };
  /// `owner` "": whoever has sent it.
  Result<Stored> locate(const std::string& owner, const Name&) const;
  Result<std::shared_ptr<base::Fd>> open_pack(std::int64_t number, const std::string& path) const;
  Result<std::optional<Location>> find(const Name&) const;
  Result<> take(const std::string& owner, int fd, std::int64_t size);
  Result<> copy_pack(const std::string& owner, int fd, std::int64_t size, PackFileWriter& out,
                     std::vector<Facts>& facts);
  /// A file in `packs` that nobody else removes while it is open.
  struct Temporary {
    std::string id, path;
    base::Fd fd;
  };
  Result<Temporary> make_temporary() const;
  /// Gives a finished pack its name, durably.
  Result<> publish(const Temporary& file) const;

  /// Runs an operation; if the index turns out to be damaged, builds it anew and runs it once more.
  template <class Operation>
  auto healed(Operation operation) const -> decltype(operation()) {
    int before = rebuilt_;
    auto result = operation();
    if (result || result.error().code() != "damaged_index") return result;
    {
      std::lock_guard adding(adding_);
      if (rebuilt_ == before) SPELL_TRY(rebuild());
    }
    return operation();
  }

  // rebuild.cpp; all of it holding adding_
  struct OpenPack {
    base::Fd fd;
    std::int64_t size = 0;
  };
  Result<> rebuild() const;
  Result<> reconcile() const;
  Result<OpenPack> open_file(const std::string& id) const;
  Result<std::vector<std::string>> packs_in_folder() const;
  /// Enters what can be verified of a pack that the index does not know.
  Result<> take_in(const std::string& id) const;
  /// What lacks something below it counts as not sent: of the packs' own objects, or of all if
  /// there are none.
  Result<> disown_incomplete(const std::set<std::string>& packs) const;

  std::string folder_;
  mutable std::mutex collecting_, adding_, reading_;
  mutable std::unique_ptr<PackIndex> write_index_, read_index_;
  mutable std::map<std::int64_t, std::shared_ptr<base::Fd>> open_packs_;
  mutable std::atomic<int> rebuilt_ = 0;
  /// Shared with the pins, which may outlive the store.
  struct Pins {
    std::mutex mutex;
    std::multiset<Name> names;
  };
  std::shared_ptr<Pins> pins_ = std::make_shared<Pins>();
};

}  // namespace spell::spellfs
