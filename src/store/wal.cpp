#include "store/wal.hpp"

#include <fcntl.h>
#include <sys/stat.h>

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

/// A log as it goes by, frame by frame.
class Scan {
 public:
  Scan(const WalHeader& header, const std::optional<Synced>& synced)
      : salt_(header.salt), before_{header.sum, header.sum} {
    if (synced && synced->salt == salt_) synced_ = *synced;
  }

  void add(std::int64_t number, const char* header, std::string_view page) {
    auto frame = FrameHeader::parse(header);
    WalSum sum = frame_sum(before_.stored, header, page);
    bool ours = frame.salt == salt_ && frame.page != 0;
    bool whole = ours && sum == frame.sum;
    if (first_wrong_ == 0 && whole) {
      pages_.push_back(frame.page);
      if (frame.commit) counted_ = pages_.size();
      if (synced_.frames == number) met_ = synced_.sum == frame.sum;
    } else {
      if (first_wrong_ == 0) first_wrong_ = number;
      // A transaction is written only when the one before it is on the disk. So what is wrong here
      // was written once: no crash left it unfinished.
      bool follows = whole || (ours && frame_sum(before_.computed, header, page) == frame.sum);
      if (number > first_wrong_ && follows && before_.commit) overtaken_ = true;
    }
    before_ = {frame.sum, sum, frame.commit != 0};
  }

  /// The first frame that is not what was written, 0: none.
  std::int64_t damaged(bool live) const {
    bool lost = synced_.frames && !met_;
    bool overtaken = overtaken_ && !live;  // a frame may have been looked at before it was written
    if (!lost && !overtaken) return 0;
    return first_wrong_ ? first_wrong_ : static_cast<std::int64_t>(pages_.size()) + 1;
  }
  std::unordered_set<std::uint32_t> pages() const {
    return {pages_.begin(), pages_.begin() + static_cast<std::ptrdiff_t>(counted_)};
  }

 private:
  struct Before {
    WalSum stored, computed;
    bool commit = false;
  };
  std::uint64_t salt_;
  Before before_;
  Synced synced_;  ///< frames 0: nothing is known
  bool met_ = false, overtaken_ = false;
  std::int64_t first_wrong_ = 0;
  std::vector<std::uint32_t> pages_;
  std::size_t counted_ = 0;  ///< of pages_, those of whole transactions
};

/// None: the log was begun anew meanwhile.
Result<std::optional<Wal>> read_once(const std::string& database, bool live) {
  Wal wal;
  std::string path = database + "-wal";
  // Before the log: what it says is there when the log is read.
  auto synced = Synced::read(database + "-synced");
  auto file = base::open(path, O_RDONLY);
  if (!file && file.error().code() == "not_found") return std::optional(wal);
  if (!file) return file.error();
  std::string header(wal_header_size, '\0');
  auto read = base::pread_full(file->get(), header.data(), header.size(), 0);
  if (!read) return read.error();
  // Begun, and nothing in it yet.
  if (*read < header.size() || header == std::string(wal_header_size, '\0'))
    return std::optional(wal);
  auto parsed = WalHeader::parse(header.data());
  if (!parsed) {
    wal.damage = path + " is damaged at its beginning";
    return std::optional(wal);
  }
  Scan scan(*parsed, synced);
  std::string frame(frame_size, '\0');
  for (std::int64_t number = 1;; ++number) {
    read = base::pread_full(file->get(), frame.data(), frame.size(), frame_offset(number));
    if (!read) return read.error();
    if (*read < frame.size()) break;
    scan.add(number, frame.data(), std::string_view(frame).substr(frame_header_size));
  }
  std::string again(wal_header_size, '\0');
  read = base::pread_full(file->get(), again.data(), again.size(), 0);
  if (!read) return read.error();
  if (again != header) return std::optional<Wal>();
  wal.pages = scan.pages();
  if (auto number = scan.damaged(live))
    wal.damage = path + " is damaged at byte " + std::to_string(frame_offset(number)) +
                 ", and changes that were answered stand behind it";
  return std::optional(std::move(wal));
}

}  // namespace

Result<Wal> read_wal(const std::string& database, bool live) {
  for (;;) {
    auto wal = read_once(database, live);
    if (!wal) return wal.error();
    if (*wal) return std::move(**wal);
  }
}

}  // namespace spell::store
