#include <unordered_set>

#include "base/error.hpp"
#include "spellfs/pack.hpp"
#include "spellfs/store.hpp"

namespace spell::spellfs {

namespace {

/// Packs that are the caller's.
struct CallersTarget final : PackTarget {
  int fd;
  std::int64_t limit;
  PackWriter::Next function;
  CallersTarget(int file, std::int64_t most, PackWriter::Next next)
      : fd(file), limit(most), function(std::move(next)) {}
  int file() const override { return fd; }
  Result<bool> wants(Kind, const Name&, std::string_view) override { return true; }
  bool full(const PackFileWriter& pack) const override {
    return function && (pack.size() >= limit || pack.frames().size() >= usual_pack_objects);
  }
  Result<int> next(const PackFileWriter& pack) override { return function(pack.size()); }
  Result<> last(const PackFileWriter&) override { return ok(); }
};

}  // namespace

struct PackWriter::Impl {
  explicit Impl(std::unique_ptr<PackTarget> where)
      : target(std::move(where)), file(target->file(), target->owner()) {}
  std::unique_ptr<PackTarget> target;
  PackFileWriter file;
  /// Names of two packs are remembered, not of all: the one before may not have arrived yet, so
  /// whoever is asked what is missing does not know of it.
  std::unordered_set<Name, NameHash> names, names_before;
  Compressor compressor;
  std::int64_t bytes_before = 0, content = 0;

  Result<> begin_next() {
    auto size = file.finish();
    if (!size) return size.error();
    auto fd = target->next(file);
    if (!fd) return fd.error();
    bytes_before += *size;
    names_before = std::exchange(names, {});
    file = PackFileWriter(*fd, target->owner());
    return ok();
  }
};

PackWriter::PackWriter(int fd) : PackWriter(fd, INT64_MAX, {}) {}
PackWriter::PackWriter(int fd, std::int64_t limit, Next next)
    : PackWriter(std::make_unique<CallersTarget>(fd, limit, std::move(next))) {}
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
  return add(frame, stored, bytes);
}

Result<> PackWriter::add(const Frame& compressed, std::string_view stored, std::string_view bytes) {
  if (has(compressed.name)) return ok();
  if (impl_->target->full(impl_->file)) SPELL_TRY(impl_->begin_next());
  Frame frame = compressed;
  auto wanted = impl_->target->wants(frame.kind, frame.name, bytes);
  if (!wanted) return wanted.error();
  impl_->names.insert(frame.name);
  if (frame.kind == Kind::chunk) impl_->content += static_cast<std::int64_t>(bytes.size());
  if (!*wanted) {
    frame.codec = Codec::elsewhere;
    frame.stored = 0;
    stored = {};
  }
  return impl_->file.append(frame, stored);
}

bool PackWriter::has(const Name& name) const {
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
