#include "text.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <ctime>

namespace spell::cli {

std::optional<std::int64_t> parse_int(std::string_view text) {
  std::int64_t value = 0;
  auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || failure != std::errc{} || end != text.data() + text.size()) return {};
  return value;
}

std::optional<std::int64_t> parse_size(std::string_view text) {
  std::string_view digits = text.substr(0, text.find_first_not_of("0123456789"));
  std::string_view unit = text.substr(digits.size());
  auto value = parse_int(digits);
  if (!value) return {};
  int shift = 0;
  if (!unit.empty()) {
    constexpr std::string_view units = "BKMGT";
    auto at = units.find(static_cast<char>(std::toupper(static_cast<unsigned char>(unit[0]))));
    auto rest = unit.substr(1);
    if (at == units.npos || !(rest.empty() || (at > 0 && (rest == "B" || rest == "iB")))) return {};
    shift = static_cast<int>(at) * 10;
  }
  if (*value > (INT64_MAX >> shift)) return {};
  return *value << shift;
}

std::optional<std::chrono::seconds> parse_minutes(std::string_view text) {
  double minutes = 0;
  auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), minutes);
  if (failure != std::errc{} || end != text.data() + text.size()) return {};
  if (!(minutes > 0) || minutes > 1e9) return {};
  return std::chrono::seconds(static_cast<std::int64_t>(std::ceil(minutes * 60)));
}

std::string format_size(std::int64_t bytes) {
  if (bytes < 1024) return std::to_string(bytes) + " B";
  double value = static_cast<double>(bytes);
  const char* unit = "";
  for (const char* next : {"KiB", "MiB", "GiB", "TiB", "PiB"}) {
    if (value < 1024) break;
    value /= 1024;
    unit = next;
  }
  char text[32];
  std::snprintf(text, sizeof text, value < 100 ? "%.1f %s" : "%.0f %s", value, unit);
  return text;
}

std::string format_duration(std::chrono::microseconds duration) {
  auto seconds = std::max<std::int64_t>(0, duration.count()) / 1'000'000;
  char text[48];
  if (seconds < 60)
    std::snprintf(text, sizeof text, "%.1fs",
                  static_cast<double>(std::max<std::int64_t>(0, duration.count())) / 1e6);
  else if (seconds < 3600)
    std::snprintf(text, sizeof text, "%lldm %02llds", static_cast<long long>(seconds / 60),
                  static_cast<long long>(seconds % 60));
  else
    std::snprintf(text, sizeof text, "%lldh %02lldm", static_cast<long long>(seconds / 3600),
                  static_cast<long long>(seconds / 60 % 60));
  return text;
}

std::string format_time(Time time) {
  std::time_t seconds = std::chrono::system_clock::to_time_t(time);
  std::tm parts{};
  localtime_r(&seconds, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &parts);
  return text;
}

std::string format_time(const std::optional<Time>& time, std::string_view otherwise) {
  return time ? format_time(*time) : std::string(otherwise);
}

std::string format_timestamp(Time time) {
  auto us = std::chrono::floor<std::chrono::microseconds>(time.time_since_epoch()).count();
  auto seconds = static_cast<std::time_t>(us / 1'000'000 - (us % 1'000'000 < 0 ? 1 : 0));
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  char day[32], text[48];
  std::strftime(day, sizeof day, "%Y-%m-%dT%H:%M:%S", &parts);
  std::snprintf(text, sizeof text, "%s.%06lldZ", day,
                static_cast<long long>(us - std::int64_t{seconds} * 1'000'000));
  return text;
}

std::string count(std::int64_t number, std::string_view noun) {
  std::string text = std::to_string(number) + " " + std::string(noun);
  if (number == 1) return text;
  bool y_becomes_ies = noun.ends_with("y") && !noun.ends_with("ay");
  if (y_becomes_ies) text.pop_back();
  return text + (y_becomes_ies ? "ies" : "s");
}

std::string join(const std::vector<std::string>& parts, std::string_view separator) {
  std::string text;
  for (const auto& part : parts) {
    if (&part != &parts.front()) text += separator;
    text += part;
  }
  return text;
}

std::string join_numbers(const std::vector<std::int64_t>& numbers) {
  std::vector<std::string> texts;
  for (auto number : numbers) texts.push_back(std::to_string(number));
  return join(texts, ", ");
}

std::string join_some(const std::vector<std::string>& parts, std::size_t limit) {
  if (parts.size() <= limit) return join(parts, ", ");
  return join({parts.begin(), parts.begin() + static_cast<std::ptrdiff_t>(limit)}, ", ") + " and " +
         std::to_string(parts.size() - limit) + " more";
}

std::string lower(std::string text) {
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return text;
}

