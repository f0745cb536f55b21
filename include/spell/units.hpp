// Amounts with units: bytes, and money.
#pragma once
#include <compare>
#include <cstdint>

namespace spell {

/// US dollars, exact to a billionth.
struct Dollars {
  std::int64_t nano = 0;

  constexpr Dollars() = default;
  constexpr explicit Dollars(int whole) : nano(whole * std::int64_t{1'000'000'000}) {}
  /// To the nearest billionth; at most nine billion.
  constexpr explicit Dollars(double amount)
      : nano(static_cast<std::int64_t>(amount * 1e9 + (amount < 0 ? -0.5 : 0.5))) {}
  static constexpr Dollars nanos(std::int64_t count) {
    Dollars out;
    out.nano = count;
    return out;
  }
  friend constexpr auto operator<=>(const Dollars&, const Dollars&) = default;
};

/// `using namespace spell;` or `using namespace spell::literals;`: 16_GB. Powers of 1024.
inline namespace literals {
constexpr std::int64_t operator""_MB(unsigned long long n) {
  return static_cast<std::int64_t>(n) << 20;
}
constexpr std::int64_t operator""_GB(unsigned long long n) {
  return static_cast<std::int64_t>(n) << 30;
}
constexpr std::int64_t operator""_TB(unsigned long long n) {
  return static_cast<std::int64_t>(n) << 40;
}
}  // namespace literals

}  // namespace spell
