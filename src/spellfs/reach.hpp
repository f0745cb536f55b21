// Which names a set of roots reaches, in bounded memory: nodes exactly, chunks (a hundred times as
// many) by a Bloom filter, which takes a few for members that are none, never the reverse. Private
// to this module.
#pragma once
#include <algorithm>
#include <functional>
#include <unordered_set>
#include <vector>

#include "base/error.hpp"
#include "spellfs/node.hpp"
#include "spellfs/store.hpp"

namespace spell::spellfs {

/// Bloom, "Space/time trade-offs in hash coding with allowable errors", CACM 13(7), 1970. The names
/// are digests: their own bits are the hash functions.
class NameFilter {
 public:
  /// 64 bits an object, at most 32 MiB: up to 4 million objects a wrong answer is less likely than
  /// one in a billion, at 16 million one in 10,000.
  explicit NameFilter(std::int64_t objects) {
    std::uint64_t wanted = static_cast<std::uint64_t>(std::max<std::int64_t>(objects, 1)) * 64;
    std::uint64_t bits = 1 << 16;
    while (bits < wanted && bits < (32ULL << 23)) bits *= 2;
    words_.resize(bits / 64);
  }
  bool contains(const Name& name) const {
    for (int i = 0; i < probes; ++i)
      if (!(words_[word(name, i)] >> bit(name, i) & 1)) return false;
    return true;
  }
  /// False if it was there.
  bool add(const Name& name) {
    bool fresh = !contains(name);
    for (int i = 0; i < probes; ++i) words_[word(name, i)] |= std::uint64_t{1} << bit(name, i);
    return fresh;
  }

 private:
  static constexpr int probes = 8;
  static std::uint32_t part(const Name& name, int i) {
    std::uint32_t out;
    std::memcpy(&out, name.digest.data() + 4 * i, 4);
    return out;
  }
  std::size_t word(const Name& name, int i) const {
    return (part(name, i) >> 6 | (part(name, (i + 3) % probes) & 63) << 26) & (words_.size() - 1);
  }
  static int bit(const Name& name, int i) { return static_cast<int>(part(name, i) & 63); }
  std::vector<std::uint64_t> words_;
};

class Reach {
 public:
  using Get = std::function<Result<std::string>(Kind, const Name&)>;
  /// Told of each object when it is reached first.
  using Visit = std::function<Result<>(const Name&, Kind)>;
  Reach(std::int64_t objects, Get get, Visit visit = {})
      : chunks_(objects), get_(std::move(get)), visit_(std::move(visit)) {}

  bool contains(const Name& name, Kind kind) const {
    return kind == Kind::chunk ? chunks_.contains(name) : nodes_.contains(name);
  }

  /// The object and all below it. Errors: those of get() and visit(), `damaged`.
  Result<> add(const Name& name, Kind kind) {
    // A stack of its own: trees may be deep.
    std::vector<std::pair<Name, Kind>> open{{name, kind}};
    while (!open.empty()) {
      auto [next, next_kind] = open.back();
      open.pop_back();
      bool fresh = next_kind == Kind::chunk ? chunks_.add(next) : !nodes_.contains(next);
      if (!fresh) continue;
      if (visit_) SPELL_TRY(visit_(next, next_kind));
      if (next_kind == Kind::chunk) continue;
      auto bytes = get_(next_kind, next);
      if (!bytes) return bytes.error();
      auto description = describe(next_kind, *bytes);
      if (!description)
        return base::error("damaged",
                           "object " + next.text() + " is a " + description.error().message());
      for (auto& reference : description->references)
        if (!contains(reference.name, reference.facts.kind) || reference.facts.kind == Kind::chunk)
          open.emplace_back(reference.name, reference.facts.kind);
      nodes_.insert(next);
    }
    return ok();
  }

 private:
  NameFilter chunks_;
  std::unordered_set<Name, NameHash> nodes_;
  Get get_;
  Visit visit_;
};

}  // namespace spell::spellfs
