// Money for people and from people.
#pragma once
#include <optional>
#include <string>
#include <string_view>

#include "spell/result.hpp"
#include "spell/units.hpp"

namespace spell::cli {

/// "20", "$1.25", as exact as a billionth; none: it is no amount, or is negative.
std::optional<Dollars> parse_dollars(std::string_view text);
/// The same with "/h" or nothing behind it. Error `usage`, naming the option: also for more than
/// any machine costs.
Result<Dollars> parse_hourly(const std::string& option, const std::string& text);

/// "$3.06", "$0.918", "$0.000058": cents at least, four digits, or two that are not 0.
std::string format_dollars(Dollars amount);
/// "$3.06/h"; "": not known.
std::string format_hourly(const std::optional<Dollars>& amount);

}  // namespace spell::cli
