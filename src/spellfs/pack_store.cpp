// A local folder of packs.
//
//   folder/format          "spellfs 1 …": versions of the formats, written once
//   folder/packs/ID.pack   immutable; names its owner (pack.hpp)
//   folder/packs/ID.tmp    a pack that is being written; removed when the store is opened
//   folder/index.db        can be lost: built anew from the packs
//
// A pack is synced, renamed, its folder synced; then the index is committed, and only then do its
// names exist. A crash in between leaves a whole pack that the next opening takes in.
//
// Locks: `adding_` is held for the whole of an add_pack (so what anybody sends is stored once) and
// of a rebuilding; `reading_` for the look-ups, never while a pack is read. Order: adding_,
// reading_.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <set>
#include <unordered_set>

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/id.hpp"
#include "spellfs/check.hpp"
#include "spellfs/pack_index.hpp"
#include "spellfs/store.hpp"

namespace spell::spellfs {

namespace {

constexpr std::string_view format =
    "spellfs 1\npack 1\nnode 1\nchunking 1 fastcdc 16384 65536 524288 2 \"spell gear v1\"\n";

class PackStore final : public ChunkStore {
 public:
  explicit PackStore(const std::string& folder) : folder_(folder) {}

  Result<> open() {
    SPELL_TRY(base::make_folders(folder_ + "/packs"));
    SPELL_TRY(check_format());
    std::lock_guard adding(adding_);
    auto opened = open_index();
    if (!opened && opened.error().code() == "damaged_index") return rebuild();
    return opened;
  }

  Result<std::string> get(Kind kind, const Name& name) const override {
    return healed([&] { return read_object(kind, name); });
  }

  Result<std::vector<Name>> missing(const std::string& owner,
                                    std::span<const Name> names) const override {
    return healed([&]() -> Result<std::vector<Name>> {
      std::lock_guard lock(reading_);
      std::vector<Name> out;
      for (auto& name : names) {
        auto found = read_index_->find_sent(owner, name);
        if (!found) return found.error();
        if (!*found) out.push_back(name);
      }
      return out;
    });
  }

  Result<bool> owns(const std::string& owner, const Name& name) const override {
    return healed([&]() -> Result<bool> {
      std::lock_guard lock(reading_);
      auto found = read_index_->find_sent(owner, name);
      if (!found) return found.error();
      return found->has_value();
    });
  }

  Result<> add_pack(const std::string& owner, int fd, std::int64_t size) override {
    if (owner.empty() || owner.size() > 255)
      return base::error("bad_owner", "an owner's name has 1 to 255 bytes");
    return healed([&]() -> Result<> {
      std::lock_guard adding(adding_);
      return take(owner, fd, size);
    });
  }

  std::int64_t stored_bytes() const override {
    auto bytes = healed([&] {
      std::lock_guard lock(reading_);
      return read_index_->stored_bytes();
    });
    return bytes ? *bytes : 0;
  }

 private:
  std::string index_path() const { return folder_ + "/index.db"; }
  std::string pack_path(const std::string& id) const { return folder_ + "/packs/" + id + ".pack"; }

  Result<> check_format() {
    std::string path = folder_ + "/format";
    if (!base::exists(path)) {
      SPELL_TRY(base::write_file(path, format));
      return base::sync_folder(folder_ + "/..");
    }
    auto found = base::read_file(path, 4096);
    if (!found) return found.error();
    if (*found != format)
      return base::error("newer_data", folder_ + " was written by another version of spell");
    return ok();
  }

  /// Opens the index and brings it up to what lies in the folder. Holding adding_.
  Result<> open_index() const {
    auto write = PackIndex::open(index_path());
    if (!write) return write.error();
    auto read = PackIndex::open(index_path());
    if (!read) return read.error();
    {
      std::lock_guard lock(reading_);
      write_index_ = std::move(*write);
      read_index_ = std::move(*read);
      open_packs_.clear();
    }
    return reconcile();
  }

  Result<> rebuild() const {
    {
      std::lock_guard lock(reading_);
      write_index_.reset();
      read_index_.reset();
    }
    for (const char* end : {"", "-wal", "-shm"}) {
      SPELL_TRY(base::remove_tree(index_path() + end));
    }
    SPELL_TRY(open_index());
    ++rebuilt_;
    return ok();
  }

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

