// Checking everything, and counting what takes room.
#include "base/file.hpp"
#include "spellfs/local_store.hpp"
#include "spellfs/reach.hpp"

namespace spell::spellfs {

class LocalStore::Audit {
 public:
  Audit(LocalStore& store, const CheckOptions& options, std::int64_t objects)
      : store_(store), options_(options), good_(objects) {}

  Result<CheckResult> run(const Roots& roots) {
    auto ids = store_.packs_in_folder();
    if (!ids) return ids.error();
    for (auto& id : *ids) SPELL_TRY(check_pack(id));
    auto all = roots();
    if (!all) return all.error();
    for (auto& root : *all) SPELL_TRY(check_root(root));
    if (options_.forget_damaged && !result_.fine()) SPELL_TRY(forget());
    return std::move(result_);
  }

 private:
  static constexpr std::size_t most_names = 100, most_damages = 10'000;

  bool stopped() const { return options_.stop.stop_requested(); }
  static Error canceled() { return base::error("canceled", "stopped before all was checked"); }

  void damage(const std::string& id, const std::string& what, std::optional<Name> name = {}) {
    if (result_.damaged.size() < most_damages)
      result_.damaged.push_back({id + ".pack", what, name});
  }

  Result<> check_pack(const std::string& id) {
    auto file = store_.open_file(id);
    // Collected meanwhile.
    if (!file) return file.error().code() == "not_found" ? ok() : Result<>(file.error());
    auto pack = PackFileReader::open(file->fd.get(), file->size);
    if (!pack && pack.error().code() == "bad_pack") {
      damage(id, pack.error().message());
      pack = PackFileReader::salvage(file->fd.get(), file->size);
      if (!pack && pack.error().code() == "bad_pack") return ok();
    }
    if (!pack) return pack.error();
    ++result_.packs;
    for (auto& frame : pack->frames()) {
      if (stopped()) return canceled();
      SPELL_TRY(check_frame(id, *pack, frame));
    }
    result_.bytes += file->size;
    if (options_.progress) options_.progress(result_.bytes);
    return ok();
  }

  Result<> check_frame(const std::string& id, PackFileReader& pack, const Frame& frame) {
    ++result_.objects;
    auto stored = pack.stored(frame);
    Result<> fine = stored ? ok() : Result<>(stored.error());
    if (stored && frame.codec != Codec::elsewhere) {
      auto bytes = decompressor_.unpack(frame, *stored);
      fine = bytes ? ok() : Result<>(bytes.error());
    }
    if (!fine && fine.error().code() != "damaged" && fine.error().code() != "bad_pack") return fine;
    if (!fine) {
      damage(id, "object " + frame.name.text() + " is damaged", frame.name);
      return ok();
    }
    auto found = store_.find(frame.name);
    if (!found) return found.error();
    if (*found && (*found)->pack_id == id && (*found)->object.frame.offset == frame.offset &&
        (*found)->object.frame.stored == frame.stored && (*found)->object.frame.raw == frame.raw &&
        (*found)->object.frame.codec == frame.codec)
      good_.add(frame.name);
    return ok();
  }

  /// Whether the object can be read. What arrived or moved after its pack was read is read now.
  Result<bool> readable(const Name& name, Kind kind) {
    if (good_.contains(name)) return true;
    auto bytes = store_.read_object(kind, name);
    if (!bytes && bytes.error().code() != "damaged" && bytes.error().code() != "object_not_found")
      return bytes.error();
    if (bytes) good_.add(name);
    return bytes.ok();
  }

  Result<> check_root(const Root& root) {
    auto found = store_.find(root.node);
    if (!found) return found.error();
    CheckResult::Hurt hurt{root.label, {}};
    if (!*found)
      hurt.names.push_back(root.node);
    else
      SPELL_TRY(check_below(root.node, (*found)->object.facts.kind, hurt));
    if (!hurt.names.empty()) result_.hurt.push_back(std::move(hurt));
    return ok();
  }

  /// Trees that were found whole are not looked at again for another root.
  Result<> check_below(const Name& top, Kind top_kind, CheckResult::Hurt& hurt) {
    std::vector<std::pair<Name, Kind>> open{{top, top_kind}};
    std::vector<Name> visited;
    std::unordered_set<Name, NameHash> here;
    while (!open.empty() && hurt.names.size() < most_names) {
      if (stopped()) return canceled();
      auto [name, kind] = open.back();
      open.pop_back();
      if (kind != Kind::chunk && (whole_.contains(name) || !here.insert(name).second)) continue;
      auto fine = readable(name, kind);
      if (!fine) return fine.error();
      if (!*fine) {
        hurt.names.push_back(name);
        continue;
      }
      if (kind == Kind::chunk) continue;
      auto bytes = store_.read_object(kind, name);
      if (!bytes) return bytes.error();
      auto description = describe(kind, *bytes);
      if (!description) {
        hurt.names.push_back(name);
        continue;
      }
      for (auto& reference : description->references)
        open.emplace_back(reference.name, reference.facts.kind);
    }
    if (hurt.names.empty()) whole_.insert(here.begin(), here.end());
    return ok();
  }

  Result<> forget() {
    std::lock_guard adding(store_.adding_);
    std::vector<Name> names;
    for (auto& damage : result_.damaged)
      if (damage.name) names.push_back(*damage.name);
    for (auto& hurt : result_.hurt) names.insert(names.end(), hurt.names.begin(), hurt.names.end());
    // One that can be read from another copy stays.
    std::vector<Name> gone;
    for (auto& name : names) {
      auto found = store_.find(name);
      if (!found) return found.error();
      if (!*found || store_.read_object((*found)->object.frame.kind, name)) continue;
      gone.push_back(name);
    }
    SPELL_TRY(store_.write_index_->remove(gone));
    return store_.disown_incomplete({});
  }

  LocalStore& store_;
  const CheckOptions& options_;
  NameFilter good_;
  Decompressor decompressor_;
  std::unordered_set<Name, NameHash> whole_;
  CheckResult result_;
};

Result<CheckResult> LocalStore::check(const Roots& roots, const CheckOptions& options) {
  return healed([&]() -> Result<CheckResult> {
    Result<std::int64_t> objects;
    {
      std::lock_guard lock(reading_);
      objects = read_index_->objects();
    }
    if (!objects) return objects.error();
    return Audit(*this, options, *objects).run(roots);
  });
}

Result<Usage> LocalStore::usage(std::span<const Name> roots) const {
  return healed([&]() -> Result<Usage> {
    Usage out;
    Result<std::int64_t> objects;
    {
      std::lock_guard lock(reading_);
      objects = read_index_->objects();
    }
    if (!objects) return objects.error();
    Reach reach(
        *objects, [&](Kind kind, const Name& name) { return read_object(kind, name); },
        [&](const Name& name, Kind) -> Result<> {
          auto found = find(name);
          if (!found) return found.error();
          if (*found) out.stored += (*found)->object.frame.stored;
          return ok();
        });
    for (auto& root : roots) {
      auto found = find(root);
      if (!found) return found.error();
      if (!*found) return base::error("object_not_found", "there is no object " + root.text());
      auto& facts = (*found)->object.facts;
      out.bytes += facts.totals.size;
      out.files += facts.kind == Kind::folder ? facts.totals.files : 1;
      SPELL_TRY(reach.add(root, facts.kind));
    }
    return out;
  });
}

}  // namespace spell::spellfs
