// SQLite's write-ahead log, read by ourselves: whether each frame in it is what was written, and
// whether transactions were there that SQLite would leave out in silence, since it takes the first
// frame that is wrong for the end of what a crash left. What tells those from what a crash did
// leave is the note alone. The format is SQLite's own (sqlite.org/fileformat2.html, "The
// Write-Ahead Log"). Private to this folder.
//
//   spell.db-wal      header, frames; each frame's checksum goes on from the one before it
//   spell.db-synced   how far the log was last known to be on the disk. Written without a sync of
//                     its own, after that of the log: it may be behind, never ahead
#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>

#include "spell/result.hpp"

namespace spell::store {

inline constexpr std::int64_t page_size = 4096;
inline constexpr std::int64_t wal_header_size = 32, frame_header_size = 24;
inline constexpr std::int64_t frame_size = frame_header_size + page_size;

/// Frames are counted from 1.
constexpr std::int64_t frame_offset(std::int64_t frame) {
  return wal_header_size + (frame - 1) * frame_size;
}

struct WalSum {
  std::uint32_t a = 0, b = 0;
  bool operator==(const WalSum&) const = default;
};

/// Goes on from `sum`; `bytes`: a multiple of 8.
WalSum wal_sum(WalSum sum, std::string_view bytes);

struct FrameHeader {
  std::uint32_t page = 0;
  std::uint32_t commit = 0;  ///< pages of the database after the transaction that this frame ends
  std::uint64_t salt = 0;    ///< that of the log's header, else the frame is of an earlier log
  WalSum sum;
  static FrameHeader parse(const char* bytes);
};
/// The sum of a frame: of its page's number and size, and of the page.
WalSum frame_sum(WalSum before, const char* header, std::string_view page);

struct WalHeader {
  std::uint64_t salt = 0;
  WalSum sum;
  /// None: not what SQLite wrote here.
  static std::optional<WalHeader> parse(const char* bytes);
};

/// A log's length that is on the disk for sure.
struct Synced {
  std::uint64_t salt = 0;
  std::uint32_t frames = 0;
  WalSum sum;  ///< of the last of them
  bool operator==(const Synced&) const = default;
  std::array<char, 32> bytes() const;
  /// None: no such file, or not whole.
  static std::optional<Synced> read(const std::string& path);
};

struct Wal {
  std::unordered_set<std::uint32_t> pages;  ///< of which it holds a version that counts
  std::string damage;                       ///< "": none
  std::int64_t lost = 0;  ///< frames that cannot be read, of those known to be there
  bool begun = false;     ///< its header can be read
};
/// It may be written meanwhile.
Result<Wal> read_wal(const std::string& database);

}  // namespace spell::store