  /// Takes in packs that the index does not know, drops those that are gone, removes left-overs.
  Result<> reconcile() const {
    auto known = write_index_->packs();
    if (!known) return known.error();
    std::set<std::string> gone(known->begin(), known->end());
    std::set<std::string> fresh;
    DIR* folder = ::opendir((folder_ + "/packs").c_str());
    if (!folder) return base::errno_error("read the folder " + folder_ + "/packs");
    while (dirent* entry = ::readdir(folder)) {
      std::string name = entry->d_name;
      if (name.ends_with(".tmp")) ::unlinkat(::dirfd(folder), entry->d_name, 0);
      if (!name.ends_with(".pack")) continue;
      name.resize(name.size() - 5);
      if (gone.erase(name) == 0) fresh.insert(name);
    }
    ::closedir(folder);
    for (auto& id : gone) SPELL_TRY(write_index_->forget(id));
    // Damaged ones last: they may build on any of the others.
    std::vector<std::string> damaged;
    for (auto& id : fresh) {
      auto whole = take_in(id);
      if (!whole) return whole.error();
      if (!*whole) damaged.push_back(id);
    }
    for (auto& id : damaged) SPELL_TRY(salvage(id));
    return ok();
  }

  struct OpenPack {
    base::Fd fd;
    std::int64_t size = 0;
  };
  Result<OpenPack> open_file(const std::string& id) const {
    auto fd = base::open(pack_path(id), O_RDONLY);
    if (!fd) return fd.error();
    struct stat st;
    if (::fstat(fd->get(), &st) != 0) return base::errno_error("read " + pack_path(id));
    return OpenPack{std::move(*fd), st.st_size};
  }

  /// Enters a pack of the folder into the index; false if its header, index or end is damaged. Only
  /// nodes are read: a chunk's facts are its length.
  Result<bool> take_in(const std::string& id) const {
    auto file = open_file(id);
    if (!file) return file.error();
    auto pack = PackFileReader::open(file->fd.get(), file->size);
    if (!pack && pack.error().code() == "bad_pack") return false;
    if (!pack) return pack.error();
    std::vector<Indexed> objects;
    Decompressor decompressor;
    for (auto& frame : pack->frames()) {
      Facts facts{frame.kind, 0, {frame.raw, 0, 0}};
      if (frame.codec != Codec::elsewhere && frame.kind != Kind::chunk) {
        auto description = read_frame(*pack, frame, decompressor);
        if (!description) continue;
        facts = description->facts;
      }
      objects.push_back({frame, facts});
    }
    SPELL_TRY(write_index_->add(id, pack->owner(), file->size, std::move(objects)));
    return true;
  }

  /// Enters what can still be found and verified in a damaged pack. What lost something below it
  /// must be sent again, so it is left out, too.
  Result<> salvage(const std::string& id) const {
    auto file = open_file(id);
    if (!file) return file.error();
    auto pack = PackFileReader::salvage(file->fd.get(), file->size);
    if (!pack && pack.error().code() == "bad_pack") return ok();
    if (!pack) return pack.error();
    std::vector<Indexed> objects;
    std::unordered_set<Name, NameHash> rescued;
    Decompressor decompressor;
    for (auto& frame : pack->frames()) {
      Description description;
      if (frame.codec != Codec::elsewhere) {
        auto found = read_frame(*pack, frame, decompressor);
        if (!found) continue;
        description = std::move(*found);
      }
      bool complete = true;
      for (auto& reference : description.references) {
        if (rescued.contains(reference.name)) continue;
        auto known = write_index_->find_sent(pack->owner(), reference.name);
        if (!known) return known.error();
        complete = complete && *known;
      }
      if (!complete) continue;
      rescued.insert(frame.name);
      objects.push_back({frame, description.facts});
    }
    return write_index_->add(id, pack->owner(), file->size, std::move(objects));
  }

  static Result<Description> read_frame(PackFileReader& pack, const Frame& frame,
                                        Decompressor& decompressor) {
    auto stored = pack.stored(frame);
    if (!stored) return stored.error();
    auto bytes = decompressor.unpack(frame, *stored);
    if (!bytes) return bytes.error();
    return describe(frame.kind, *bytes);
  }

