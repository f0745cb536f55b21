#include "spellfs/pack_store.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.hpp"
#include "base/hash_many.hpp"
#include "base/id.hpp"
#include "spellfs/check.hpp"
#include "spellfs/crew.hpp"
#include "spellfs/local_store.hpp"
#include "spellfs/walk.hpp"

namespace spell::spellfs {

namespace {

constexpr std::string_view format =
    "spellfs 1\npack 1\nnode 1\nchunking 1 fastcdc 16384 65536 524288 2 \"spell gear v1\"\n";

Result<> check_owner(const std::string& owner) {
  if (!owner.empty() && owner.size() <= 255) return ok();
  return base::error("bad_owner", "an owner's name has 1 to 255 bytes");
}

std::vector<Indexed> indexed(const std::vector<Frame>& frames, const std::vector<Facts>& facts) {
  std::vector<Indexed> out;
  out.reserve(facts.size());
  for (std::size_t i = 0; i < facts.size(); ++i) out.push_back({frames[i], facts[i]});
  return out;
}

}  // namespace

Result<> LocalStore::open() {
  SPELL_TRY(base::make_folders(folder_ + "/packs"));
  SPELL_TRY(check_format());
  std::lock_guard adding(adding_);
  auto opened = open_index();
  if (!opened && opened.error().code() == "damaged_index") return rebuild();
  return opened;
}

Result<> LocalStore::check_format() {
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
Result<> LocalStore::open_index() const {
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

Result<std::string> LocalStore::get(Kind kind, const Name& name) const {
  return healed([&] { return read_object(kind, name); });
}

Result<std::vector<Name>> LocalStore::missing(const std::string& owner,
                                              std::span<const Name> names) const {
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

Result<bool> LocalStore::owns(const std::string& owner, const Name& name) const {
  return healed([&]() -> Result<bool> {
    std::lock_guard lock(reading_);
    auto found = read_index_->find_sent(owner, name);
    if (!found) return found.error();
    return found->has_value();
  });
}

Result<> LocalStore::add_pack(const std::string& owner, int fd, std::int64_t size) {
  SPELL_TRY(check_owner(owner));
  return healed([&]() -> Result<> {
    std::lock_guard adding(adding_);
    return take(owner, fd, size);
  });
}

std::int64_t LocalStore::stored_bytes() const {
  auto bytes = healed([&] {
    std::lock_guard lock(reading_);
    return read_index_->stored_bytes();
  });
  return bytes ? *bytes : 0;
}

PackStore::Pin LocalStore::pin(std::vector<Name> names) {
  struct Held {
    std::shared_ptr<Pins> pins;
    std::vector<Name> names;
    Held(std::shared_ptr<Pins> all, std::vector<Name> mine)
        : pins(std::move(all)), names(std::move(mine)) {
      std::lock_guard lock(pins->mutex);
      pins->names.insert(names.begin(), names.end());
    }
    Held(const Held&) = delete;
    Held& operator=(const Held&) = delete;
    ~Held() {
      std::lock_guard lock(pins->mutex);
      for (auto& name : names) pins->names.erase(pins->names.find(name));
    }
  };
  return Pin(std::make_shared<Held>(pins_, std::move(names)));
}

Result<LocalStore::Temporary> LocalStore::make_temporary() const {
  Temporary out;
  out.id = base::Id::make().text();
  out.path = folder_ + "/packs/" + out.id + ".tmp";
  auto fd = base::open(out.path, O_RDWR | O_CREAT | O_EXCL);
  if (!fd) return fd.error();
  out.fd = std::move(*fd);
  // Whoever opens the store meanwhile sees that it lives.
  if (::flock(out.fd.get(), LOCK_EX | LOCK_NB) != 0) {
    Error e = base::errno_error("lock " + out.path);
    ::unlink(out.path.c_str());
    return e;
  }
  return out;
}

Result<> LocalStore::publish(const Temporary& file) const {
  if (::fsync(file.fd.get()) != 0) return base::errno_error("sync " + file.path);
  if (::rename(file.path.c_str(), pack_path(file.id).c_str()) != 0)
    return base::errno_error("rename " + file.path);
  return base::sync_folder(folder_ + "/packs");
}

Result<> LocalStore::take(const std::string& owner, int fd, std::int64_t size) {
  auto file = make_temporary();
  if (!file) return file.error();
  PackFileWriter pack(file->fd.get(), owner);
  std::vector<Facts> facts;
  auto done = copy_pack(owner, fd, size, pack, facts);
  if (done && !facts.empty()) {
    done = publish(*file);
    if (done) done = write_index_->add(file->id, owner, pack.size(), indexed(pack.frames(), facts));
  }
  if (done && !facts.empty()) return done;
  // Not acknowledged, or nothing new: nothing of it stays.
  ::unlink(file->path.c_str());
  ::unlink(pack_path(file->id).c_str());
  return done;
}

Result<> LocalStore::copy_pack(const std::string& owner, int fd, std::int64_t size,
                               PackFileWriter& out, std::vector<Facts>& facts) {
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
    return out.append(frame, *anybodys ? std::string_view() : object.stored);
  }));
  if (facts.empty()) return ok();
  auto length = out.finish();
  return length ? ok() : Result<>(length.error());
}

Result<std::optional<Location>> LocalStore::find(const Name& name) const {
  std::lock_guard lock(reading_);
  return read_index_->find(name);
}

Result<LocalStore::Stored> LocalStore::locate(const std::string& owner, const Name& name) const {
  std::lock_guard lock(reading_);
  auto none = [&] { return base::error("object_not_found", "there is no object " + name.text()); };
  if (!owner.empty()) {
    auto sent = read_index_->find_sent(owner, name);
    if (!sent) return sent.error();
    if (!*sent) return none();
  }
  auto found = read_index_->find(name);
  if (!found) return found.error();
  if (!*found) return none();
  Stored out{(*found)->object.frame, pack_path((*found)->pack_id)};
  auto pack = open_pack((*found)->pack, out.path);
  if (!pack) return pack.error();
  out.file = *pack;
  return out;
}

Error LocalStore::Stored::in_pack(const Error& error) const {
  if (error.code() != "damaged") return error;
  return base::error("damaged", error.message() + " in " + path);
}

Result<std::string> LocalStore::Stored::read() const {
  auto bytes = read_stored(file->get(), frame);
  return bytes ? std::move(bytes) : Result<std::string>(in_pack(bytes.error()));
}

Result<> LocalStore::Stored::read_to(char* to) const {
  auto done = read_stored(file->get(), frame, to);
  return done ? ok() : Result<>(in_pack(done.error()));
}

Result<std::string_view> LocalStore::Stored::unpack(Decompressor& decompressor,
                                                    std::string_view stored) const {
  auto bytes = decompressor.unpack(frame, stored);
  return bytes ? bytes : Result<std::string_view>(in_pack(bytes.error()));
}

Result<std::string> LocalStore::read_object(Kind kind, const Name& name) const {
  auto place = locate("", name);
  if (!place) return place.error();
  if (place->frame.kind != kind)
    return base::error("object_not_found", "there is no object " + name.text());
  auto stored = place->read();
  if (!stored) return stored.error();
  Decompressor decompressor;
  auto bytes = place->unpack(decompressor, *stored);
  if (!bytes) return bytes.error();
  if (place->frame.codec == Codec::raw) return std::move(*stored);
  return std::string(*bytes);
}

Result<> LocalStore::read_chunks(std::span<const ChunkRead> chunks) const {
  return healed([&] { return read_located(chunks); });
}

Result<> LocalStore::read_located(std::span<const ChunkRead> chunks) const {
  // What lies there as it is goes to its place at once, and is verified there side by side.
  std::vector<Stored> raw;
  std::vector<std::string_view> texts;
  Decompressor decompressor;
  for (auto& chunk : chunks) {
    auto place = locate("", chunk.name);
    if (!place) return place.error();
    if (place->frame.kind != Kind::chunk)
      return base::error("object_not_found", "there is no object " + chunk.name.text());
    if (place->frame.raw != chunk.size) return lies(chunk.name);
    if (place->frame.codec == Codec::raw) {
      SPELL_TRY(place->read_to(chunk.to));
      texts.emplace_back(chunk.to, chunk.size);
      raw.push_back(std::move(*place));
      continue;
    }
    auto stored = place->read();
    if (!stored) return stored.error();
    auto bytes = place->unpack(decompressor, *stored);
    if (!bytes) return bytes.error();
    std::copy(bytes->begin(), bytes->end(), chunk.to);
  }
  std::vector<base::Digest> digests(texts.size());
  base::sha256_many(static_cast<char>(Kind::chunk), texts, digests);
  for (std::size_t i = 0; i < raw.size(); ++i)
    if (digests[i] != raw[i].frame.name.digest)
      return raw[i].in_pack(
          base::error("damaged", "object " + raw[i].frame.name.text() + " is damaged"));
  return ok();
}

Result<std::string> LocalStore::pack_of(const std::string& owner, std::span<const Name> names,
                                        std::size_t limit) const {
  SPELL_TRY(check_owner(owner));
  return healed([&]() -> Result<std::string> {
    PackFileWriter pack;
    for (auto& name : names) {
      auto place = locate(owner, name);
      if (!place) return place.error();
      if (!pack.frames().empty() &&
          pack.size() + place->frame.stored > static_cast<std::int64_t>(limit))
        break;
      auto stored = place->read();
      if (!stored) return stored.error();
      SPELL_TRY(pack.append(place->frame, *stored));
    }
    SPELL_TRY(pack.finish());
    return pack.take();
  });
}

/// Holding reading_.
Result<std::shared_ptr<base::Fd>> LocalStore::open_pack(std::int64_t number,
                                                        const std::string& path) const {
  constexpr std::size_t most_open = 64;
  if (auto it = open_packs_.find(number); it != open_packs_.end()) return it->second;
  auto file = base::open(path, O_RDONLY);
  if (!file && file.error().code() == "not_found")
    return base::error("damaged", "the pack " + path + " is gone");
  if (!file) return file.error();
  if (open_packs_.size() >= most_open) open_packs_.erase(open_packs_.begin());
  return open_packs_[number] = std::make_shared<base::Fd>(std::move(*file));
}

/// Packs that are made in the store's own folder. While one is made durable the next is written.
class LocalStore::DirectTarget final : public PackTarget {
 public:
  DirectTarget(LocalStore& store, std::string owner, bool alone)
      : store_(store), owner_(std::move(owner)), alone_(alone) {}

