#include <unordered_set>

#include "base/error.hpp"
#include "spellfs/pack.hpp"
#include "spellfs/store.hpp"

namespace spell::spellfs {

struct PackWriter::Impl {
  Impl(int fd, std::int64_t most, Next function)
      : file(fd, {}), limit(most), next(std::move(function)) {}
  PackFileWriter file;
  /// Names of two packs are remembered, not of all: the one before may not have arrived yet, so
  /// whoever is asked what is missing does not know of it.
  std::unordered_set<Name, NameHash> names, names_before;
  Compressor compressor;
  std::int64_t limit, bytes_before = 0, content = 0;
  Next next;

  Result<> begin_next() {
    auto size = file.finish();
    if (!size) return size.error();
    auto fd = next(*size);
    if (!fd) return fd.error();
    bytes_before += *size;
    names_before = std::exchange(names, {});
    file = PackFileWriter(*fd, {});
    return ok();
  }
};

PackWriter::PackWriter(int fd) : PackWriter(fd, INT64_MAX, {}) {}
PackWriter::PackWriter(int fd, std::int64_t limit, Next next)
    : impl_(std::make_unique<Impl>(fd, limit, std::move(next))) {}
PackWriter::~PackWriter() = default;

Result<> PackWriter::add(Kind kind, const Name& name, std::string_view bytes) {
  if (bytes.empty() || bytes.size() > max_object)
    return base::error("bad_pack", "object " + name.text() + " has a size that no object has");
  if (has(name)) return ok();
  if (impl_->file.size() >= impl_->limit) SPELL_TRY(impl_->begin_next());
  impl_->names.insert(name);
  if (kind == Kind::chunk) impl_->content += static_cast<std::int64_t>(bytes.size());
  Frame frame;
  frame.kind = kind;
  frame.name = name;
  std::string_view stored = impl_->compressor.squeeze(frame, bytes);
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
Result<std::int64_t> PackWriter::finish() { return impl_->file.finish(); }

}  // namespace spell::spellfs
