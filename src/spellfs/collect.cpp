// Collection: mark what roots, pins and young packs reach, condemn the rest pack by pack, then give
// the room back.
//
//   marking        reads nodes; everything else goes on
//   condemning     all nodes at once, then chunks: at no time is a node there that lacks
//                  something below it. Holding adding_ and the pins: what arrived since, pins and
//                  roots are looked at once more; what nothing reaches goes from the index,
//                  durably. From here on it is missing, and is stored anew if somebody sends it
//   freeing        a pack without a living object is removed; one that has lost enough is written
//                  anew with those that live, and then removed
//
// Why a root that comes meanwhile is not hurt: its caller took a pin before asking owns(). Either
// the pin is seen when condemning, or the root that was durable before the pin went, or the pin was
// taken after condemning, and then owns() says no.
//
// Killed at any point: what was condemned can be neither read nor named; a pack written anew that
// is not in the index yet is a second copy, of which the next collection finds one to be dead.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.hpp"
#include "base/file.hpp"
#include "spellfs/local_store.hpp"
#include "spellfs/reach.hpp"

namespace spell::spellfs {

class LocalStore::Collection {
 public:
  Collection(LocalStore& store, const Roots& roots, const CollectOptions& options,
             std::int64_t objects)
      : store_(store),
        roots_(roots),
        options_(options),
        live_(objects, [&](Kind kind, const Name& name) { return store.read_object(kind, name); }) {
  }

  Result<CollectResult> run() {
    auto packs = known_packs(0);
    if (!packs) return packs.error();
    std::vector<PackIndex::Pack> old;
    for (auto& pack : *packs) {
      if (young(pack.id))
        SPELL_TRY(mark_pack(pack.id));
      else
        old.push_back(pack);
      newest_ = std::max(newest_, pack.number);
    }
    SPELL_TRY(mark_pins_and_roots(pins()));
    SPELL_TRY(condemn_nodes(old));
    for (auto& pack : old) {
      if (options_.stop.stop_requested())
        return base::error("canceled", "stopped before all was collected");
      SPELL_TRY(collect_pack(pack));
    }
    return result_;
  }

 private:
  Result<std::vector<PackIndex::Pack>> known_packs(std::int64_t after) {
    std::lock_guard lock(store_.reading_);
    return store_.read_index_->packs(after);
  }

  /// Ids are ordered by time: they begin with the milliseconds since 1970.
  bool young(const std::string& id) const {
    std::int64_t ms = std::strtoll(id.substr(0, 12).c_str(), nullptr, 16);
    return began_ms_ - ms < options_.spare.count() * 1000;
  }

  std::vector<Name> pins() {
    std::lock_guard lock(store_.pins_->mutex);
    return {store_.pins_->names.begin(), store_.pins_->names.end()};
  }

  /// Pins first: a root that is durable when its pin goes is among the roots then.
  Result<> mark_pins_and_roots(const std::vector<Name>& pins) {
    for (auto& name : pins) SPELL_TRY(mark(name));
    auto roots = roots_();
    if (!roots) return roots.error();
    for (auto& root : *roots) {
      auto marked = mark(root.node);
      if (marked) continue;
      if (marked.error().code() != "damaged" && marked.error().code() != "object_not_found")
        return marked;
      return base::error("damaged", root.label + ": " + marked.error().message() +
                                        "; nothing is collected while that is so");
    }
    return ok();
  }

  Result<> mark(const Name& name) {
    auto found = store_.find(name);
    if (!found) return found.error();
    return *found ? live_.add(name, (*found)->object.facts.kind) : ok();
  }

  /// What a young pack holds may be about to get a root.
  Result<> mark_pack(const std::string& id) {
    auto file = store_.open_file(id);
    if (!file) return file.error();
    auto pack = PackFileReader::open(file->fd.get(), file->size);
    if (!pack) return pack.error().code() == "bad_pack" ? ok() : Result<>(pack.error());
    for (auto& frame : pack->frames()) SPELL_TRY(mark(frame.name));
    return ok();
  }

  /// What lies in a pack, as the index says.
  struct Contents {
    std::vector<Frame> living;
    std::vector<Name> dead;  ///< still in the index, but not reached
    std::int64_t bytes = 0;  ///< of the living
  };
  Result<Contents> look(const PackFileReader& pack, const std::string& id) {
    Contents out;
    for (auto& frame : pack.frames()) {
      auto found = store_.find(frame.name);
      if (!found) return found.error();
      if (!*found) continue;
      auto& location = **found;
      bool here = location.pack_id == id && location.object.frame.offset == frame.offset;
      if (!here && frame.codec != Codec::elsewhere) continue;  // a second copy
      if (!live_.contains(frame.name, location.object.facts.kind)) {
        if (here) out.dead.push_back(frame.name);
        continue;
      }
      out.living.push_back(frame);
      out.bytes += static_cast<std::int64_t>(frame_head_size) * 2 + frame.stored;
    }
    return out;
  }

