#include "spellfs/pack.hpp"

#include <fcntl.h>
#include <limits.h>
#include <sys/uio.h>
#include <zstd.h>

#include <algorithm>
#include <cstring>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/hash.hpp"
#include "spellfs/bytes.hpp"
#include "spellfs/store.hpp"

namespace spell::spellfs {

namespace {

constexpr std::string_view magic = "spellpk", end_magic = "spellend";
constexpr std::size_t index_entry_size = frame_head_size + 8, trailer_size = 8 + 8 + 32 + 8;
constexpr std::size_t max_owner = 255, max_header = 10 + max_owner;
constexpr std::size_t buffer_limit = 256 << 10, window_size = 1 << 20, held_limit = 1 << 20;

Error bad_pack(const std::string& what) { return base::error("bad_pack", "bad pack: " + what); }

Error damaged(const Frame& frame) {
  return base::error("damaged", "object " + frame.name.text() + " is damaged");
}

std::string encode_header(const std::string& owner) {
  std::string out(magic);
  put_fixed(out, pack_version, 1);
  put_fixed(out, owner.size(), 2);
  return out + owner;
}

void put_head(std::string& out, const Frame& frame) {
  out += static_cast<char>(frame.kind);
  put_fixed(out, static_cast<std::uint8_t>(frame.codec), 1);
  put_fixed(out, 0, 2);
  put_fixed(out, frame.raw, 4);
  put_fixed(out, frame.stored, 4);
  out.append(reinterpret_cast<const char*>(frame.name.digest.data()), frame.name.digest.size());
}

/// False if no frame can begin like this.
bool read_frame_head(ByteReader& in, Frame& frame) {
  auto kind = in.fixed(1), codec = in.fixed(1), zero = in.fixed(2);
  frame.raw = static_cast<std::uint32_t>(in.fixed(4));
  frame.stored = static_cast<std::uint32_t>(in.fixed(4));
  std::string_view name = in.bytes(frame.name.digest.size());
  if (in.failed() || zero != 0 || codec > 2) return false;
  if (kind != 'c' && kind != 'f' && kind != 't') return false;
  frame.kind = static_cast<Kind>(kind);
  frame.codec = static_cast<Codec>(codec);
  std::copy(name.begin(), name.end(), frame.name.digest.begin());
  if (frame.raw == 0 || frame.raw > max_object) return false;
  switch (frame.codec) {
    case Codec::raw:
      return frame.stored == frame.raw;
    case Codec::zstd:
      return frame.stored > 0 && frame.stored < frame.raw;
    case Codec::elsewhere:
      return frame.stored == 0;
  }
  return false;
}

}  // namespace

Compressor::Compressor()
    : context_(ZSTD_createCCtx()), out_(ZSTD_compressBound(max_object), '\0') {}
Compressor::~Compressor() { ZSTD_freeCCtx(context_); }

std::string_view Compressor::compress(std::string_view bytes) {
  constexpr int level = 1;
  std::size_t n =
      ZSTD_compressCCtx(context_, out_.data(), out_.size(), bytes.data(), bytes.size(), level);
  return ZSTD_isError(n) ? bytes : std::string_view(out_).substr(0, n);
}

std::string_view Compressor::squeeze(Frame& frame, std::string_view bytes) {
  constexpr std::size_t sample = 4 << 10, worth_trying = 64;
  // A tenth must be won on a sample from the middle before the whole is tried, a sixteenth on the
  // whole: less does not make up for the reader's time.
  auto pays = [](std::size_t before, std::size_t after, std::size_t part) {
    return after + before / part < before;
  };
  std::string_view stored = bytes;
  if (bytes.size() >= worth_trying &&
      (bytes.size() <= 4 * sample ||
       pays(sample, compress(bytes.substr(bytes.size() / 2, sample)).size(), 10)))
    stored = compress(bytes);
  if (!pays(bytes.size(), stored.size(), 16)) stored = bytes;
  frame.codec = stored.data() == bytes.data() ? Codec::raw : Codec::zstd;
  frame.raw = static_cast<std::uint32_t>(bytes.size());
  frame.stored = static_cast<std::uint32_t>(stored.size());
  return stored;
}

Decompressor::~Decompressor() { ZSTD_freeDCtx(context_); }

Result<std::string_view> Decompressor::unpack(const Frame& frame, std::string_view stored) {
  std::string_view bytes = stored;
  if (frame.codec == Codec::zstd) {
    if (!context_) context_ = ZSTD_createDCtx();
    out_.resize(frame.raw);
    std::size_t n =
        ZSTD_decompressDCtx(context_, out_.data(), out_.size(), stored.data(), stored.size());
    if (n != frame.raw) return damaged(frame);
    bytes = out_;
  }
  if (bytes.size() != frame.raw || name_of(frame.kind, bytes) != frame.name) return damaged(frame);
  return bytes;
}

PackFileWriter::PackFileWriter(int fd, const std::string& owner, std::span<char> mapped)
    : fd_(fd),
      stays_(!owner.empty()),
      mapped_(mapped),
      head_(encode_header(owner)),
      buffer_(head_),
      size_(static_cast<std::int64_t>(head_.size())) {}

Result<> PackFileWriter::flush() {
  // In few large calls, and a large chunk is never copied.
  std::vector<iovec> parts;
  parts.reserve(2 * held_.size() + 1);
  const char* at = buffer_.data();
  auto part = [&](const char* bytes, std::size_t size) {
    if (size > 0) parts.push_back({const_cast<char*>(bytes), size});
  };
  for (auto& [buffered, held] : held_) {
    part(at, buffered);
    part(held.data(), held.size());
    at += buffered;
  }
  part(at, buffer_.size() - buffered_);
  if (auto end = static_cast<std::size_t>(written_) + buffer_.size() + held_bytes_;
      end <= mapped_.size()) {
    for (auto& [bytes, size] : parts) {
      std::memcpy(&mapped_[static_cast<std::size_t>(written_)], bytes, size);
      written_ += static_cast<std::int64_t>(size);
    }
    parts.clear();
  }
  for (std::size_t i = 0; i < parts.size();) {
    auto count = std::min<std::size_t>(parts.size() - i, IOV_MAX);
    ssize_t n = ::pwritev(fd_, &parts[i], static_cast<int>(count), written_);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return base::errno_error("write a pack");
    written_ += n;
    for (auto left = static_cast<std::size_t>(n); left > 0;) {
      auto taken = std::min(left, parts[i].iov_len);
      parts[i].iov_base = static_cast<char*>(parts[i].iov_base) + taken;
      left -= taken;
      if ((parts[i].iov_len -= taken) == 0) ++i;
    }
  }
  buffer_.clear();
  held_.clear();
  held_bytes_ = buffered_ = 0;
  begin_write_back();
  return ok();
}

/// So that the disk works while the rest is made, and little is left to be synced at the end. A
/// pack on its way is gone before the disk has to have it.
void PackFileWriter::begin_write_back() {
#ifdef __linux__
  constexpr std::int64_t worth_it = 8 << 20;
  if (!stays_ || written_ - on_its_way_ < worth_it) return;
  // A hint: whoever needs it durable syncs it.
  (void)::sync_file_range(fd_, on_its_way_, written_ - on_its_way_, SYNC_FILE_RANGE_WRITE);
  on_its_way_ = written_;
#endif
}

Result<> PackFileWriter::put(std::string_view bytes) {
  size_ += static_cast<std::int64_t>(bytes.size());
  bool large = !in_memory_ && bytes.size() >= buffer_limit / 8;
  large ? hold(bytes) : void(buffer_ += bytes);
  return in_memory_ || (!large && buffer_.size() < buffer_limit) ? ok() : flush();
}

void PackFileWriter::hold(std::string_view bytes) {
  held_.push_back({buffer_.size() - buffered_, bytes});
  buffered_ = buffer_.size();
  held_bytes_ += bytes.size();
}

void PackFileWriter::put_frame(Frame frame) {
  frame.offset = size_;
  put_head(buffer_, frame);
  size_ += frame_head_size;
  frames_.push_back(frame);
}

Result<> PackFileWriter::append(Frame frame, std::string_view stored) {
  put_frame(frame);
  return put(stored);
}

Result<> PackFileWriter::hold(Frame frame, std::string_view stored) {
  constexpr std::size_t worth_holding = 4 << 10;
  if (stored.size() < worth_holding) return append(frame, stored);
  put_frame(frame);
  size_ += static_cast<std::int64_t>(stored.size());
  hold(stored);
  return held_bytes_ < held_limit ? ok() : flush();
}

Result<std::int64_t> PackFileWriter::finish() {
  base::Sha256 checksum;
  checksum.update(head_);
  std::string trailer;
  put_fixed(trailer, static_cast<std::uint64_t>(size_), 8);
  put_fixed(trailer, frames_.size(), 8);
  std::string entry;
  for (auto& frame : frames_) {
    entry.clear();
    put_head(entry, frame);
    put_fixed(entry, static_cast<std::uint64_t>(frame.offset), 8);
    checksum.update(entry);
    SPELL_TRY(put(entry));
  }
  checksum.update(trailer);
  auto digest = checksum.finish();
  trailer.append(reinterpret_cast<const char*>(digest.data()), digest.size());
  trailer += end_magic;
  SPELL_TRY(put(trailer));
  if (!in_memory_) SPELL_TRY(flush());
  return size_;
}

Result<std::string_view> PackFileReader::at(std::int64_t offset, std::size_t size) {
  auto end = offset + static_cast<std::int64_t>(size);
  if (offset < 0 || end > size_) return bad_pack("it ends too early");
  if (offset < window_at_ || end > window_at_ + static_cast<std::int64_t>(window_.size())) {
    auto room = static_cast<std::size_t>(std::min<std::int64_t>(
        static_cast<std::int64_t>(std::max(size, window_size)), size_ - offset));
    window_.resize(room);
    window_at_ = offset;
    auto n = base::pread_full(fd_, window_.data(), room, offset);
    window_.resize(n ? *n : 0);
    if (!n) return n.error();
    if (*n < size) return bad_pack("it ends too early");
  }
  return std::string_view(window_).substr(static_cast<std::size_t>(offset - window_at_), size);
}

Result<> PackFileReader::read_header() {
  auto bytes = at(0, static_cast<std::size_t>(std::min<std::int64_t>(size_, max_header)));
  if (!bytes) return bytes.error();
  ByteReader in(*bytes);
  if (in.bytes(magic.size()) != magic) return bad_pack("it is no pack");
  if (auto version = in.fixed(1); version != pack_version)
    return bad_pack("version " + std::to_string(version) + " is not known here");
  auto length = in.fixed(2);
  if (length > max_owner) return bad_pack("its owner's name is too long");
  owner_ = in.bytes(length);
  if (in.failed()) return bad_pack("it ends too early");
  head_ = bytes->substr(0, magic.size() + 3 + length);
  return ok();
}

Result<PackFileReader> PackFileReader::open(int fd, std::int64_t size, std::uint64_t most) {
  PackFileReader pack;
  pack.fd_ = fd;
  pack.size_ = size;
  SPELL_TRY(pack.read_index(most));
  return pack;
}

Result<PackFileReader> PackFileReader::open(std::string bytes) {
  PackFileReader pack;
  pack.size_ = static_cast<std::int64_t>(bytes.size());
  pack.window_ = std::move(bytes);  // all of it: nothing is ever read
  SPELL_TRY(pack.read_index());
  return pack;
}

Result<> PackFileReader::read_index(std::uint64_t most) {
  SPELL_TRY(read_header());
  auto trailer = at(size_ - static_cast<std::int64_t>(trailer_size), trailer_size);
  if (!trailer) return trailer.error();
  std::string sums(trailer->substr(0, 16)), digest(trailer->substr(16, 32));
  if (trailer->substr(48) != end_magic) return bad_pack("it has no end");
  ByteReader in(sums);
  auto index = in.fixed(8), count = in.fixed(8);
  auto room = static_cast<std::uint64_t>(size_) - trailer_size;
  if (index > room || index < head_.size() || (room - index) % index_entry_size != 0 ||
      (room - index) / index_entry_size != count)
    return bad_pack("its index is not where it should be");
  if (count > most)
    return bad_pack("it has more than " + std::to_string(most) +
                    " objects, which is too many at once");

  base::Sha256 checksum;
  checksum.update(head_);
  frames_.reserve(count);
  auto next = static_cast<std::int64_t>(head_.size());
  for (std::uint64_t i = 0; i < count; ++i) {
    auto bytes = at(static_cast<std::int64_t>(index + i * index_entry_size), index_entry_size);
    if (!bytes) return bytes.error();
    checksum.update(*bytes);
    ByteReader entry(*bytes);
    Frame frame;
    if (!read_frame_head(entry, frame)) return bad_pack("an entry of its index is wrong");
    frame.offset = next;
    // Frames lie one after the other, without gaps.
    if (entry.fixed(8) != static_cast<std::uint64_t>(next))
      return bad_pack("its frames do not follow each other");
    next += static_cast<std::int64_t>(frame_head_size + frame.stored);
    frames_.push_back(frame);
  }
  if (next != static_cast<std::int64_t>(index))
    return bad_pack("its frames do not end at its index");
  checksum.update(sums);
  auto sum = checksum.finish();
  if (digest != std::string_view(reinterpret_cast<const char*>(sum.data()), sum.size()))
    return bad_pack("its checksum is wrong");
  return ok();
}

Result<PackFileReader> PackFileReader::salvage(int fd, std::int64_t size) {
  PackFileReader pack;
  pack.fd_ = fd;
  pack.size_ = size;
  SPELL_TRY(pack.read_header());
  for (auto next = static_cast<std::int64_t>(pack.head_.size());;) {
    auto bytes = pack.at(next, frame_head_size);
    if (!bytes) break;
    ByteReader in(*bytes);
    Frame frame;
    if (!read_frame_head(in, frame)) break;
    frame.offset = next;
    next += static_cast<std::int64_t>(frame_head_size + frame.stored);
    if (next > size) break;
    pack.frames_.push_back(frame);
  }
  return pack;
}

Result<std::string_view> PackFileReader::stored(const Frame& frame) {
  auto bytes = at(frame.offset, frame_head_size + frame.stored);
  if (!bytes) return bytes.error();
  std::string head;
  put_head(head, frame);
  if (bytes->substr(0, frame_head_size) != head) return damaged(frame);
  return bytes->substr(frame_head_size);
}

Result<std::string> read_stored(int fd, const Frame& frame) {
  std::string bytes(frame.stored, '\0');
  SPELL_TRY(read_stored(fd, frame, bytes.data()));
  return bytes;
}

Result<> read_stored(int fd, const Frame& frame, char* to) {
  // Head and bytes by one call, each to its place.
  char head[frame_head_size];
  iovec parts[2] = {{head, sizeof head}, {to, frame.stored}};
  ssize_t n;
  do n = ::preadv(fd, parts, 2, frame.offset);
  while (n < 0 && errno == EINTR);
  if (n < 0) return base::errno_error("read a pack");
  auto got = static_cast<std::size_t>(n);
  if (got < sizeof head) return damaged(frame);
  if (got < sizeof head + frame.stored) {
    std::size_t at = got - sizeof head;
    auto more = base::pread_full(fd, to + at, frame.stored - at,
                                 frame.offset + static_cast<std::int64_t>(got));
    if (!more) return more.error();
    if (*more < frame.stored - at) return damaged(frame);
  }
  std::string expected;
  put_head(expected, frame);
  return expected == std::string_view(head, sizeof head) ? ok() : Result<>(damaged(frame));
}

Result<> each_folder_node(int fd, std::int64_t size,
                          const std::function<void(const Name&, std::string bytes)>& take) {
  auto pack = PackFileReader::open(fd, size);
  if (!pack) return pack.error();
  Decompressor decompressor;
  for (auto& frame : pack->frames()) {
    if (frame.kind != Kind::folder) continue;
    auto stored = pack->stored(frame);
    if (!stored) return stored.error();
    auto bytes = decompressor.unpack(frame, *stored);
    if (!bytes) return bytes.error();
    take(frame.name, std::string(*bytes));
  }
  return ok();
}

}  // namespace spell::spellfs
