#include <set>
#include <unordered_map>

#include "base/error.hpp"
#include "spellfs/check.hpp"
#include "spellfs/store.hpp"

namespace spell::spellfs {

namespace {

class MemoryStore final : public ChunkStore {
 public:
  Result<std::string> get(Kind kind, const Name& name) const override {
    std::lock_guard lock(mutex_);
    auto it = objects_.find(name);
    if (it == objects_.end() || it->second.facts.kind != kind)
      return base::error("object_not_found", "there is no object " + name.text());
    return it->second.bytes;
  }

  Result<std::vector<Name>> missing(const std::string& owner,
                                    std::span<const Name> names) const override {
    std::lock_guard lock(mutex_);
    std::vector<Name> out;
    for (auto& name : names)
      if (!sent_.contains({owner, name})) out.push_back(name);
    return out;
  }

  Result<> add_pack(const std::string& owner, int fd, std::int64_t size) override {
    std::lock_guard lock(mutex_);
    std::unordered_map<Name, Object, NameHash> added;
    auto sent = [&](const Name& name) -> Result<std::optional<Facts>> {
      if (!sent_.contains({owner, name})) return std::optional<Facts>();
      return std::optional<Facts>(objects_.at(name).facts);
    };
    SPELL_TRY(check_pack(fd, size, sent, [&](const Checked& object) {
      added.emplace(object.frame.name, Object{object.facts, std::string(object.bytes)});
      return ok();
    }));
    for (auto& [name, object] : added) {
      sent_.emplace(owner, name);
      auto length = static_cast<std::int64_t>(object.bytes.size());
      if (objects_.emplace(name, std::move(object)).second) stored_ += length;
    }
    return ok();
  }

  Result<bool> owns(const std::string& owner, const Name& name) const override {
    std::lock_guard lock(mutex_);
    return sent_.contains({owner, name});
  }

  std::int64_t stored_bytes() const override {
    std::lock_guard lock(mutex_);
    return stored_;
  }

 private:
  struct Object {
    Facts facts;
    std::string bytes;
  };
  mutable std::mutex mutex_;
  std::unordered_map<Name, Object, NameHash> objects_;
  std::set<std::pair<std::string, Name>> sent_;
  std::int64_t stored_ = 0;
};

}  // namespace

std::unique_ptr<ChunkStore> make_memory_store() { return std::make_unique<MemoryStore>(); }

}  // namespace spell::spellfs
