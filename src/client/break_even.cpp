#include <cmath>

#include "base/error.hpp"
#include "spell/catalogue.hpp"

namespace spell {

namespace {

constexpr double hours_of_year = 365.25 * 24;

Result<> check_break_even(const OwnMachine& own, Dollars an_hour, double of_type) {
  auto wrong = [](const char* what) { return base::error("invalid_request", what); };
  auto fine = [](double value) { return std::isfinite(value) && value >= 0; };
  if (own.purchase.nano <= 0) return wrong("what the machine cost must be more than 0");
  if (an_hour.nano <= 0) return wrong("the price that it is compared with must be more than 0");
  if (own.electricity.nano < 0) return wrong("a kilowatt-hour must not cost less than 0");
  if (!fine(own.throughput) || !fine(of_type)) return wrong("throughput must not be below 0");
  if (!fine(own.years) || !fine(own.watts)) return wrong("years and watts must not be below 0");
  if (!fine(own.share) || own.share > 1) return wrong("the share of use must be from 0 to 1");
  return ok();
}

}  // namespace

Result<BreakEven> break_even(const OwnMachine& own, Dollars an_hour, double of_type) {
  if (auto fine = check_break_even(own, an_hour, of_type); !fine) return fine.error();
  double relative = own.throughput > 0 && of_type > 0 ? own.throughput / of_type : 1;
  double purchase = static_cast<double>(own.purchase.nano);
  double replaces = static_cast<double>(an_hour.nano) * relative;
  double power = own.watts / 1000 * static_cast<double>(own.electricity.nano);
  auto dollars = [](double nano) { return Dollars::nanos(std::llround(nano)); };
  if (replaces > 9e18 || power > 9e18)
    return base::error("invalid_request", "the figures are beyond what a machine costs");
  BreakEven out;
  out.replaces = dollars(replaces);
  out.power = dollars(power);
  out.hours = replaces > power ? purchase / (replaces - power) : INFINITY;
  if (own.share > 0 && std::isfinite(out.hours)) out.days = out.hours / own.share / 24;
  double used = own.years * hours_of_year * (own.share > 0 ? own.share : 1);
  if (used > 0 && purchase / used + power < 9e18) out.own = dollars(purchase / used + power);
  return out;
}

}  // namespace spell
