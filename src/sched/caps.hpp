// What may be spent of a budget: what was spent, and what is reserved for runs that go on, by
// period. Exact, and pure: time is a parameter. What is reserved is never more than is left when
// it is; so the sum of both stays within the amount, whatever comes later.
#pragma once
#include <cstdint>
#include <map>

#include "model/cost.hpp"

namespace spell::sched {

/// A time on a machine, at a price: billionths of a dollar an hour; Unix time.
struct Span {
  std::int64_t from_ms = 0, to_ms = 0;
  std::int64_t price = 0;
  friend bool operator==(const Span&, const Span&) = default;
};

model::Units cost_of(const Span&);

class Cap {
 public:
  /// Monthly: so much each month (UTC).
  Cap(model::Units amount, bool monthly) : amount_(amount), monthly_(monthly) {}

  void spend(const Span& span, bool taken_back = false) { add(span, taken_back, &Sums::spent); }
  void reserve(const Span& span) { add(span, false, &Sums::reserved); }
  void give_back(const Span& span) { add(span, true, &Sums::reserved); }

  model::Units amount() const { return amount_; }
  bool is_monthly() const { return monthly_; }
  /// Of the period of this moment.
  model::Units spent(std::int64_t at_ms) const { return sums(at_ms).spent; }
  model::Units reserved(std::int64_t at_ms) const { return sums(at_ms).reserved; }
  /// Below zero where more was spent than there is.
  model::Units left(std::int64_t at_ms) const;
  /// Until when the span can be paid of what is left, each period's part of it from its own: its
  /// end, or before it.
  std::int64_t pays_until(const Span&) const;
  /// The part of a span that lies in the period of this moment.
  Span part_at(const Span&, std::int64_t at_ms) const;
  /// When the period after that of this moment begins; none is after that of an amount for all
  /// time.
  std::int64_t next_period(std::int64_t at_ms) const;
  /// A name for the period of this moment.
  std::int64_t period(std::int64_t at_ms) const;

 private:
  struct Sums {
    model::Units spent = 0, reserved = 0;
  };
  void add(const Span&, bool less, model::Units Sums::*sum);
  Sums sums(std::int64_t at_ms) const;

  model::Units amount_;
  bool monthly_;
  std::map<std::int64_t, Sums> periods_;
};

}  // namespace spell::sched
