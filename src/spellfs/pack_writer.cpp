#include <mutex>
#include <unordered_set>

#include "base/error.hpp"
#include "spellfs/pack.hpp"
#include "spellfs/store.hpp"

namespace spell::spellfs {

namespace {

/// Packs that are the caller's.
struct CallersTarget final : PackTarget {
  PackPlace place;
  PackWriter::Next function;
  CallersTarget(PackPlace first, PackWriter::Next next) : place(first), function(std::move(next)) {}
  int file() const override { return place.fd; }
  std::span<char> mapped() const override { return place.mapped; }
  Result<bool> wants(Kind, const Name&, std::string_view) override { return true; }
  bool full(const PackFileWriter& pack) const override {
    return function && (pack.size() >= place.limit || pack.frames().size() >= usual_pack_objects);
  }
  Result<> next(const PackFileWriter& pack) override {
    auto next = function(pack.size());
    if (!next) return next.error();
    place = *next;
    return ok();
  }
  Result<> last(const PackFileWriter&) override { return ok(); }
};

}  // namespace

struct PackWriter::Impl {
  explicit Impl(std::unique_ptr<PackTarget> where)
      : target(std::move(where)), file(target->file(), target->owner(), target->mapped()) {}
  std::unique_ptr<PackTarget> target;
  PackFileWriter file;
  /// Names of two packs are remembered, not of all: the one before may not have arrived yet, so
  /// whoever is asked what is missing does not know of it.
  std::unordered_set<Name, NameHash> names, names_before;
  mutable std::mutex mutex;  ///< of the names
  Compressor compressor;
  std::int64_t bytes_before = 0, content = 0;

  Result<> begin_next() {
    auto size = file.finish();
    if (!size) return size.error();
    SPELL_TRY(target->next(file));
    bytes_before += *size;
    {
      std::lock_guard lock(mutex);
      names_before = std::exchange(names, {});
    }
    file = PackFileWriter(target->file(), target->owner(), target->mapped());
    return ok();
  }

  /// Makes room for it, and leaves out the bytes that the target does not want.
  Result<> prepare(Squeezed& object) {
    Frame& frame = object.frame;
    if (target->full(file)) SPELL_TRY(begin_next());
    auto wanted = target->wants(frame.kind, frame.name, object.bytes);
    if (!wanted) return wanted.error();
    {
      std::lock_guard lock(mutex);
      names.insert(frame.name);
    }
    if (frame.kind == Kind::chunk) content += static_cast<std::int64_t>(object.bytes.size());
    if (*wanted) return ok();
    frame.codec = Codec::elsewhere;
    frame.stored = 0;
    object.stored = {};
    return ok();
  }
};

PackWriter::PackWriter(int fd) : PackWriter(PackPlace{fd}, {}) {}
PackWriter::PackWriter(PackPlace first, Next next)
    : PackWriter(std::make_unique<CallersTarget>(first, std::move(next))) {}
PackWriter::PackWriter(std::unique_ptr<PackTarget> target)
    : impl_(std::make_unique<Impl>(std::move(target))) {}
PackWriter::~PackWriter() = default;

Result<> PackWriter::add(Kind kind, const Name& name, std::string_view bytes) {
  if (bytes.empty() || bytes.size() > max_object)
    return base::error("bad_pack", "object " + name.text() + " has a size that no object has");
  if (has(name)) return ok();
  Frame frame;
  frame.kind = kind;
  frame.name = name;
  std::string_view stored = impl_->compressor.squeeze(frame, bytes);
  Squeezed object{frame, stored, bytes};
  SPELL_TRY(impl_->prepare(object));
  return impl_->file.append(object.frame, object.stored);
}

Result<> PackWriter::add(std::span<const Squeezed> objects) {
  for (auto object : objects) {
    if (has(object.frame.name)) continue;
    SPELL_TRY(impl_->prepare(object));
    SPELL_TRY(impl_->file.hold(object.frame, object.stored));
  }
  return impl_->file.flush();
}

bool PackWriter::has(const Name& name) const {
  std::lock_guard lock(impl_->mutex);
  return impl_->names.contains(name) || impl_->names_before.contains(name);
}
std::int64_t PackWriter::objects() const {
  return static_cast<std::int64_t>(impl_->file.frames().size());
}
std::int64_t PackWriter::bytes() const { return impl_->bytes_before + impl_->file.size(); }
std::int64_t PackWriter::content() const { return impl_->content; }
Result<std::int64_t> PackWriter::finish() {
  auto size = impl_->file.finish();
  if (size) SPELL_TRY(impl_->target->last(impl_->file));
  return size;
}

}  // namespace spell::spellfs
