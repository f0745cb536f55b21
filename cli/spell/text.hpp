// Text for people and from people: sizes, durations, columns, numbers, near misses. Pure functions.
#pragma once
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "spell/run.hpp"

namespace spell::cli {

/// A whole decimal number, nothing around it.
std::optional<std::int64_t> parse_int(std::string_view text);
/// "512", "10K", "64M", "2G", "1T", also "KB" and "KiB" (all powers of 1024): bytes.
std::optional<std::int64_t> parse_size(std::string_view text);
/// "2", "0.5": minutes as seconds, rounded up. Nothing for what is not positive.
std::optional<std::chrono::seconds> parse_minutes(std::string_view text);

/// "1.5 GiB"
std::string format_size(std::int64_t bytes);
/// "3.2s", "4m 05s", "2h 05m"
std::string format_duration(std::chrono::microseconds duration);
/// "2026-03-01 14:05:09", in the zone of the computer.
std::string format_time(Time time);
std::string format_time(const std::optional<Time>& time, std::string_view otherwise = {});
/// "2026-03-01T13:05:09.123456Z", as the API has it.
std::string format_timestamp(Time time);
/// "1 file", "3 files"
std::string count(std::int64_t number, std::string_view noun);

std::string join(const std::vector<std::string>& parts, std::string_view separator);
/// "1, 2, 3"
std::string join_numbers(const std::vector<std::int64_t>& numbers);
/// The first few of many names: "a, b, c and 4 more".
std::string join_some(const std::vector<std::string>& parts, std::size_t limit = 3);
/// For a shell, as one word.
std::string shell_quote(std::string_view word);
/// ASCII letters alone.
std::string lower(std::string text);

/// One line that can't steer a terminal: control characters and broken UTF-8 become spaces and '?'.
std::string printable(std::string_view text);
/// Only ASCII: "…" becomes "...", another character '?'.
std::string to_ascii(std::string_view text);
/// Columns that a printable text takes in a terminal.
std::size_t display_width(std::string_view text);
/// At most `width` columns; what is cut ends with `ellipsis`.
std::string truncate(std::string_view text, std::size_t width, std::string_view ellipsis);

/// The candidate that was probably meant, or "" when none is near.
std::string nearest(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace spell::cli
