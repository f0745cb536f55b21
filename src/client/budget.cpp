#include "spell/budget.hpp"

#include "client/connection.hpp"
#include "model/money.hpp"
#include "spell/json.hpp"

namespace spell {

using namespace detail;
using model::Route;

Result<std::vector<BudgetInfo>> Budgets::list(CallOptions options) const {
  auto answer = connection_->call({.route = Route::list_budgets}, options);
  if (!answer) return answer.error();
  return member<std::vector<BudgetInfo>>(*answer, "budgets");
}

Result<BudgetInfo> Budgets::set(const std::string& kind, const std::string& name, Dollars amount,
                                bool monthly, CallOptions options) const {
  json body{{"amount", model::dollars_text(amount)}, {"monthly", monthly}};
  auto answer =
      connection_->call({.route = Route::put_budget, .names = {kind, name}, .body = body}, options);
  if (!answer) return answer.error();
  return member<BudgetInfo>(*answer, "budget");
}

Result<BudgetInfo> Budgets::remove(const std::string& kind, const std::string& name,
                                   CallOptions options) const {
  auto answer = connection_->call({.route = Route::delete_budget, .names = {kind, name}}, options);
  if (!answer) return answer.error();
  return member<BudgetInfo>(*answer, "budget");
}

}  // namespace spell
