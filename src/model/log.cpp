#include "model/log.hpp"

#include "base/error.hpp"
#include "base/text.hpp"

namespace spell::model {

namespace {

template <class T>
void put_little_endian(char* out, T value) {
  for (std::size_t i = 0; i < sizeof(T); ++i)
    out[i] = static_cast<char>(static_cast<std::uint64_t>(value) >> (8 * i));
}

template <class T>
T take_little_endian(const char* in) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < sizeof(T); ++i)
    value |= std::uint64_t{static_cast<unsigned char>(in[i])} << (8 * i);
  return static_cast<T>(value);
}

constexpr std::uint8_t known_flags = frame_stderr | frame_important;

}  // namespace

void put_frame_header(char* out, const FrameHeader& header) {
  put_little_endian(out, header.size);
  put_little_endian(out + 4, static_cast<std::uint8_t>(header.kind));
  put_little_endian(out + 5, header.flags);
  put_little_endian(out + 6, std::uint16_t{0});
  put_little_endian(out + 8, header.sequence);
  put_little_endian(out + 16, header.time_us);
}

void append_frame(std::string& out, const FrameHeader& header_without_size,
                  std::string_view payload) {
  FrameHeader header = header_without_size;
  header.size = static_cast<std::uint32_t>(payload.size());
  char bytes[frame_header_size];
  put_frame_header(bytes, header);
  out.append(bytes, sizeof bytes).append(payload);
}

Result<FrameHeader> parse_frame_header(std::string_view bytes) {
  if (bytes.size() < frame_header_size)
    return base::error("bad_frame", "log frame header is cut short");
  FrameHeader header;
  header.size = take_little_endian<std::uint32_t>(bytes.data());
  auto kind = take_little_endian<std::uint8_t>(bytes.data() + 4);
  header.flags = take_little_endian<std::uint8_t>(bytes.data() + 5);
  header.sequence = take_little_endian<std::uint64_t>(bytes.data() + 8);
  header.time_us = take_little_endian<std::int64_t>(bytes.data() + 16);
  if (kind < static_cast<std::uint8_t>(FrameKind::output) ||
      kind > static_cast<std::uint8_t>(FrameKind::end))
    return base::error("bad_frame", "log frame of unknown kind " + std::to_string(kind));
  if (header.flags & ~known_flags || take_little_endian<std::uint16_t>(bytes.data() + 6) != 0)
    return base::error("bad_frame", "log frame with a reserved field set");
  if (header.size > frame_payload_limit)
    return base::error("bad_frame", "log frame of " + std::to_string(header.size) +
                                        " bytes, at most " + std::to_string(frame_payload_limit) +
                                        " are allowed");
  header.kind = static_cast<FrameKind>(kind);
  return header;
}

void FrameParser::feed(std::string_view bytes) {
  // Only the unread tail moves, and only when new bytes come, so payloads handed out stay valid
  // until then.
  buffer_.erase(0, at_);
  at_ = 0;
  buffer_.append(bytes);
}

Result<std::optional<FrameParser::Frame>> FrameParser::next() {
  std::string_view rest = std::string_view(buffer_).substr(at_);
  if (rest.size() < frame_header_size) return std::optional<Frame>();
  auto header = parse_frame_header(rest.substr(0, frame_header_size));
  if (!header) return header.error();
  if (rest.size() - frame_header_size < header->size) return std::optional<Frame>();
  at_ += frame_header_size + header->size;
  return std::optional<Frame>(Frame{*header, rest.substr(frame_header_size, header->size)});
}

std::string LogCursor::text() const {
  return std::to_string(bytes) + '.' + std::to_string(entries);
}

std::optional<LogCursor> LogCursor::parse(std::string_view text) {
  auto dot = text.find('.');
  if (dot == std::string_view::npos) return std::nullopt;
  auto bytes = base::parse_int(text.substr(0, dot)),
       entries = base::parse_int(text.substr(dot + 1));
  if (!bytes || !entries || *bytes < 0 || *entries < 0) return std::nullopt;
  return LogCursor{*bytes, *entries};
}

}  // namespace spell::model