  ~DirectTarget() override {
    crew_.finish();
    if (file_.fd) ::unlink(file_.path.c_str());
  }

  Result<> begin() {
    auto file = store_.make_temporary();
    if (!file) return file.error();
    file_ = std::move(*file);
    return ok();
  }

  std::string owner() const override { return owner_; }
  int file() const override { return file_.fd.get(); }

  Result<bool> wants(Kind kind, const Name& name, std::string_view bytes) override {
    auto description = describe(kind, bytes);
    if (!description) return description.error();
    facts_.push_back(description->facts);
    if (alone_) return true;
    auto anybodys = store_.find(name);
    if (!anybodys) return anybodys.error();
    return !*anybodys;
  }

  /// Bounded in bytes, so that little is to be synced at the end, and in objects: they are held in
  /// memory until then.
  bool full(const PackFileWriter& pack) const override {
    return pack.size() >= 128 << 20 || pack.frames().size() >= usual_pack_objects;
  }

  Result<> next(const PackFileWriter& pack) override {
    SPELL_TRY(hand_over(pack));
    return begin();
  }

  Result<> last(const PackFileWriter& pack) override {
    if (!pack.frames().empty()) SPELL_TRY(hand_over(pack));
    crew_.finish();
    return std::exchange(result_, ok());
  }

