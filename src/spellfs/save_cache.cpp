#include "spellfs/save_cache.hpp"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <functional>

#include "base/error.hpp"
#include "base/hash.hpp"

namespace spell::spellfs {

namespace {

constexpr std::string_view cache_magic = "spellsc1";
constexpr std::size_t head_size = 8 + 8 + 8 + 32 + 8, sum_size = 32;
/// Longer ones are of no file that could be opened.
constexpr std::size_t max_path = 256 * 256, max_entry = max_path + 128;
constexpr std::size_t piece_size = 1 << 20;

Error bad_cache() { return base::error("bad_cache", "bad cache of a save"); }

std::string_view bytes_of(const Name& name) {
  return {reinterpret_cast<const char*>(name.digest.data()), name.digest.size()};
}
Name name_from(std::string_view raw) {
  Name name;
  if (raw.size() == name.digest.size()) std::copy(raw.begin(), raw.end(), name.digest.begin());
  return name;
}

/// What lies in a file between two places, piece by piece.
Result<> each_piece_of(int fd, std::int64_t from, std::int64_t to,
                       const std::function<Result<>(std::string_view)>& take) {
  std::string piece(piece_size, '\0');
  while (from < to) {
    auto want =
        static_cast<std::size_t>(std::min(to - from, static_cast<std::int64_t>(piece_size)));
    auto n = base::pread_full(fd, piece.data(), want, from);
    if (!n) return n.error();
    if (*n < want) return bad_cache();
    SPELL_TRY(take({piece.data(), want}));
    from += static_cast<std::int64_t>(want);
  }
  return ok();
}

/// Beside `path`, under a name that nobody has.
Result<std::pair<base::Fd, std::string>> make_beside(const std::string& path) {
  std::string name = path + ".XXXXXX";
  base::Fd file(::mkstemp(name.data()));
  if (!file) return base::errno_error("write " + path);
  return std::pair(std::move(file), std::move(name));
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

Result<SaveCacheReader> SaveCacheReader::open(base::Fd file) {
  struct stat st;
  if (::fstat(file.get(), &st) != 0) return bad_cache();
  constexpr auto least = static_cast<std::int64_t>(head_size + sum_size);
  if (st.st_size < least) return bad_cache();
  SaveCacheReader out;
  out.file_ = std::move(file);
  out.end_ = st.st_size - static_cast<std::int64_t>(sum_size);
  base::Sha256 hash;
  SPELL_TRY(each_piece_of(out.file_.get(), 0, out.end_, [&](std::string_view piece) {
    hash.update(piece);
    return ok();
  }));
  bool right = false;
  std::string sum(bytes_of(Name{hash.finish()}));
  SPELL_TRY(each_piece_of(out.file_.get(), out.end_, st.st_size, [&](std::string_view piece) {
    right = piece == sum;
    return ok();
  }));
  if (!right) return bad_cache();
  SPELL_TRY(out.fill());
  ByteReader in(out.window_);
  if (in.bytes(cache_magic.size()) != cache_magic) return bad_cache();
  out.head_.device = in.fixed(8);
  out.head_.inode = in.fixed(8);
  out.head_.root = name_from(in.bytes(32));
  out.head_.count = in.fixed(8);
  out.at_ = head_size;
  return out;
}

/// The next entry is in the window then, if there is one.
Result<> SaveCacheReader::fill() {
  if (read_up_to_ == end_ || window_.size() - at_ >= max_entry) return ok();
  auto more =
      static_cast<std::size_t>(std::min(end_ - read_up_to_, static_cast<std::int64_t>(piece_size)));
  window_.erase(0, std::exchange(at_, 0));
  std::size_t kept = window_.size();
  window_.resize(kept + more);
  auto n = base::pread_full(file_.get(), window_.data() + kept, more, read_up_to_);
  if (!n || *n < more) return bad_cache();
  read_up_to_ += static_cast<std::int64_t>(more);
  return ok();
}

Result<std::optional<CachedFile>> SaveCacheReader::next(std::string& path) {
  SPELL_TRY(fill());
  std::string_view rest = std::string_view(window_).substr(at_);
  if (read_ == head_.count) {
    if (!rest.empty()) return bad_cache();
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
  if (in.failed()) return bad_cache();
  std::string next = path.substr(0, shared).append(more);
  if (next.size() > max_path || (read_ > 0 && !walked_before(path, next))) return bad_cache();
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
  if (body_.size() >= piece_size && written_) written_ = spill();
}

Result<> SaveCacheWriter::spill() {
  if (!file_) {
    auto made = make_beside(path_);
    if (!made) return made.error();
    ::unlink(made->second.c_str());
    file_ = std::move(made->first);
  }
  SPELL_TRY(base::write_all(file_.get(), body_));
  body_.clear();
  return ok();
}

Result<> SaveCacheWriter::write(int fd, const SaveCacheHead& head) {
  base::Sha256 hash;
  auto put = [&](std::string_view bytes) {
    hash.update(bytes);
    return base::write_all(fd, bytes);
  };
  std::string first(cache_magic);
  put_fixed(first, head.device, 8);
  put_fixed(first, head.inode, 8);
  first += bytes_of(head.root);
  put_fixed(first, count_, 8);
  SPELL_TRY(put(first));
  struct stat st {};
  if (file_ && ::fstat(file_.get(), &st) != 0) return base::errno_error("read " + path_);
  if (file_) SPELL_TRY(each_piece_of(file_.get(), 0, st.st_size, put));
  SPELL_TRY(put(body_));
  return base::write_all(fd, bytes_of(Name{hash.finish()}));
}

Result<> SaveCacheWriter::finish(SaveCacheHead head) {
  if (!written_) return written_;
  auto made = make_beside(path_);
  if (!made) return made.error();
  auto done = write(made->first.get(), head);
  if (done && ::rename(made->second.c_str(), path_.c_str()) != 0)
    done = base::errno_error("write " + path_);
  if (!done) ::unlink(made->second.c_str());
  return done;
}

}  // namespace spell::spellfs
