// What time on machines costs. Amounts are integers: billionths of a dollar an hour times
// milliseconds, exact and summed in 128 bits, rounded once where they are shown. Pure.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "spell/machine.hpp"
#include "spell/units.hpp"

namespace spell::model {

/// Billionths of a dollar an hour times milliseconds.
__extension__ typedef __int128 Units;

/// The greatest amount that a sum holds: no sum of it and another leaves 128 bits.
inline constexpr Units most_units = (Units{1} << 125);

inline Units units(std::int64_t nano_an_hour, std::int64_t ms) { return Units{nano_an_hour} * ms; }
/// Stays at most_units, or its negative, where it would leave them.
inline Units plus(Units a, Units b) {
  Units sum = a + b;
  return sum > most_units ? most_units : sum < -most_units ? -most_units : sum;
}
/// To the nearest billionth, halves away from zero; at most nine billion dollars, at least none:
/// amounts below zero are no bill.
Dollars rounded(Units);

/// What a run pays of the price of its type: in proportion to what it takes, as against a run that
/// asks for nothing in particular. Of cores, memory and GPUs the one that it takes most of counts.
std::int64_t price_of_share(std::int64_t nano_an_hour, const Amounts& takes, const Amounts& usual);

/// Milliseconds between two times in µs: none where a clock was set back.
inline std::int64_t ms_between(std::int64_t from_us, std::int64_t to_us) {
  return to_us > from_us ? to_us / 1000 - from_us / 1000 : 0;
}

/// A run's time on its machine, as it is recorded when it ends. Names are numbers of the store's
/// table of them.
struct CostEntry {
  bool taken_back = false;  ///< what was recorded before does not count: it became another
  bool spot = false;
  std::int64_t run = 0, workflow = 0;  ///< their numbers; workflow 0: of none
  std::int64_t user = 0, project = 0, type = 0, machine = 0;
  std::int64_t began_ms = 0, ms = 0;        ///< began: Unix time
  std::int64_t lost_ms = 0;                 ///< at its end: what an interruption has undone
  std::int64_t price = 0;                   ///< billionths of a dollar an hour
  std::optional<std::int64_t> on_demand{};  ///< the same without spot; none: not known, or no spot
  friend bool operator==(const CostEntry&, const CostEntry&) = default;
};

/// Bytes; those of many stand one behind the other.
void append(std::string& bytes, const CostEntry&);
/// Takes the first of them off. False: there is none, or it is damaged (`bytes` is not empty then).
bool take(std::string_view& bytes, CostEntry&);

}  // namespace spell::model
