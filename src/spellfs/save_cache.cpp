#include "spellfs/save_cache.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "base/hash.hpp"

namespace spell::spellfs {

namespace {

constexpr std::string_view magic = "spellsc1";
constexpr std::size_t head_size = 8 + 8 + 8 + 32 + 8, sum_size = 32;
/// Longer ones are of no file that could be opened.
constexpr std::size_t max_path = 256 * 256;

Error bad() { return base::error("bad_cache", "bad cache of a save"); }

std::string_view bytes_of(const Name& name) {
  return {reinterpret_cast<const char*>(name.digest.data()), name.digest.size()};
}
Name name_from(std::string_view raw) {
  Name name;
  if (raw.size() == name.digest.size()) std::copy(raw.begin(), raw.end(), name.digest.begin());
  return name;
}

}  // namespace

bool walked_before(std::string_view a, std::string_view b) {
  auto [x, y] = std::mismatch(a.begin(), a.end(), b.begin(), b.end());
  if (y == b.end()) return false;
  if (x == a.end()) return true;
  // A component ends before any byte of a longer one.
  auto weight = [](char c) {
    return c == '/' ? -1 : static_cast<int>(static_cast<unsigned char>(c));
  };
  return weight(*x) < weight(*y);
}

Result<SaveCacheReader> SaveCacheReader::open(std::string bytes) {
  if (bytes.size() < head_size + sum_size) return bad();
  std::string_view all = bytes, sum = all.substr(all.size() - sum_size);
  all.remove_suffix(sum_size);
  if (sum != bytes_of(Name{base::sha256(all)})) return bad();
  ByteReader in(all);
  if (in.bytes(magic.size()) != magic) return bad();
  SaveCacheReader out;
  out.head_.device = in.fixed(8);
  out.head_.inode = in.fixed(8);
  out.head_.root = name_from(in.bytes(32));
  out.head_.count = in.fixed(8);
  bytes.resize(bytes.size() - sum_size);
  out.bytes_ = std::move(bytes);
  out.at_ = head_size;
  return out;
}

Result<std::optional<CachedFile>> SaveCacheReader::next(std::string& path) {
  std::string_view rest = std::string_view(bytes_).substr(at_);
  if (read_ == head_.count) {
    if (!rest.empty()) return bad();
    return std::optional<CachedFile>();
  }
  ByteReader in(rest);
  auto shared = static_cast<std::size_t>(in.varint(static_cast<std::int64_t>(path.size())));
  std::string_view more = in.text(max_path);
  CachedFile file;
  file.state.size = in.varint(max_size);
  file.state.mtime_ns = static_cast<std::int64_t>(in.fixed(8));
  file.state.ctime_ns = static_cast<std::int64_t>(in.fixed(8));
  file.state.inode = in.fixed(8);
  file.state.mode = static_cast<std::uint32_t>(in.varint(07777));
  if (file.state.size > 0) file.node = name_from(in.bytes(32));
  if (in.failed()) return bad();
  std::string next = path.substr(0, shared).append(more);
  if (next.size() > max_path || (read_ > 0 && !walked_before(path, next))) return bad();
  path = std::move(next);
  at_ += static_cast<std::size_t>(in.at() - rest.data());
  ++read_;
  return std::optional<CachedFile>(file);
}

void SaveCacheWriter::add(const std::string& path, const CachedFile& file) {
  auto [x, y] = std::mismatch(path.begin(), path.end(), last_.begin(), last_.end());
  auto shared = static_cast<std::size_t>(x - path.begin());
  put_varint(body_, static_cast<std::int64_t>(shared));
  put_text(body_, std::string_view(path).substr(shared));
  put_varint(body_, file.state.size);
  put_fixed(body_, static_cast<std::uint64_t>(file.state.mtime_ns), 8);
  put_fixed(body_, static_cast<std::uint64_t>(file.state.ctime_ns), 8);
  put_fixed(body_, file.state.inode, 8);
  put_varint(body_, file.state.mode & 07777);
  if (file.state.size > 0) body_ += bytes_of(file.node);
  last_ = path;
  ++count_;
}

std::string SaveCacheWriter::finish(SaveCacheHead head) {
  std::string out(magic);
  put_fixed(out, head.device, 8);
  put_fixed(out, head.inode, 8);
  out += bytes_of(head.root);
  put_fixed(out, count_, 8);
  out += body_;
  return out += bytes_of(Name{base::sha256(out)});
}

}  // namespace spell::spellfs
