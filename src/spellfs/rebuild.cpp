// The index from the packs: when it is lost or damaged, and for packs that a crash kept out of it.
#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "base/file.hpp"
#include "spellfs/local_store.hpp"

namespace spell::spellfs {

namespace {

Result<Description> read_frame(PackFileReader& pack, const Frame& frame,
                               Decompressor& decompressor) {
  auto stored = pack.stored(frame);
  if (!stored) return stored.error();
  auto bytes = decompressor.unpack(frame, *stored);
  if (!bytes) return bytes.error();
  return describe(frame.kind, *bytes);
}

/// True if its writer is gone.
bool abandoned(int folder, const char* name) {
  base::Fd fd(::openat(folder, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC));
  return fd && ::flock(fd.get(), LOCK_EX | LOCK_NB) == 0;
}

}  // namespace

Result<> LocalStore::rebuild() const {
  {
    std::lock_guard lock(reading_);
    write_index_.reset();
    read_index_.reset();
  }
  for (const char* end : {"", "-wal", "-shm"}) SPELL_TRY(base::remove_tree(index_path() + end));
  SPELL_TRY(open_index());
  ++rebuilt_;
  return ok();
}

Result<std::vector<std::string>> LocalStore::packs_in_folder() const {
  std::vector<std::string> out;
  DIR* folder = ::opendir((folder_ + "/packs").c_str());
  if (!folder) return base::errno_error("read the folder " + folder_ + "/packs");
  while (dirent* entry = ::readdir(folder)) {
    std::string name = entry->d_name;
    if (name.ends_with(".tmp") && abandoned(::dirfd(folder), entry->d_name))
      ::unlinkat(::dirfd(folder), entry->d_name, 0);
    if (name.ends_with(".pack")) out.push_back(name.substr(0, name.size() - 5));
  }
  ::closedir(folder);
  std::sort(out.begin(), out.end());
  return out;
}

/// Takes in packs that the index does not know. If one is gone that it knows, what builds on that
/// has to be found, too: everything is looked at anew.
Result<> LocalStore::reconcile() const {
  auto known = write_index_->packs();
  if (!known) return known.error();
  std::set<std::string> gone, fresh;
  for (auto& pack : *known) gone.insert(pack.id);
  auto there = packs_in_folder();
  if (!there) return there.error();
  for (auto& id : *there)
    if (gone.erase(id) == 0) fresh.insert(id);
  if (!gone.empty()) return base::error("damaged_index", "the index knows packs that are gone");
  for (auto& id : fresh) SPELL_TRY(take_in(id));
  return fresh.empty() ? ok() : disown_incomplete(fresh);
}

Result<LocalStore::OpenPack> LocalStore::open_file(const std::string& id) const {
  auto fd = base::open(pack_path(id), O_RDONLY);
  if (!fd) return fd.error();
  struct stat st;
  if (::fstat(fd->get(), &st) != 0) return base::errno_error("read " + pack_path(id));
  return OpenPack{std::move(*fd), st.st_size};
}

/// Of a whole pack only nodes are read: a chunk's facts are its length. Of a damaged one all that
/// can be found is verified.
Result<> LocalStore::take_in(const std::string& id) const {
  auto file = open_file(id);
  if (!file) return file.error();
  auto pack = PackFileReader::open(file->fd.get(), file->size);
  bool whole = pack.ok();
  if (!whole && pack.error().code() == "bad_pack")
    pack = PackFileReader::salvage(file->fd.get(), file->size);
  if (!pack && pack.error().code() == "bad_pack") {
    // Nothing in it can be told. It stays known, and where it is.
    return write_index_->add(id, "", file->size, {});
  }
  if (!pack) return pack.error();
  std::vector<Indexed> objects;
  Decompressor decompressor;
  for (auto& frame : pack->frames()) {
    Facts facts{frame.kind, 0, {frame.raw, 0, 0}};
    if (frame.codec != Codec::elsewhere && (!whole || frame.kind != Kind::chunk)) {
      auto description = read_frame(*pack, frame, decompressor);
      if (!description) continue;
      facts = description->facts;
    }
    objects.push_back({frame, facts});
  }
  return write_index_->add(id, pack->owner(), file->size, std::move(objects));
}

namespace {

/// Whether all below an object is there. Objects of packs that are not in question are.
class Completeness {
 public:
  using Find = std::function<Result<std::optional<Location>>(const Name&)>;
  using Get = std::function<Result<std::string>(Kind, const Name&)>;
  Completeness(Find find, Get get, const std::set<std::string>& packs)
      : find_(std::move(find)), get_(std::move(get)), packs_(packs) {}

  Result<bool> of(const Name& name, const Location& location) {
    auto& [frame, facts] = location.object;
    if (facts.kind == Kind::chunk) return true;
    if (!packs_.empty() && !packs_.contains(location.pack_id)) return true;
    if (auto it = known_.find(name); it != known_.end()) return it->second;
    auto complete = all_below(name, facts);
    if (complete) known_.emplace(name, *complete);
    return complete;
  }

 private:
  Result<bool> all_below(const Name& name, const Facts& facts) {
    auto bytes = get_(facts.kind, name);
    if (!bytes && (bytes.error().code() == "damaged" || bytes.error().code() == "object_not_found"))
      return false;
    if (!bytes) return bytes.error();
    auto description = describe(facts.kind, *bytes);
    if (!description) return false;
    for (auto& reference : description->references) {
      auto found = find_(reference.name);
      if (!found) return found.error();
      if (!*found || !reference.fits((*found)->object.facts)) return false;
      auto complete = of(reference.name, **found);
      if (!complete || !*complete) return complete;
    }
    return true;
  }

  Find find_;
  Get get_;
  const std::set<std::string>& packs_;
  std::unordered_map<Name, bool, NameHash> known_;
};

}  // namespace

Result<> LocalStore::disown_incomplete(const std::set<std::string>& packs) const {
  Completeness completeness([this](const Name& name) { return find(name); },
                            [this](Kind kind, const Name& name) { return read_object(kind, name); },
                            packs);
  auto ids = packs_in_folder();
  if (!ids) return ids.error();
  std::vector<Name> incomplete;
  for (auto& id : *ids) {
    if (!packs.empty() && !packs.contains(id)) continue;
    auto file = open_file(id);
    if (!file) return file.error();
    auto pack = PackFileReader::open(file->fd.get(), file->size);
    if (!pack) pack = PackFileReader::salvage(file->fd.get(), file->size);
    if (!pack) continue;
    for (auto& frame : pack->frames()) {
      if (frame.kind == Kind::chunk || frame.codec == Codec::elsewhere) continue;
      auto found = find(frame.name);
      if (!found) return found.error();
      if (!*found) continue;
      auto complete = completeness.of(frame.name, **found);
      if (!complete) return complete.error();
      if (!*complete) incomplete.push_back(frame.name);
    }
  }
  if (incomplete.empty()) return ok();
  return write_index_->disown(incomplete);
}

}  // namespace spell::spellfs
