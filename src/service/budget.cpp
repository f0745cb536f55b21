#include "service/budget.hpp"

#include <algorithm>

#include "model/money.hpp"

namespace spell::service {

using model::Units;

Level level_of(Units spent, Units amount) {
  Level level;
  for (int percent : {95, 80}) {
    auto from = amount * percent / 100;
    if (spent >= from) {
      level.percent = percent;
      break;
    }
    level.next = from;
  }
  return level;
}

Units amount_of(std::int64_t nano) { return model::units(nano, 3'600'000); }

std::string shown_dollars(Units amount) {
  auto dollars = model::rounded(amount);
  if (dollars.nano >= 1'000'000'000) dollars.nano -= dollars.nano % 10'000'000;
  return "$" + model::dollars_text(dollars);
}

std::string name_of(const store::BudgetRecord& budget) {
  return budget.kind == "workflow" ? "workflow " + budget.name
                                   : budget.kind + " '" + budget.name + "'";
}

std::string size_of(const store::BudgetRecord& budget) {
  return "$" + model::dollars_text(Dollars::nanos(budget.amount)) +
         (budget.monthly ? " a month" : "");
}

std::string how_to_price(const std::string& type) {
  if (type == "CPU")
    return "a price list says it: `spell machine-type prices FILE`, with a line such as "
           "CPU,0.50,0.50";
  return "`spell machine-type set " + type + " --price DOLLARS` sets it";
}

std::string limit_name(const store::BudgetRecord& budget) {
  return budget.kind + " " + budget.name;
}

sched::Span used_of(const sched::Span& span, std::int64_t now_ms) {
  return {span.from_ms, std::clamp(now_ms, span.from_ms, span.to_ms), span.price};
}

}  // namespace spell::service
