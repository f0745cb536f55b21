#include "money.hpp"

#include <cstdlib>

#include "options.hpp"
#include "text.hpp"

namespace spell::cli {

std::optional<Dollars> parse_dollars(std::string_view text) {
  if (text.starts_with('$')) text.remove_prefix(1);
  if (text.empty() || text[0] < '0' || text[0] > '9') return {};
  auto dot = text.find('.');
  std::string digits(dot == text.npos ? "" : text.substr(dot + 1));
  if (digits.size() > 9 || (dot != text.npos && digits.empty())) return {};
  auto whole = parse_int(text.substr(0, dot));
  auto part = parse_int(digits + std::string(9 - digits.size(), '0'));
  if (!whole || !part || *part < 0 || *whole > 1'000'000'000) return {};
  return Dollars::nanos(*whole * 1'000'000'000 + *part);
}

Result<Dollars> parse_hourly(const std::string& option, const std::string& text) {
  std::string_view amount = text;
  if (amount.ends_with("/h")) amount.remove_suffix(2);
  auto price = parse_dollars(amount);
  constexpr Dollars most{10'000};
  if (!price || *price > most)
    return usage_error(option + " " + shell_quote(text) +
                       ": give dollars an hour, such as 1.50 or 3.06/h" +
                       (price ? " (at most 10000)" : ""));
  return *price;
}

std::string format_dollars(Dollars amount) {
  std::int64_t nano = std::llabs(amount.nano), unit = 100'000;
  int digits = 4;
  for (; nano > 0 && nano < unit * 10 && digits < 9; ++digits) unit /= 10;
  std::int64_t rounded = (nano + unit / 2) / unit, scale = 1;
  for (int digit = 0; digit < digits; ++digit) scale *= 10;
  std::string part = std::to_string(scale + rounded % scale).substr(1);
  while (part.size() > 2 && part.back() == '0') part.pop_back();
  return (amount.nano < 0 ? "-$" : "$") + std::to_string(rounded / scale) + "." + part;
}

std::string format_hourly(const std::optional<Dollars>& amount) {
  return amount ? format_dollars(*amount) + "/h" : "";
}

}  // namespace spell::cli
