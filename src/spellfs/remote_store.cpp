#include "spellfs/remote_store.hpp"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <unordered_map>
#include <unordered_set>

#include "base/error.hpp"
#include "spellfs/node.hpp"
#include "spellfs/pack.hpp"

namespace spell::spellfs {

namespace {

class FetchingStore final : public RemoteStore {
 public:
  FetchingStore(FetchObjects fetch, RemoteOptions options)
      : fetch_(std::move(fetch)), options_(options) {}

  Result<std::string> get(Kind kind, const Name& name) const override {
    auto object = find_or_fetch(name);
    if (!object) return object.error();
    if (object->frame.kind != kind) return not_there(name);
    Decompressor decompressor;
    auto bytes = decompressor.unpack(object->frame, *object->stored);
    if (!bytes) return forget(name), bytes.error();
    return std::string(*bytes);
  }

  void expect(std::span<const Name> wanted) const override {
    std::unique_lock lock(mutex_);
    std::vector<Name> names;
    for (auto& name : wanted)
      if (names.size() < options_.ask_names && !objects_.contains(name) &&
          asked_.insert(name).second)
        names.push_back(name);
    if (!names.empty()) (void)ask(lock, names);
  }

 private:
  struct Object {
    Frame frame{};
    std::shared_ptr<const std::string> stored{};
  };
  /// What a node names, in its order: the next to be asked for. Behind the last one comes what the
  /// next node of the same answer names.
  struct Siblings {
    struct One {
      Name name{};
      bool folder = false;
      std::uint32_t bytes = 0;  ///< roughly
    };
    std::vector<One> all{};
    std::weak_ptr<const Siblings> next{};
  };
  struct Place {
    std::shared_ptr<const Siblings> among{};
    std::size_t at = 0;
  };

  static Error not_there(const Name& name) {
    return base::error("object_not_found", "there is no object " + name.text());
  }

  Result<Object> find_or_fetch(const Name& name) const {
    std::unique_lock lock(mutex_);
    for (;;) {
      if (auto it = objects_.find(name); it != objects_.end()) return it->second;
      if (!asked_.contains(name)) break;
      changed_.wait(lock);
    }
    std::vector<Name> names = next_from(name);
    asked_.insert(names.begin(), names.end());
    return ask(lock, names);
  }

  /// Returns the first of them. They are in asked_; the lock is let go of meanwhile.
  Result<Object> ask(std::unique_lock<std::mutex>& lock, const std::vector<Name>& names) const {
    lock.unlock();
    auto bytes = fetch_(names);
    auto pack = bytes ? PackFileReader::open(std::move(*bytes)) : bytes.error();
    lock.lock();
    // Whoever waits for one that did not come asks for it himself.
    auto object = pack ? take(*pack, names.front()) : pack.error();
    for (auto& asked : names) asked_.erase(asked);
    changed_.notify_all();
    return object;
  }

  /// The name, and what is going to be wanted after it.
  std::vector<Name> next_from(const Name& name) const {
    std::vector<Name> names{name};
    auto it = places_.find(name);
    if (it == places_.end()) return names;
    auto [among, at] = it->second;
    bool folder = among->all[at].folder;
    std::size_t bytes = among->all[at].bytes;
    std::unordered_set<Name, NameHash> here{name};
    for (++at; among && bytes < options_.ask_bytes && names.size() < options_.ask_names; ++at) {
      while (among && at >= among->all.size()) among = among->next.lock(), at = 0;
      if (!among) break;
      auto& one = among->all[at];
      if (one.folder != folder || here.contains(one.name)) continue;
      // Others are at what follows.
      if (objects_.contains(one.name) || asked_.contains(one.name)) break;
      here.insert(one.name);
      names.push_back(one.name);
      bytes += one.bytes;
    }
    return names;
  }

