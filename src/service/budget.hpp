// Words and amounts of budgets, for those who keep them. Pure.
#pragma once
#include <string>

#include "model/cost.hpp"
#include "sched/caps.hpp"
#include "store/store.hpp"

namespace spell::service {

/// The reason's code of a run that does.
inline constexpr const char* waits_for_money = "waiting_for_budget";

/// In BudgetRecord::kind: of the machines of a type's pool while no run is there.
inline constexpr const char* unused_kind = "unused";

/// How much of an amount is used, as people are told: up to which of 80 and 95 %, 0: less; and from
/// how much on they are told more, 0: they are not.
struct Level {
  int percent = 0;
  model::Units next = 0;
};
Level level_of(model::Units spent, model::Units amount);

/// Of billionths of a dollar.
model::Units amount_of(std::int64_t nano);
/// "$12.34": what is shown as spent is never more than it is.
std::string shown_dollars(model::Units);
/// "project 'thesis'"
std::string name_of(const store::BudgetRecord&);
/// "$20 a month"
std::string size_of(const store::BudgetRecord&);
/// The way out where a type has no price.
std::string how_to_price(const std::string& type);
/// As a run remembers what limits it.
std::string limit_name(const store::BudgetRecord&);
/// The part of a span that is over.
sched::Span used_of(const sched::Span&, std::int64_t now_ms);

}  // namespace spell::service
