#include "model/money.hpp"

#include "base/text.hpp"
#include "model/machine_request.hpp"

namespace spell::model {

std::optional<Dollars> parse_dollars(std::string_view text) {
  auto dot = text.find('.');
  std::string digits(dot == text.npos ? "" : text.substr(dot + 1));
  if (text.empty() || text[0] < '0' || text[0] > '9' || digits.size() > 9 ||
      (dot != text.npos && digits.empty()))
    return {};
  auto whole = base::parse_int(text.substr(0, dot));
  auto part = base::parse_int(digits + std::string(9 - digits.size(), '0'));
  if (!whole || !part || *whole > 9'000'000'000 || *part < 0) return {};
  return Dollars::nanos(*whole * 1'000'000'000 + *part);
}

std::string dollars_text(Dollars amount) {
  std::int64_t nano = amount.nano < 0 ? -amount.nano : amount.nano;
  std::string part = std::to_string(1'000'000'000 + nano % 1'000'000'000).substr(1);
  part.erase(part.find_last_not_of('0') + 1);
  return (amount.nano < 0 ? "-" : "") + std::to_string(nano / 1'000'000'000) +
         (part.empty() ? "" : "." + part);
}

Problem read_price(const json& j, Dollars& out) {
  if (auto problem = Codec<Dollars>::read(j, out)) return problem;
  if (out > most_an_hour)
    return {"", "must be what an hour costs, at most " + dollars_text(most_an_hour) + " dollars"};
  return {};
}

Problem Codec<Dollars>::read(const json& j, Dollars& out) {
  std::string text;
  if (auto problem = read_text(j, text, 40)) return problem;
  auto amount = parse_dollars(text);
  if (!amount) return {"", "must be an amount of dollars such as \"1.25\""};
  out = *amount;
  return {};
}

json Codec<Dollars>::write(const Dollars& amount) { return dollars_text(amount); }

}  // namespace spell::model