  /// Keeps what was asked for. Returns the object called `wanted`.
  Result<Object> take(PackFileReader& pack, const Name& wanted) const {
    Result<Object> out = not_there(wanted);
    std::shared_ptr<Siblings> before;
    for (auto& frame : pack.frames()) {
      if (!asked_.contains(frame.name) || frame.codec == Codec::elsewhere) continue;
      auto stored = pack.stored(frame);
      if (!stored) return stored.error();
      Object object{frame, std::make_shared<std::string>(*stored)};
      if (frame.name == wanted) out = object;
      if (frame.kind != Kind::chunk) look_ahead(object, before);
      keep(std::move(object));
    }
    return out;
  }

  void keep(Object object) const {
    Name name = object.frame.name;
    auto size = object.stored->size();
    if (!objects_.emplace(name, std::move(object)).second) return;
    arrived_.push_back(name);
    held_ += size;
    while (held_ > options_.memory && arrived_.size() > 1) {
      if (auto oldest = objects_.find(arrived_.front()); oldest != objects_.end()) {
        held_ -= oldest->second.stored->size();
        objects_.erase(oldest);
      }
      arrived_.pop_front();
    }
  }

  void forget(const Name& name) const {
    std::lock_guard lock(mutex_);
    auto it = objects_.find(name);
    if (it == objects_.end()) return;
    held_ -= it->second.stored->size();
    objects_.erase(it);
  }

  /// Remembers what a node names. One that is none is found out by who reads it.
  void look_ahead(const Object& node, std::shared_ptr<Siblings>& before) const {
    constexpr std::size_t most = 64 << 10;
    auto bytes = decompressor_.unpack(node.frame, *node.stored);
    auto description = bytes ? describe(node.frame.kind, *bytes) : bytes.error();
    if (!description || description->references.empty()) return;
    auto siblings = std::make_shared<Siblings>();
    for (auto& [name, facts, any_level] : description->references)
      if (options_.whole_trees || node.frame.kind == Kind::file || facts.kind == Kind::folder)
        siblings->all.push_back({name, facts.kind == Kind::folder, size_of(facts)});
    if (siblings->all.empty()) return;
    for (std::size_t i = 0; i < siblings->all.size(); ++i)
      places_[siblings->all[i].name] = {siblings, i};
    if (before) before->next = siblings;
    before = siblings;
    ahead_ += siblings->all.size();
    seen_.push_back(std::move(siblings));
    while (ahead_ > most && seen_.size() > 1) {
      auto& oldest = seen_.front();
      for (auto& one : oldest->all)
        if (auto it = places_.find(one.name); it != places_.end() && it->second.among == oldest)
          places_.erase(it);
      ahead_ -= oldest->all.size();
      seen_.pop_front();
    }
  }

  static std::uint32_t size_of(const Facts& facts) {
    constexpr std::int64_t folder = 8 << 10, chunk = 64 << 10, line = 36;
    switch (facts.kind) {
      case Kind::chunk:
        return static_cast<std::uint32_t>(std::min<std::int64_t>(facts.totals.size, max_object));
      case Kind::file:
        return static_cast<std::uint32_t>(std::clamp<std::int64_t>(
            facts.totals.size / chunk * line, 2 * line, static_cast<std::int64_t>(max_node)));
      case Kind::folder:
        break;
    }
    return folder;
  }

  const FetchObjects fetch_;
  const RemoteOptions options_;
  mutable std::mutex mutex_;  // of what follows
  mutable std::condition_variable changed_;
  mutable std::unordered_map<Name, Object, NameHash> objects_;
  mutable std::deque<Name> arrived_;
  mutable std::size_t held_ = 0, ahead_ = 0;
  mutable std::unordered_set<Name, NameHash> asked_;
  mutable std::unordered_map<Name, Place, NameHash> places_;
  mutable std::deque<std::shared_ptr<const Siblings>> seen_;
  mutable Decompressor decompressor_;
};

}  // namespace

std::unique_ptr<RemoteStore> make_remote_store(FetchObjects fetch, RemoteOptions options) {
  return std::make_unique<FetchingStore>(std::move(fetch), options);
}

}  // namespace spell::spellfs
