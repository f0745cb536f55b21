#include "store/wal.hpp"

#include <fcntl.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <vector>

#include "base/checksum.hpp"
#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/file.hpp"

namespace spell::store {

namespace {

std::uint32_t big(const char* at) {
  auto* p = reinterpret_cast<const unsigned char*>(at);
  return std::uint32_t{p[0]} << 24 | std::uint32_t{p[1]} << 16 | std::uint32_t{p[2]} << 8 | p[3];
}

std::uint64_t big64(const char* at) { return std::uint64_t{big(at)} << 32 | big(at + 4); }

// Of logs whose sums are of words in this computer's order, which is how it writes them.
constexpr std::uint32_t magic = std::endian::native == std::endian::big ? 0x377f0683 : 0x377f0682;

}  // namespace

WalSum wal_sum(WalSum sum, std::string_view bytes) {
  for (std::size_t at = 0; at + 8 <= bytes.size(); at += 8) {
    std::uint32_t words[2];
    std::memcpy(words, bytes.data() + at, 8);
    sum.a += words[0] + sum.b;
    sum.b += words[1] + sum.a;
  }
  return sum;
}

FrameHeader FrameHeader::parse(const char* bytes) {
  return {big(bytes), big(bytes + 4), big64(bytes + 8), {big(bytes + 16), big(bytes + 20)}};
}

WalSum frame_sum(WalSum before, const char* header, std::string_view page) {
  return wal_sum(wal_sum(before, {header, 8}), page);
}

std::optional<WalHeader> WalHeader::parse(const char* bytes) {
  WalHeader header{big64(bytes + 16), {big(bytes + 24), big(bytes + 28)}};
  if (big(bytes) != magic || big(bytes + 8) != page_size) return {};
  if (wal_sum({}, {bytes, 24}) != header.sum) return {};
  return header;
}

std::array<char, 32> Synced::bytes() const {
  std::array<char, 32> out{};
  std::memcpy(out.data(), &salt, 8);
  std::memcpy(out.data() + 8, &frames, 4);
  std::memcpy(out.data() + 12, &sum.a, 4);
  std::memcpy(out.data() + 16, &sum.b, 4);
  std::uint64_t check = base::checksum({out.data(), 24});
  std::memcpy(out.data() + 24, &check, 8);
  return out;
}

std::optional<Synced> Synced::read(const std::string& path) {
  auto text = base::read_file(path, 1024);
  if (!text || text->size() != 32) return {};
  Synced synced;
  std::memcpy(&synced.salt, text->data(), 8);
  std::memcpy(&synced.frames, text->data() + 8, 4);
  std::memcpy(&synced.sum.a, text->data() + 12, 4);
  std::memcpy(&synced.sum.b, text->data() + 16, 4);
  auto whole = synced.bytes();
  if (std::string_view(whole.data(), whole.size()) != *text) return {};
  return synced;
}

namespace {

/// Reads into all of `to`; fewer bytes at the file's end.
Result<std::size_t> read_at(const base::Fd& file, std::string& to, std::int64_t offset) {
  return base::pread_full(file.get(), to.data(), to.size(), offset);
}

/// Of a log whose header is none: was it only begun, or stands something behind it?
Result<> look_behind(const base::Fd& file, Wal& wal) {
  std::string frame(frame_size, '\0');
  std::int64_t frames = 0;
  for (bool more = true; more; ++frames) {
    auto read = read_at(file, frame, frame_offset(frames + 1));
    if (!read) return read.error();
    more = *read == frame.size();
    if (frame.find_first_not_of('\0') < *read) wal.damage = "at its beginning";
  }
  if (!wal.damage.empty()) wal.lost = frames - 1;
  return ok();
}

/// None: the log was begun anew meanwhile.
Result<std::optional<Wal>> read_once(const std::string& database) {
  Wal wal;
  // Before the log: what it says is there when the log is read.
  auto synced = Synced::read(database + "-synced");
  auto file = base::open(database + "-wal", O_RDONLY);
  if (!file && file.error().code() == "not_found") return std::optional(wal);
  if (!file) return file.error();
  std::string header(wal_header_size, '\0'), again = header, frame(frame_size, '\0');
  auto read = read_at(*file, header, 0);
  if (!read) return read.error();
  if (*read < header.size()) return std::optional(wal);
  auto parsed = WalHeader::parse(header.data());
  if (!parsed) {
    SPELL_TRY(look_behind(*file, wal));
    return std::optional(wal);
  }
  wal.begun = true;
  bool noted = synced && synced->salt == parsed->salt && synced->frames > 0, met = false;
  std::vector<std::uint32_t> pages;
  WalSum sum = parsed->sum;
  std::int64_t number = 1, counted = 0;
  for (;; ++number) {
    read = read_at(*file, frame, frame_offset(number));
    if (!read) return read.error();
    if (*read < frame.size()) break;
    auto is = FrameHeader::parse(frame.data());
    sum = frame_sum(sum, frame.data(), std::string_view(frame).substr(frame_header_size));
    if (is.salt != parsed->salt || is.page == 0 || is.sum != sum) break;
    pages.push_back(is.page);
    if (is.commit) counted = number;
    if (noted && synced->frames == number) met = synced->sum == sum;
  }
  read = read_at(*file, again, 0);
  if (!read) return read.error();
  if (again != header) return std::optional<Wal>();
  wal.pages = {pages.begin(), pages.begin() + counted};
  if (!noted || met) return std::optional(std::move(wal));
  wal.lost = std::max<std::int64_t>(synced->frames - counted, 1);
  wal.damage = "at byte " + std::to_string(frame_offset(number));
  return std::optional(std::move(wal));
}

}  // namespace

Result<Wal> read_wal(const std::string& database) {
  for (;;) {
    auto wal = read_once(database);
    if (!wal) return wal.error();
    if (!*wal) continue;
    if (!(*wal)->damage.empty())
      (*wal)->damage = database + "-wal is damaged " + (*wal)->damage +
                       ", and changes that were answered stand behind it";
    return std::move(**wal);
  }
}

}  // namespace spell::store
