// Money on the wire: decimal texts, exact.
#pragma once
#include <optional>
#include <string>
#include <string_view>

#include "model/members.hpp"
#include "spell/units.hpp"

namespace spell::model {

/// "1.25", to a billionth; none: it is no amount, is negative, or above nine billion.
std::optional<Dollars> parse_dollars(std::string_view text);
/// "1.25", as exact as it is. Amounts below zero have a '-'.
std::string dollars_text(Dollars);
/// What an hour may cost: up to `most_an_hour`.
Problem read_price(const json&, Dollars& out);

template <>
struct Codec<Dollars> {
  static Problem read(const json&, Dollars& out);
  static json write(const Dollars&);
};

}  // namespace spell::model