std::string shell_quote(std::string_view word) {
  constexpr std::string_view safe =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:=@%+,";
  if (!word.empty() && word.find_first_not_of(safe) == word.npos) return std::string(word);
  std::string quoted = "'";
  for (char c : word) {
    if (c == '\'')
      quoted += "'\\''";
    else
      quoted += c;
  }
  return quoted + "'";
}

namespace {

struct Character {
  char32_t code = 0;
  std::size_t size = 1;
  bool valid = false;
};

Character decode(std::string_view text) {
  auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  unsigned char lead = byte(0);
  if (lead < 0x80) return {lead, 1, true};
  std::size_t size = lead >= 0xF0 && lead < 0xF5 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC2 ? 2 : 0;
  if (size == 0 || lead >= 0xF5 || text.size() < size) return {};
  char32_t code = lead & (0xFF >> (size + 1));
  for (std::size_t i = 1; i < size; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return {};
    code = code << 6 | (byte(i) & 0x3F);
  }
  constexpr std::array<char32_t, 5> least{0, 0, 0x80, 0x800, 0x10000};
  if (code < least[size] || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) return {};
  return {code, size, true};
}

struct Range {
  char32_t first, last;
};

bool in(char32_t code, std::initializer_list<Range> ranges) {
  return std::any_of(ranges.begin(), ranges.end(),
                     [&](Range r) { return code >= r.first && code <= r.last; });
}

std::size_t columns(char32_t code) {
  if (in(code, {{0x300, 0x36F}, {0x200B, 0x200F}, {0x20D0, 0x20FF}, {0xFE00, 0xFE0F}})) return 0;
  bool wide = in(code, {{0x1100, 0x115F},
                        {0x2728, 0x2728},
                        {0x270A, 0x270B},
                        {0x2E80, 0xA4CF},
                        {0xAC00, 0xD7A3},
                        {0xF900, 0xFAFF},
                        {0xFE30, 0xFE6F},
                        {0xFF00, 0xFF60},
                        {0xFFE0, 0xFFE6},
                        {0x1F300, 0x1F64F},
                        {0x1F680, 0x1F6FF},
                        {0x1F900, 0x1F9FF},
                        {0x20000, 0x3FFFD}});
  return wide ? 2 : 1;
}

template <class Visit>
void each_character(std::string_view text, Visit visit) {
  while (!text.empty()) {
    Character c = decode(text);
    if (!visit(c, text.substr(0, c.size))) return;
    text.remove_prefix(c.size);
  }
}

}  // namespace

std::string printable(std::string_view text) {
  std::string line;
  each_character(text, [&](const Character& c, std::string_view bytes) {
    if (!c.valid)
      line += '?';
    else if (c.code < 0x20 || (c.code >= 0x7F && c.code < 0xA0))
      line += ' ';
    else
      line += bytes;
    return true;
  });
  return line;
}

std::string to_ascii(std::string_view text) {
  std::string ascii;
  each_character(text, [&](const Character& c, std::string_view bytes) {
    if (c.valid && c.code < 0x80)
      ascii += bytes;
    else if (c.code == 0x2026)
      ascii += "...";
    else
      ascii += '?';
    return true;
  });
  return ascii;
}

std::size_t display_width(std::string_view text) {
  std::size_t width = 0;
  each_character(text, [&](const Character& c, std::string_view) {
    width += columns(c.code);
    return true;
  });
  return width;
}

std::string truncate(std::string_view text, std::size_t width, std::string_view ellipsis) {
  if (display_width(text) <= width) return std::string(text);
  std::size_t room = width - std::min(width, display_width(ellipsis));
  std::string cut;
  each_character(text, [&](const Character& c, std::string_view bytes) {
    if (columns(c.code) > room) return false;
    room -= columns(c.code);
    cut += bytes;
    return true;
  });
  return cut + std::string(ellipsis);
}

namespace {

/// Edits (insert, delete, replace, swap of neighbours) that turn one word into the other.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before, last(b.size() + 1), now(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    now[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      now[j] = std::min({last[j] + 1, now[j - 1] + 1, last[j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        now[j] = std::min(now[j], before[j - 2] + 1);
    }
    before = std::exchange(last, now);
  }
  return last[b.size()];
}

}  // namespace

std::string nearest(std::string_view word, const std::vector<std::string>& candidates) {
  std::string best;
  std::size_t limit = std::max<std::size_t>(1, word.size() / 3) + 1;
  for (const auto& candidate : candidates) {
    std::size_t edits = distance(word, candidate);
    if (word.size() >= 4 && candidate.starts_with(word)) edits = 1;
    if (edits < limit && edits < candidate.size()) best = candidate, limit = edits;
  }
  return best;
}

}  // namespace spell::cli
