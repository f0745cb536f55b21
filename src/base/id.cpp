#include "base/id.hpp"

#include <cstring>

#include "base/clock.hpp"
#include "base/hash.hpp"

namespace spell::base {

Id Id::make(std::int64_t unix_ms, std::string_view random16) {
  Id id;
  std::memcpy(id.bytes_.data(), random16.data(), std::min<std::size_t>(16, random16.size()));
  for (int i = 0; i < 6; ++i) id.bytes_[i] = static_cast<std::uint8_t>(unix_ms >> (40 - 8 * i));
  id.bytes_[6] = static_cast<std::uint8_t>(0x70 | (id.bytes_[6] & 0x0f));
  id.bytes_[8] = static_cast<std::uint8_t>(0x80 | (id.bytes_[8] & 0x3f));
  return id;
}

Id Id::make() { return make(unix_us() / 1000, random_bytes(16)); }

std::optional<Id> Id::parse(std::string_view text) {
  Id id;
  if (!unhex(text, id.bytes_.data(), id.bytes_.size())) return std::nullopt;
  return id;
}

std::string Id::text() const { return hex(bytes_); }

}  // namespace spell::base
