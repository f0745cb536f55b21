// Budgets: what a project, a user or a workflow may cost at most.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "spell/options.hpp"
#include "spell/result.hpp"
#include "spell/run.hpp"
#include "spell/units.hpp"

namespace spell {

struct BudgetInfo {
  std::string kind{};  ///< "project", "user" or "workflow"
  std::string name{};  ///< of a workflow its number
  Dollars amount{};
  bool monthly = false;  ///< so much each month (UTC), else for all time
  Dollars spent{};       ///< in this month, or in all: that of runs that go on included
  Dollars reserved{};    ///< for what those may cost yet; the rest of `amount` is left
};

/// Hard: what is spent and what is reserved for runs that go on is never more than the amount, also
/// while the service is down. Thread-safe.
class Budgets {
 public:
  Result<std::vector<BudgetInfo>> list(CallOptions = {}) const;
  /// Replaces the one that there is. Errors `not_permitted`: for administrators; `budget_too_low`:
  /// more than that is spent, or reserved for runs that go on; `project_not_found`,
  /// `user_not_found`, `workflow_not_found`.
  Result<BudgetInfo> set(const std::string& kind, const std::string& name, Dollars amount,
                         bool monthly = false, CallOptions = {}) const;
  /// Errors `not_permitted`, `budget_not_found`.
  Result<BudgetInfo> remove(const std::string& kind, const std::string& name,
                            CallOptions = {}) const;

  explicit Budgets(std::shared_ptr<detail::Connection> connection)
      : connection_(std::move(connection)) {}

 private:
  std::shared_ptr<detail::Connection> connection_;
};

}  // namespace spell
