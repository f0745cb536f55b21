#include <unordered_set>

#include "base/error.hpp"
#include "spellfs/pack.hpp"
#include "spellfs/store.hpp"

namespace spell::spellfs {

struct PackWriter::Impl {
  explicit Impl(int fd) : file(fd, {}) {}
  PackFileWriter file;
  std::unordered_set<Name, NameHash> names;
  Compressor compressor;
};

PackWriter::PackWriter(int fd) : impl_(std::make_unique<Impl>(fd)) {}
PackWriter::~PackWriter() = default;

Result<> PackWriter::add(Kind kind, const Name& name, std::string_view bytes) {
  if (bytes.empty() || bytes.size() > max_object)
    return base::error("bad_pack", "object " + name.text() + " has a size that no object has");
  if (!impl_->names.insert(name).second) return ok();
  Frame frame;
  frame.kind = kind;
  frame.name = name;
  std::string_view stored = impl_->compressor.squeeze(frame, bytes);
  return impl_->file.append(frame, stored);
}

bool PackWriter::has(const Name& name) const { return impl_->names.contains(name); }
std::int64_t PackWriter::objects() const {
  return static_cast<std::int64_t>(impl_->file.frames().size());
}
std::int64_t PackWriter::bytes() const { return impl_->file.size(); }
Result<std::int64_t> PackWriter::finish() { return impl_->file.finish(); }

}  // namespace spell::spellfs
