// Log v1: frames of raw bytes. The same frame is used in a run's spool on the worker, on the wire,
// and in the service's log files.
//
//   offset 0  u32 payload size (at most 1 MiB)        8  u64 sequence
//          4  u8  kind                               16  i64 time, microseconds
//          5  u8  flags                              24  payload
//          6  u16 0                                  all little endian
//
// output: the payload is what the command wrote; sequence = offset of its first byte in the run's
// whole output. status, system: payload = status name, NUL, text; sequence = the run's entry
// number, from 1. end (spools only): the command has ended; payload is the supervisor's. Time is of
// the day (UTC) in the service, CLOCK_BOOTTIME in a spool.
//
// A reader's position in a log is a cursor "B.S": B output bytes and S entries have been read.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "spell/result.hpp"

namespace spell::model {

enum class FrameKind : std::uint8_t { output = 1, status = 2, system = 3, end = 4 };
inline constexpr std::uint8_t frame_stderr = 1, frame_important = 2;
inline constexpr std::size_t frame_header_size = 24, frame_payload_limit = 1 << 20;

struct FrameHeader {
  std::uint32_t size = 0;
  FrameKind kind = FrameKind::output;
  std::uint8_t flags = 0;
  std::uint64_t sequence = 0;
  std::int64_t time_us = 0;
};

void put_frame_header(char* out24, const FrameHeader&);
void append_frame(std::string& out, const FrameHeader& header_without_size,
                  std::string_view payload);
/// Error `bad_frame` for an unknown kind, a set reserved field or a size beyond the limit.
Result<FrameHeader> parse_frame_header(std::string_view bytes24);

/// Cuts frames out of a byte stream that arrives in pieces.
class FrameParser {
 public:
  struct Frame {
    FrameHeader header;
    std::string_view payload;
  };  ///< payload lives until the next call
  void feed(std::string_view bytes);
  /// The next whole frame; nothing when more bytes are needed.
  Result<std::optional<Frame>> next();

 private:
  std::string buffer_;
  std::size_t at_ = 0;
};

struct LogCursor {
  std::int64_t bytes = 0, entries = 0;
  std::string text() const;
  static std::optional<LogCursor> parse(std::string_view);
};

}  // namespace spell::model