  Result<> condemn_nodes(const std::vector<PackIndex::Pack>& packs) {
    std::vector<Name> dead;
    for (auto& pack : packs) {
      auto file = store_.open_file(pack.id);
      if (!file) return file.error();
      auto reader = PackFileReader::open(file->fd.get(), file->size);
      if (!reader && reader.error().code() == "bad_pack")
        reader = PackFileReader::salvage(file->fd.get(), file->size);
      if (!reader && reader.error().code() == "bad_pack") continue;
      if (!reader) return reader.error();
      for (auto& frame : reader->frames()) {
        if (frame.kind == Kind::chunk || live_.contains(frame.name, frame.kind)) continue;
        auto found = store_.find(frame.name);
        if (!found) return found.error();
        if (*found && (*found)->pack_id == pack.id) dead.push_back(frame.name);
      }
    }
    return dead.empty() ? ok() : condemn(std::move(dead));
  }

  Result<> collect_pack(const PackIndex::Pack& pack) {
    auto file = store_.open_file(pack.id);
    if (!file) return file.error().code() == "not_found" ? ok() : Result<>(file.error());
    auto reader = PackFileReader::open(file->fd.get(), file->size);
    // A damaged pack is left as it is: what it still holds may be all there is.
    if (!reader) return reader.error().code() == "bad_pack" ? ok() : Result<>(reader.error());
    auto contents = look(*reader, pack.id);
    if (!contents) return contents.error();
    if (!contents->dead.empty()) {
      SPELL_TRY(condemn(contents->dead));
      contents = look(*reader, pack.id);
      if (!contents) return contents.error();
    }
    if (contents->living.empty() && contents->dead.empty()) return remove(pack, file->size);
    auto lost = static_cast<double>(file->size - contents->bytes);
    if (contents->dead.empty() && lost >= options_.worth * static_cast<double>(file->size) &&
        lost > 4096)
      return rewrite(pack, *reader, file->size, contents->living);
    return ok();
  }

  Result<> condemn(std::vector<Name> names) {
    std::lock_guard adding(store_.adding_);
    std::lock_guard pinning(store_.pins_->mutex);
    // What has arrived since may build on them.
    auto fresh = known_packs(newest_);
    if (!fresh) return fresh.error();
    for (auto& pack : *fresh) {
      if (!own_.contains(pack.id)) SPELL_TRY(mark_pack(pack.id));
      newest_ = std::max(newest_, pack.number);
    }
    SPELL_TRY(mark_pins_and_roots({store_.pins_->names.begin(), store_.pins_->names.end()}));
    std::erase_if(names, [&](const Name& name) {
      return live_.contains(name, Kind::chunk) || live_.contains(name, Kind::folder);
    });
    result_.objects += static_cast<std::int64_t>(names.size());
    return store_.write_index_->remove(names);
  }

  Result<> remove(const PackIndex::Pack& pack, std::int64_t size) {
    std::lock_guard adding(store_.adding_);
    SPELL_TRY(store_.write_index_->drop(pack.id));
    SPELL_TRY(unlink(pack));
    result_.bytes += size;
    ++result_.packs_removed;
    return ok();
  }

  Result<> unlink(const PackIndex::Pack& pack) {
    // A reader finds a pack and opens it under this lock.
    std::lock_guard lock(store_.reading_);
    store_.open_packs_.erase(pack.number);
    if (::unlink(store_.pack_path(pack.id).c_str()) != 0 && errno != ENOENT)
      return base::errno_error("remove " + store_.pack_path(pack.id));
    return ok();
  }

  Result<> rewrite(const PackIndex::Pack& pack, PackFileReader& from, std::int64_t size,
                   const std::vector<Frame>& living) {
    auto file = store_.make_temporary();
    if (!file) return file.error();
    auto written = write_anew(*file, from, living);
    if (!written) {
      ::unlink(file->path.c_str());
      // Damage is for a check to report, and not to be copied.
      return written.error().code() == "damaged" ? ok() : Result<>(written.error());
    }
    std::lock_guard adding(store_.adding_);
    SPELL_TRY(store_.publish(*file));
    SPELL_TRY(store_.write_index_->move(pack.id, file->id, from.owner(), written->size(),
                                        written->frames()));
    own_.insert(file->id);
    SPELL_TRY(unlink(pack));
    result_.bytes += size - written->size();
    ++result_.packs_rewritten;
    return ok();
  }

  Result<PackFileWriter> write_anew(const Temporary& file, PackFileReader& from,
                                    const std::vector<Frame>& living) {
    PackFileWriter to(file.fd.get(), from.owner());
    Decompressor decompressor;
    for (auto& frame : living) {
      auto stored = from.stored(frame);
      if (!stored) return stored.error();
      if (frame.codec != Codec::elsewhere) {
        auto bytes = decompressor.unpack(frame, *stored);
        if (!bytes) return bytes.error();
      }
      SPELL_TRY(to.append(frame, *stored));
    }
    auto size = to.finish();
    if (!size) return size.error();
    return to;
  }

  LocalStore& store_;
  const Roots& roots_;
  const CollectOptions& options_;
  const std::int64_t began_ms_ = base::unix_us() / 1000;
  Reach live_;
  std::int64_t newest_ = 0;
  std::set<std::string> own_;  ///< packs written anew here
  CollectResult result_;
};

Result<CollectResult> LocalStore::collect(const Roots& roots, const CollectOptions& options) {
  std::lock_guard one(collecting_);
  return healed([&]() -> Result<CollectResult> {
    Result<std::int64_t> objects;
    {
      std::lock_guard lock(reading_);
      objects = read_index_->objects();
    }
    if (!objects) return objects.error();
    return Collection(*this, roots, options, *objects).run();
  });
}

}  // namespace spell::spellfs