  Result<> take(const std::string& owner, int fd, std::int64_t size) {
    std::string id = base::Id::make().text();
    std::string temporary = folder_ + "/packs/" + id + ".tmp";
    auto file = base::open(temporary, O_RDWR | O_CREAT | O_EXCL);
    if (!file) return file.error();
    auto done = write_pack(owner, fd, size, id, file->get(), temporary);
    if (!done) {
      // Not acknowledged: nothing of it stays.
      ::unlink(temporary.c_str());
      ::unlink(pack_path(id).c_str());
    }
    return done;
  }

  Result<> write_pack(const std::string& owner, int fd, std::int64_t size, const std::string& id,
                      int out, const std::string& temporary) {
    PackFileWriter pack(out, owner);
    std::vector<Facts> facts;
    auto sent = [&](const Name& name) { return write_index_->find_sent(owner, name); };
    SPELL_TRY(check_pack(fd, size, sent, [&](const Checked& object) -> Result<> {
      auto mine = write_index_->find_sent(owner, object.frame.name);
      if (!mine) return mine.error();
      if (*mine) return ok();
      auto anybodys = write_index_->find(object.frame.name);
      if (!anybodys) return anybodys.error();
      Frame frame = object.frame;
      if (*anybodys) {
        frame.codec = Codec::elsewhere;
        frame.stored = 0;
      }
      facts.push_back(object.facts);
      return pack.append(frame, *anybodys ? std::string_view() : object.stored);
    }));
    if (facts.empty()) {
      ::unlink(temporary.c_str());
      return ok();
    }
    auto length = pack.finish();
    if (!length) return length.error();
    if (::fsync(out) != 0) return base::errno_error("sync " + temporary);
    if (::rename(temporary.c_str(), pack_path(id).c_str()) != 0)
      return base::errno_error("rename " + temporary);
    SPELL_TRY(base::sync_folder(folder_ + "/packs"));
    std::vector<Indexed> objects;
    objects.reserve(facts.size());
    for (std::size_t i = 0; i < facts.size(); ++i) objects.push_back({pack.frames()[i], facts[i]});
    return write_index_->add(id, owner, *length, std::move(objects));
  }

  Result<std::string> read_object(Kind kind, const Name& name) const {
    Frame frame;
    std::string path;
    std::shared_ptr<base::Fd> file;
    {
      std::lock_guard lock(reading_);
      auto found = read_index_->find(name);
      if (!found) return found.error();
      if (!*found || (*found)->object.frame.kind != kind)
        return base::error("object_not_found", "there is no object " + name.text());
      frame = (*found)->object.frame;
      path = pack_path((*found)->pack_id);
      auto pack = open_pack((*found)->pack, path);
      if (!pack) return pack.error();
      file = *pack;
    }
    auto in_pack = [&](const Error& e) {
      return e.code() == "damaged" ? base::error("damaged", e.message() + " in " + path) : e;
    };
    auto stored = read_stored(file->get(), frame);
    if (!stored) return in_pack(stored.error());
    Decompressor decompressor;
    auto bytes = decompressor.unpack(frame, *stored);
    if (!bytes) return in_pack(bytes.error());
    if (frame.codec == Codec::raw) return std::move(*stored);
    return std::string(*bytes);
  }

  /// Holding reading_.
  Result<std::shared_ptr<base::Fd>> open_pack(std::int64_t number, const std::string& path) const {
    constexpr std::size_t most_open = 64;
    if (auto it = open_packs_.find(number); it != open_packs_.end()) return it->second;
    auto file = base::open(path, O_RDONLY);
    if (!file && file.error().code() == "not_found")
      return base::error("damaged", "the pack " + path + " is gone");
    if (!file) return file.error();
    if (open_packs_.size() >= most_open) open_packs_.erase(open_packs_.begin());
    return open_packs_[number] = std::make_shared<base::Fd>(std::move(*file));
  }

  std::string folder_;
  mutable std::mutex adding_, reading_;
  mutable std::unique_ptr<PackIndex> write_index_, read_index_;
  mutable std::map<std::int64_t, std::shared_ptr<base::Fd>> open_packs_;
  mutable std::atomic<int> rebuilt_ = 0;
};

}  // namespace

Result<std::unique_ptr<ChunkStore>> open_pack_store(const std::string& folder) {
  auto store = std::make_unique<PackStore>(folder);
  SPELL_TRY(store->open());
  return std::unique_ptr<ChunkStore>(std::move(store));
}

}  // namespace spell::spellfs
