#include "model/fields.hpp"

#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/text.hpp"
#include "model/error_code.hpp"

namespace spell::model {

Error Problem::error(std::string_view code) const {
  return base::error(code, path.empty() ? "the body " + text : path + ' ' + text);
}

std::string in_quotes(std::string_view text) { return "'" + one_line(text, 64) + "'"; }

Problem read_bool(const json& j, bool& out) {
  if (!j.is_boolean()) return {"", "must be true or false"};
  out = j.get<bool>();
  return {};
}

Problem read_int(const json& j, std::int64_t& out, std::int64_t least, std::int64_t most) {
  if (!j.is_number_integer()) return {"", "must be a whole number"};
  // An unsigned value above the signed range would come back negative.
  bool fits = !j.is_number_unsigned() ||
              j.get<std::uint64_t>() <= static_cast<std::uint64_t>(integer_limit);
  std::int64_t value = fits ? j.get<std::int64_t>() : integer_limit + 1;
  if (value < least || value > most)
    return {"", "must be from " + std::to_string(least) + " to " + std::to_string(most)};
  out = value;
  return {};
}

Problem read_text(const json& j, std::string& out, std::size_t limit) {
  auto text = j.get_ptr<const std::string*>();
  if (!text) return {"", "must be text"};
  if (text->size() > limit)
    return {"", "has " + std::to_string(text->size()) + " bytes, at most " + std::to_string(limit) +
                    " are allowed"};
  if (!base::valid_text(*text)) return {"", "must be valid UTF-8 without NUL"};
  out = *text;
  return {};
}

Problem read_name(const json& j, std::string& out) {
  if (auto problem = read_text(j, out)) return problem;
  if (!base::valid_name(out))
    return {"", in_quotes(out) +
                    " is not a name: 1 to 64 letters, digits, '.', '_' or '-', not beginning with "
                    "'.' or '-'"};
  return {};
}

Problem read_time(const json& j, std::int64_t& out) {
  std::string text;
  if (auto problem = read_text(j, text, 64)) return problem;
  auto us = base::parse_rfc3339(text);
  if (!us) return {"", "must be a time such as 2026-01-31T12:00:00.000000Z"};
  out = *us;
  return {};
}

}  // namespace spell::model
