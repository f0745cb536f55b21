#include "sched/caps.hpp"

#include <algorithm>
#include <chrono>

#include "base/clock.hpp"

namespace spell::sched {

using base::day_ms;
using model::Units;

namespace {

using Months = std::chrono::year_month;

/// The year 9999: beyond it all is one month.
constexpr std::int64_t last_ms = 253'402'300'799'000;

Months month_of(std::int64_t ms) {
  std::chrono::sys_days day(std::chrono::days(std::clamp<std::int64_t>(ms, 0, last_ms) / day_ms));
  std::chrono::year_month_day date(day);
  return {date.year(), date.month()};
}

std::int64_t begin_of(Months month) {
  return std::chrono::sys_days(month / std::chrono::day(1)).time_since_epoch().count() * day_ms;
}

}  // namespace

Units cost_of(const Span& span) {
  return model::units(span.price, std::max<std::int64_t>(0, span.to_ms - span.from_ms));
}

std::int64_t Cap::period(std::int64_t at_ms) const {
  return monthly_ ? begin_of(month_of(at_ms)) : 0;
}

std::int64_t Cap::next_period(std::int64_t at_ms) const {
  if (!monthly_ || at_ms >= last_ms) return INT64_MAX;
  return begin_of(month_of(at_ms) + std::chrono::months(1));
}

Cap::Sums Cap::sums(std::int64_t at_ms) const {
  auto found = periods_.find(period(at_ms));
  return found == periods_.end() ? Sums() : found->second;
}

Units Cap::left(std::int64_t at_ms) const {
  auto now = sums(at_ms);
  return amount_ - now.spent - now.reserved;
}

void Cap::add(const Span& span, bool less, Units Sums::*sum) {
  for (auto at = span.from_ms; at < span.to_ms;) {
    auto end = std::min(span.to_ms, next_period(at));
    auto cost = cost_of({at, end, span.price});
    auto& value = periods_[period(at)].*sum;
    value = model::plus(value, less ? -cost : cost);
    at = end;
  }
}

std::int64_t Cap::pays_until(const Span& span) const {
  if (span.price <= 0) return span.to_ms;
  for (auto at = span.from_ms; at < span.to_ms;) {
    auto end = std::min(span.to_ms, next_period(at));
    auto ms = std::max<Units>(0, left(at)) / span.price;
    if (ms < end - at) return at + static_cast<std::int64_t>(ms);
    at = end;
  }
  return span.to_ms;
}

Span Cap::part_at(const Span& span, std::int64_t at_ms) const {
  auto from = std::max(span.from_ms, period(at_ms));
  return {from, std::max(from, std::min(span.to_ms, next_period(at_ms))), span.price};
}

}  // namespace spell::sched
