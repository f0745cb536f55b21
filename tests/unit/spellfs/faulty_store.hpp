// A store that fails, as disks, networks and machines do, and one that repeats what failed: the two
// together must keep every promise of a ChunkStore.
#pragma once
#include <atomic>
#include <shared_mutex>

#include "support.hpp"

namespace spell::spellfs {

/// Packs on disk. Each operation meets one fault after the other before it succeeds: it is not
/// carried out; it is, but its answer is lost; its pack arrives torn; now and then the power goes,
/// and of the store only what was made durable is left: the packs. Faults are `io_error`s.
class FaultyStore final : public ChunkStore {
 public:
  explicit FaultyStore(std::string folder) : folder_(std::move(folder)) { open(); }

  Result<std::string> get(Kind kind, const Name& name) const override {
    return faulty([&] { return store_->get(kind, name); });
  }
  Result<std::vector<Name>> missing(const std::string& owner,
                                    std::span<const Name> names) const override {
    return faulty([&] { return store_->missing(owner, names); });
  }
  Result<bool> owns(const std::string& owner, const Name& name) const override {
    return faulty([&] { return store_->owns(owner, name); });
  }
  Result<> add_pack(const std::string& owner, int fd, std::int64_t size) override {
    // Torn at another place each time.
    std::int64_t part = size * (1 + operations_ % 7) / 8;
    if (size > 0) {
      std::shared_lock lock(power_);
      if (store_->add_pack(owner, fd, part)) return base::error("internal", "took a torn pack");
    }
    return faulty([&] { return store_->add_pack(owner, fd, size); });
  }
  std::int64_t stored_bytes() const override { return store_->stored_bytes(); }

  int faults() const { return faults_; }

 private:
  void open() const { store_ = std::move(open_pack_store(folder_)).value(); }
  void lose_power() const {
    std::unique_lock lock(power_);
    store_.reset();
    for (auto* suffix : {"", "-wal", "-shm"})
      std::filesystem::remove(folder_ + "/index.db" + suffix);
    write(folder_ + "/packs/half.tmp", "spellpk");
    open();
  }
  template <class Operation>
  auto faulty(Operation operation) const -> decltype(operation()) {
    int number = operations_++;
    auto lost = [&](const char* what) { return ++faults_, base::error("io_error", what); };
    if (number % 64 == 5) return lose_power(), lost("the power went");
    std::shared_lock lock(power_);
    if (number % 3 == 0) return lost("not carried out");
    auto result = operation();
    if (number % 3 == 1) return lost("the answer is lost");
    return result;
  }

  const std::string folder_;
  mutable std::shared_mutex power_;
  mutable std::unique_ptr<PackStore> store_;
  mutable std::atomic<int> operations_ = 0, faults_ = 0;
};

/// Repeats what a fault has hit.
class RepeatingStore final : public ChunkStore {
 public:
  explicit RepeatingStore(std::unique_ptr<ChunkStore> store) : store_(std::move(store)) {}
  Result<std::string> get(Kind kind, const Name& name) const override {
    return repeated([&] { return store_->get(kind, name); });
  }
  Result<std::vector<Name>> missing(const std::string& owner,
                                    std::span<const Name> names) const override {
    return repeated([&] { return store_->missing(owner, names); });
  }
  Result<bool> owns(const std::string& owner, const Name& name) const override {
    return repeated([&] { return store_->owns(owner, name); });
  }
  Result<> add_pack(const std::string& owner, int fd, std::int64_t size) override {
    return repeated([&] { return store_->add_pack(owner, fd, size); });
  }
  std::int64_t stored_bytes() const override { return store_->stored_bytes(); }

 private:
  template <class Operation>
  static auto repeated(Operation operation) -> decltype(operation()) {
    for (;;) {
      auto result = operation();
      if (result || result.error().code() != "io_error") return result;
    }
  }
  std::unique_ptr<ChunkStore> store_;
};

}  // namespace spell::spellfs