 private:
  Result<> hand_over(const PackFileWriter& pack) {
    // One at a time, in their order: a later pack may name what an earlier one holds.
    crew_.finish();
    SPELL_TRY(std::exchange(result_, ok()));
    auto job = std::make_shared<Finished>(
        Finished{std::move(file_), indexed(pack.frames(), std::exchange(facts_, {})), pack.size()});
    file_ = {};
    crew_.post([this, job] {
      result_ = store_.healed([&] { return commit(*job); });
      if (result_) return;
      ::unlink(job->file.path.c_str());
      ::unlink(store_.pack_path(job->file.id).c_str());
    });
    return ok();
  }

  struct Finished {
    Temporary file;
    std::vector<Indexed> objects;
    std::int64_t size;
  };
  Result<> commit(const Finished& pack) {
    // Most of the time goes here, without a lock.
    if (::fsync(pack.file.fd.get()) != 0) return base::errno_error("sync " + pack.file.path);
    std::lock_guard adding(store_.adding_);
    SPELL_TRY(check_references(pack));
    // Published before, then the index was found damaged: its rebuilding has taken the pack in.
    if (!base::exists(pack.file.path)) return ok();
    SPELL_TRY(store_.publish(pack.file));
    return store_.write_index_->add(pack.file.id, owner_, pack.size, pack.objects);
  }

