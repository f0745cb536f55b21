// 128-bit, time-ordered random ids (the layout of RFC 9562's version 7): 48 bits of milliseconds,
// then random bits.
#pragma once
#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace spell::base {

class Id {
 public:
  Id() = default;
  static Id make(std::int64_t unix_ms, std::string_view random16);
  /// With the system's clock and random source.
  static Id make();
  /// 32 lower-case hex digits; nothing else is accepted.
  static std::optional<Id> parse(std::string_view text);
  std::string text() const;
  auto operator<=>(const Id&) const = default;

 private:
  std::array<std::uint8_t, 16> bytes_{};
};

}  // namespace spell::base
