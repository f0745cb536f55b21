// Words and amounts of budgets, for those who keep them. Pure.
#pragma once
#include <string>

#include "model/cost.hpp"
#include "sched/caps.hpp"
#include "store/store.hpp"

namespace spell::service {

/// The reason's code of a run that does.
inline constexpr const char* waits_for_money = "waiting_for_budget";

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
