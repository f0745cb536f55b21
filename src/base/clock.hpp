// Clocks and their text form. Leases and time-outs use boot time, records use the time of day.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace spell::base {

inline constexpr std::int64_t second_us = 1'000'000, hour_us = 3'600 * second_us,
                              day_us = 24 * hour_us;
inline constexpr std::int64_t hour_ms = 3'600'000, day_ms = 24 * hour_ms;

/// Microseconds since 1970, UTC.
std::int64_t unix_us();
/// Nanoseconds of CLOCK_BOOTTIME where there is one, else of the monotonic clock: goes on while the
/// computer sleeps.
std::int64_t boot_ns();
/// The kernel's boot id; "" if there is none.
std::string boot_id();
/// "2026-01-31T12:00:00.000000Z"
std::string rfc3339(std::int64_t us);
std::optional<std::int64_t> parse_rfc3339(std::string_view text);

}  // namespace spell::base
