#include "since.hpp"

#include <algorithm>
#include <string>

#include "text.hpp"

namespace spell::cli {

namespace {

using std::chrono::days;
using std::chrono::sys_days;

/// Digits alone: no sign, no space.
std::optional<int> number_in(std::string_view text) {
  if (!std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; }))
    return {};
  auto value = parse_int(text);
  if (!value || *value > 9999) return {};
  return static_cast<int>(*value);
}

std::optional<sys_days> parse_day(std::string_view text) {
  if (text.size() != 10 || text[4] != '-' || text[7] != '-') return {};
  auto year = number_in(text.substr(0, 4)), month = number_in(text.substr(5, 2)),
       day = number_in(text.substr(8, 2));
  if (!year || !month || !day || *year < 1970 || *year > 2200) return {};
  std::chrono::year_month_day date{std::chrono::year(*year),
                                   std::chrono::month(static_cast<unsigned>(*month)),
                                   std::chrono::day(static_cast<unsigned>(*day))};
  if (!date.ok()) return {};
  return sys_days(date);
}

std::optional<Time> parse_moment(std::string_view text) {
  auto day = parse_day(text.substr(0, 10));
  if (!day) return {};
  auto rest = text.substr(10);
  if (rest.empty()) return Time(*day);
  if (rest.size() != 10 || rest[0] != 'T' || rest[3] != ':' || rest[6] != ':' || rest[9] != 'Z')
    return {};
  auto hour = number_in(rest.substr(1, 2)), minute = number_in(rest.substr(4, 2)),
       second = number_in(rest.substr(7, 2));
  if (!hour || !minute || !second || *hour > 23 || *minute > 59 || *second > 59) return {};
  return Time(*day) + std::chrono::hours(*hour) + std::chrono::minutes(*minute) +
         std::chrono::seconds(*second);
}

std::optional<Time> parse_ago(std::string_view text, Time now) {
  constexpr std::string_view units = "smhdw";
  constexpr std::int64_t seconds[] = {1, 60, 3600, 86'400, 604'800};
  auto unit = text.empty() ? units.npos : units.find(text.back());
  if (unit == units.npos || text.size() < 2 || text[0] == '-') return {};
  auto count = parse_int(text.substr(0, text.size() - 1));
  auto since_1970 =
      std::chrono::duration_cast<std::chrono::seconds>(now.time_since_epoch()).count();
  if (!count || *count > since_1970 / seconds[unit]) return {};
  return now - std::chrono::seconds(*count * seconds[unit]);
}

}  // namespace

std::optional<Time> parse_since(std::string_view text, Time now) {
  auto today = std::chrono::floor<days>(now);
  std::optional<Time> time;
  if (text == "today")
    time = Time(today);
  else if (text == "month")
    time = Time(today - days(static_cast<unsigned>(std::chrono::year_month_day(today).day()) - 1));
  else if (text.find('-') != text.npos)
    time = parse_moment(text);
  else
    time = parse_ago(text, now);
  if (!time || *time > now || *time < Time()) return {};
  return time;
}

}  // namespace spell::cli