  /// What the objects name must be in this pack, or have been sent by this owner: whoever wrote
  /// them may have been told so before a collection, or may be wrong.
  Result<> check_references(const Finished& pack) {
    auto reader = PackFileReader::open(pack.file.fd.get(), pack.size);
    if (!reader) return reader.error();
    std::unordered_map<Name, Facts, NameHash> here;
    here.reserve(pack.objects.size());
    Decompressor decompressor;
    for (auto& [frame, facts] : pack.objects) {
      if (frame.codec == Codec::elsewhere) {
        auto still = store_.write_index_->find(frame.name);
        if (!still) return still.error();
        if (!*still) return not_there(frame.name);
      } else if (frame.kind != Kind::chunk) {
        auto stored = reader->stored(frame);
        if (!stored) return stored.error();
        auto bytes = decompressor.unpack(frame, *stored);
        if (!bytes) return bytes.error();
        auto description = describe(frame.kind, *bytes);
        if (!description) return description.error();
        for (auto& reference : description->references) SPELL_TRY(check_reference(reference, here));
      }
      here.emplace(frame.name, facts);
    }
    return ok();
  }

  Result<> check_reference(const Reference& reference,
                           const std::unordered_map<Name, Facts, NameHash>& here) {
    std::optional<Facts> found;
    if (auto it = here.find(reference.name); it != here.end()) {
      found = it->second;
    } else {
      auto sent = store_.write_index_->find_sent(owner_, reference.name);
      if (!sent) return sent.error();
      found = *sent;
    }
    if (!found) return not_there(reference.name);
    if (reference.fits(*found)) return ok();
    return base::error("bad_pack",
                       "a node is wrong about " + reference.name.text() + ", which it names");
  }
  static Error not_there(const Name& name) {
    return base::error("incomplete_pack", "object " + name.text() +
                                              " was not sent, or was collected meanwhile; save "
                                              "again");
  }

  LocalStore& store_;
  const std::string owner_;
  const bool alone_;
  Temporary file_;
  std::vector<Facts> facts_;
  Result<> result_ = ok();
  Crew crew_{1, 1};
};

Result<std::unique_ptr<PackWriter>> LocalStore::writer(const std::string& owner) {
  SPELL_TRY(check_owner(owner));
  auto others = healed([&] {
    std::lock_guard lock(reading_);
    return read_index_->other_owners(owner);
  });
  if (!others) return others.error();
  // Without others, what it has not sent nobody has. One that comes meanwhile costs a copy.
  auto target = std::make_unique<DirectTarget>(*this, owner, *others == 0);
  SPELL_TRY(target->begin());
  return std::make_unique<PackWriter>(std::move(target));
}

Result<std::unique_ptr<PackStore>> open_pack_store(const std::string& folder) {
  auto store = std::make_unique<LocalStore>(folder);
  SPELL_TRY(store->open());
  return std::unique_ptr<PackStore>(std::move(store));
}

}  // namespace spell::spellfs
