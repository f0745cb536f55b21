// Encoding of integers and byte strings, and a reader that never leaves its bytes.
//
// Fixed integers are little-endian. A varint is LEB128 in its shortest form, at most 63 bits.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace spell::spellfs {

inline void put_fixed(std::string& out, std::uint64_t value, int size) {
  for (int i = 0; i < size; ++i) out += static_cast<char>(value >> (8 * i));
}

inline void put_varint(std::string& out, std::int64_t number) {
  auto value = static_cast<std::uint64_t>(number);
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}

inline void put_text(std::string& out, std::string_view text) {
  put_varint(out, static_cast<std::int64_t>(text.size()));
  out += text;
}

/// Reads hostile bytes. The first thing that does not fit makes it fail for good: every later read
/// yields zero or "", so a decoder may check once.
class ByteReader {
 public:
  explicit ByteReader(std::string_view bytes) : rest_(bytes) {}

  bool failed() const { return failed_; }
  /// Where the next byte is.
  const char* at() const { return rest_.data(); }
  /// All was read, and nothing was wrong.
  bool done() const { return !failed_ && rest_.empty(); }
  void fail() {
    failed_ = true;
    rest_ = {};
  }

  std::string_view bytes(std::size_t size) {
    if (size > rest_.size()) return fail(), std::string_view();
    std::string_view out = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return out;
  }
  std::uint64_t fixed(int size) {
    std::string_view raw = bytes(static_cast<std::size_t>(size));
    std::uint64_t value = 0;
    for (std::size_t i = raw.size(); i-- > 0;)
      value = value << 8 | static_cast<unsigned char>(raw[i]);
    return value;
  }
  std::int64_t varint(std::int64_t limit) {
    std::uint64_t value = 0;
    for (int shift = 0; shift < 63; shift += 7) {
      auto byte = fixed(1);
      value |= (byte & 0x7f) << shift;
      if (byte & 0x80) continue;
      bool shortest = byte != 0 || shift == 0;
      if (!shortest || value > static_cast<std::uint64_t>(limit)) break;
      return static_cast<std::int64_t>(value);
    }
    fail();
    return 0;
  }
  std::string_view text(std::size_t limit) {
    return bytes(static_cast<std::size_t>(varint(static_cast<std::int64_t>(limit))));
  }

 private:
  std::string_view rest_;
  bool failed_ = false;
};

}  // namespace spell::spellfs
