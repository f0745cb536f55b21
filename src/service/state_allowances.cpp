// What may be spent, in the state. A run counts against the cap of its chain (--max-cost) and the
// budgets of its project, its user and its workflow. Time for it is reserved of all of them when it
// gets its machine, extended while its machine is heard of, and given back at its end; its worker
// stops it and saves when the time is used up, whatever became of this service meanwhile:
//
//   spent (bills of runs that ended) + reserved (holds) <= amount, always
//
// so nothing needs this service to keep a cap. What is reserved for a run is never taken back from
// it: its worker may be out of reach. Of a run that is lost it stays reserved until its machine is
// back or known to be gone, for it may go on there.
#include <algorithm>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "model/money.hpp"
#include "model/status.hpp"
#include "service/budget.hpp"
#include "service/state.hpp"

namespace spell::service {

using model::Units;
using model::units;
using sched::Span;

namespace {

using base::hour_ms;
/// What is reserved at once, and how much of it is left when more is.
constexpr std::int64_t allowance_ms = 2 * hour_ms, extended_at_ms = hour_ms;
/// What pays for less than that begins no run.
constexpr std::int64_t least_ms = 60'000;
constexpr std::string_view by_max_cost = "max_cost";

/// Less than that is nothing: what pays for a minute, or a hundredth of the amount where that is
/// less.
Units least_of(Units amount, std::int64_t price) {
  return std::min(units(price, least_ms), amount / 100);
}

}  // namespace

// ---- what is reserved

std::vector<State::Budget*> State::budgets_of(const std::string& owner, const std::string& user,
                                              const std::string& project, std::int64_t workflow) {
  std::vector<Budget*> out;
  if (budgets_.empty()) return out;
  auto add = [&](const char* kind, const std::string& name) {
    if (auto found = budgets_.find({owner, kind, name}); found != budgets_.end())
      out.push_back(&found->second);
  };
  if (!project.empty()) add("project", project);
  add("user", user);
  if (workflow != 0) add("workflow", std::to_string(workflow));
  return out;
}

std::vector<State::Budget*> State::budgets_of(const RunRecord& run) {
  return budgets_of(run.owner, run.creator, run.project, run.workflow);
}

std::vector<State::Budget*> State::budgets_of(const Hold& hold) {
  return budgets_of(hold.owner, hold.user, hold.project, hold.workflow);
}

bool State::is_capped(const RunRecord& run) {
  return !run.manages && run.cost.price.value_or(0) > 0 &&
         (run.request.max_cost || !budgets_of(run).empty());
}

State::Hold State::hold_of(const RunRecord& run) const {
  Hold hold{run.owner, run.creator, run.project, run.machine, run.workflow, {}, false};
  auto from = run.cost.leased_us / 1000;
  hold.span = {from, from + std::max<std::int64_t>(0, run.cost.allowed_ms),
               run.cost.price.value_or(0)};
  if (run.cost.held) {
    hold.late = true;
    hold.span.from_ms += std::max<std::int64_t>(0, run.cost.billed_ms);
  }
  return hold;
}

void State::set_hold(const std::string& run, std::optional<Hold> hold) {
  if (auto before = holds_.find(run); before != holds_.end()) {
    for (auto* budget : budgets_of(before->second)) budget->cap.give_back(before->second.span);
    holds_.erase(before);
    money_moved_ = true;
  }
  holds_moved_ = true;
  if (!hold) return;
  for (auto* budget : budgets_of(*hold)) budget->cap.reserve(hold->span);
  holds_.emplace(run, std::move(*hold));
}

void State::settle(const RunPointer& run) {
  auto& cost = run->cost;
  bool was_held = std::exchange(cost.held, false);
  if (cost.allowed_ms < 0) return;
  cost.held = is_late(*run) && cost.billed_ms >= 0 && cost.allowed_ms > cost.billed_ms;
  if (!cost.held && !was_held && !holds_.contains(run->id)) return;
  set_hold(run->id, cost.held ? std::optional(hold_of(*run)) : std::nullopt);
}

Result<> State::let_go_of(const std::string& id) {
  auto hold = holds_.find(id);
  if (hold == holds_.end() || !hold->second.late) return ok();
  set_hold(id, std::nullopt);
  auto record = writer_.find_run(id);
  if (!record) return record.error();
  auto known = runs_.find(id);
  if (known == runs_.end() && !*record) return ok();
  auto run = known != runs_.end() ? Result<RunPointer>(known->second)
                                  : find((*record)->owner, (*record)->number);
  if (!run) return run.error();
  (*run)->cost.held = false;
  touch(*run);
  return ok();
}

Result<> State::let_go_of_lost(const std::string& machine, const std::set<std::string>& but) {
  std::vector<std::string> gone;
  for (auto& [id, hold] : holds_)
    if (hold.late && hold.machine == machine && !but.contains(id)) gone.push_back(id);
  for (auto& id : gone) SPELL_TRY(let_go_of(id));
  return ok();
}

Result<Units> State::left_of_chain(const RunRecord& run) {
  auto left = amount_of(run.request.max_cost->nano) - amount_of(run.cost.chain_cost);
  bool lost =
      std::any_of(holds_.begin(), holds_.end(), [](auto& entry) { return entry.second.late; });
  // Those before it that are lost may go on where they are.
  for (auto number = lost ? run.resumed_from : 0; number != 0;) {
    auto before = find(run.owner, number);
    if (!before && before.error().code() == "run_not_found") break;
    if (!before) return before.error();
    if (auto hold = holds_.find((*before)->id); hold != holds_.end())
      left -= cost_of(hold->second.span);
    number = (*before)->resumed_from;
  }
  return left;
}

Result<bool> State::extend(const RunPointer& run, std::int64_t now_us) {
  if (!is_capped(*run) || run->cost.leased_us == 0) return false;
  auto& cost = run->cost;
  auto leased = cost.leased_us / 1000, now = now_us / 1000;
  bool first = cost.allowed_ms < 0;
  if (!first && now >= leased + cost.allowed_ms) return false;  // it is ending
  if (first) {
    // What it has used already is used.
    cost.allowed_ms = std::max<std::int64_t>(0, now - leased);
    set_hold(run->id, hold_of(*run));
  }
  auto from = leased + cost.allowed_ms;
  Span more{from, std::max(from, now + allowance_ms), *cost.price};
  std::string by;
  for (auto* budget : budgets_of(*run)) {
    auto until = budget->cap.pays_until(more);
    if (until == more.to_ms) continue;
    more.to_ms = until;
    by = limit_name(budget->record);
  }
  if (run->request.max_cost) {
    auto left = left_of_chain(*run);
    if (!left) return left.error();
    *left -= units(*cost.price, cost.allowed_ms);
    auto ms = std::max<Units>(0, *left) / *cost.price;
    if (ms < more.to_ms - from) {
      more.to_ms = from + static_cast<std::int64_t>(ms);
      by = by_max_cost;
    }
  }
  bool longer = more.to_ms > from;
  if (!longer && !first && by == cost.limited_by) return false;
  cost.allowed_ms = more.to_ms - leased;
  cost.limited_by = by;
  set_hold(run->id, hold_of(*run));
  touch(run);
  return longer || first;
}

Result<> State::lease_anew(const RunPointer& run, std::int64_t now_us) {
  auto& cost = run->cost;
  if (cost.allowed_ms < 0) return ok();
  auto over = model::ms_between(cost.leased_us, now_us);
  if (over < cost.allowed_ms) {
    cost.ordered_ms = over;
    return ok();
  }
  // All of it went by while nobody had the run.
  set_hold(run->id, std::nullopt);
  cost.leased_us = now_us;
  cost.allowed_ms = -1;
  cost.ordered_ms = 0;
  auto reserved = extend(run, now_us);
  return reserved ? ok() : Result<>(reserved.error());
}

std::int64_t State::allowance_of(const RunRecord& run) const {
  auto& cost = run.cost;
  return cost.allowed_ms < 0 ? 0 : std::max<std::int64_t>(1, cost.allowed_ms - cost.ordered_ms);
}

bool State::keeps_allowances(const MachineState& machine) {
  auto& can = machine.hello.capabilities;
  return can.empty() || can.contains("allowance");
}

void State::order_allowance(const RunRecord& run) {
  auto& machine = machines_.at(run.machine);
  if (!keeps_allowances(machine)) return;
  std::erase_if(machine.commands, [&](auto& command) {
    return command.type == "allowance" && command.run == run.id;
  });
  model::Command command;
  command.type = "allowance";
  command.run = run.id;
  command.epoch = run.epoch;
  command.allowance_ms = allowance_of(run);
  order(machine, std::move(command));
}

void State::allowance_due(std::int64_t at_us) {
  if (allowance_due_us_ == 0 || at_us < allowance_due_us_) allowance_due_us_ = at_us;
}

Result<> State::see_to_budgets(std::int64_t now_us) {
  bool due = allowance_due_us_ != 0 && now_us >= allowance_due_us_;
  // What began meanwhile is seen to together.
  if (std::exchange(holds_moved_, false)) allowance_due(now_us + 1'000'000);
  if (!due && !money_moved_ && !ungoverned_) return ok();
  allowance_due_us_ = 0;
  if (std::exchange(ungoverned_, false)) SPELL_TRY(govern(now_us));
  SPELL_TRY(extend_all(now_us));
  SPELL_TRY(say_levels(now_us));
  holds_moved_ = false;
  // A month that begins has money.
  if (!unfunded_.empty() || !holds_.empty())
    for (auto& [key, budget] : budgets_)
      if (auto next = budget.cap.next_period(now_us / 1000); next != INT64_MAX)
        allowance_due(next * 1000);
  if (!std::exchange(money_moved_, false) && !due) return ok();
  for (auto& [order, run] : std::exchange(unfunded_, {})) enqueue(run);
  return ok();
}

Result<> State::govern(std::int64_t now_us) {
  std::vector<RunPointer> runs;
  for (auto& [id, run] : runs_)
    if (!run->machine.empty() && !model::is_final(run->status) && run->cost.allowed_ms < 0 &&
        is_capped(*run))
      runs.push_back(run);
  std::sort(runs.begin(), runs.end(), [](auto& a, auto& b) { return order_of(*a) < order_of(*b); });
  for (auto& run : runs) {
    auto reserved = extend(run, now_us);
    if (!reserved) return reserved.error();
    if (machines_.contains(run->machine)) order_allowance(*run);
  }
  return ok();
}

Result<> State::extend_all(std::int64_t now_us) {
  auto now = now_us / 1000;
  std::vector<std::string> ids;
  for (auto& [id, hold] : holds_)
    if (!hold.late) ids.push_back(id);
  for (auto& id : ids) {
    auto run = runs_.at(id);
    auto machine = machines_.find(run->machine);
    if (machine == machines_.end() || !machine->second.connected) continue;  // hello() looks again
    SPELL_TRY(extend_if_due(run, now_us));
    auto left = holds_.at(id).span.to_ms - now;
    if (run->cost.limited_by.empty() && left > extended_at_ms)
      allowance_due((now + left - extended_at_ms) * 1000);
    if (!keeps_allowances(machine->second)) SPELL_TRY(stop_if_due(run, left, now_us));
  }
  return ok();
}

Result<> State::extend_if_due(const RunPointer& run, std::int64_t now_us) {
  auto hold = holds_.find(run->id);
  if (hold == holds_.end()) return ok();
  auto left = hold->second.span.to_ms - now_us / 1000;
  if (left <= 0 || (left > extended_at_ms && run->cost.limited_by.empty())) return ok();
  auto longer = extend(run, now_us);
  if (!longer) return longer.error();
  if (*longer) order_allowance(*run);
  return ok();
}

/// Of a worker that is older than allowances: it cannot stop by itself.
Result<> State::stop_if_due(const RunPointer& run, std::int64_t left_ms, std::int64_t now_us) {
  auto end_ms = std::min(left_ms / 2, run->request.stop_grace * 1000 + least_ms);
  if (left_ms > end_ms + 1000) {
    allowance_due(now_us + (left_ms - end_ms) * 1000);
    return ok();
  }
  model::RunResult result;
  result.reason_code = "allowance_used_up";
  auto why = named(*run, result, now_us);
  if (!why) return why.error();
  auto stopped = end(run, "stop", now_us, why->reason_code, why->reason);
  return stopped ? ok() : Result<>(stopped.error());
}

Result<model::RunResult> State::named(const RunRecord& run, model::RunResult result,
                                      std::int64_t now_us) {
  if (result.reason_code != "allowance_used_up") return result;
  auto& by = run.cost.limited_by;
  if (by == by_max_cost) {
    result.reason_code = "max_cost";
    result.reason = "would have cost more than $" +
                    model::dollars_text(run.request.max_cost.value_or(Dollars())) + " (--max-cost)";
    return result;
  }
  for (auto* budget : budgets_of(run))
    if (limit_name(budget->record) == by) {
      SPELL_TRY(tell_level(*budget, 100, now_us));
      result.reason_code = "budget_exhausted";
      result.reason = "the budget of " + name_of(budget->record) + " is used up (" +
                      size_of(budget->record) + "; spell budget list)";
      return result;
    }
  // There was more, but its worker could not hear of it: that is no wish of anybody's.
  result.status = "interrupted";
  result.reason = "what was reserved for it was used up while its machine was without the service";
  return result;
}

// ---- who may begin

sched::Waiting State::wants_of(const RunRecord& run) {
  auto wants = waiting_of(run);
  if (!run.manages && !run.request.max_cost && !budgets_of(run).empty())
    wants.needs.emplace_back("allowance");
  return wants;
}

Result<> State::check_budgets(const RunRecord& run, const std::string& as_asked,
                              std::int64_t now_us) {
  auto budgets = run.manages ? std::vector<Budget*>() : budgets_of(run);
  if (budgets.empty()) return ok();
  std::string name = as_asked.empty() ? "CPU" : as_asked;
  auto price = hourly(run.owner, priced_type(run.owner, waiting_of(run).machine_type));
  if (!price)
    return base::error("price_not_known", "the price of " + name +
                                              " is not known, so the budget of " +
                                              name_of(budgets[0]->record) + " cannot be kept; " +
                                              how_to_price(name) + " (0: it costs nothing)");
  for (auto* budget : budgets) {
    auto left = budget->cap.amount() - use_of(*budget, now_us).spent;
    if (*price == 0 || left >= std::max<Units>(1, least_of(budget->cap.amount(), *price))) continue;
    return base::error("budget_exhausted",
                       "the budget of " + name_of(budget->record) +
                           " is used up: " + what_is_left(*budget, now_us) +
                           (budget->record.monthly ? ", until the month ends (UTC)" : "") +
                           "; `spell budget set` with more makes room");
  }
  return ok();
}

std::string State::what_is_left(const Budget& budget, std::int64_t now_us) const {
  auto use = use_of(budget, now_us);
  return shown_dollars(use.spent) + " of " + size_of(budget.record) + " spent" +
         (use.reserved > 0 ? ", " + shown_dollars(use.reserved) + " reserved for runs that go on"
                           : "");
}

void State::wait_for_money(const RunPointer& run, const std::string& why) {
  unfunded_[order_of(*run)] = run;
  if (run->reason_code == waits_for_money && run->reason == why) return;
  run->reason_code = waits_for_money;
  run->reason = why;
  touch(run);
}

Result<State::MaySpend> State::may_spend(const RunPointer& run, std::int64_t now_us) {
  auto budgets = run->manages ? std::vector<Budget*>() : budgets_of(*run);
  auto no_more = [&](const std::string& code, const std::string& why) {
    run->reason_code = code;
    run->reason = why;
    finish(run, "failed", now_us, 0);
    return MaySpend::no;
  };
  auto later = [&](const std::string& why) {
    wait_for_money(run, why);
    return MaySpend::later;
  };
  if (run->request.max_cost) {
    if (auto priced = check_max_cost(*run, run->request.machine_type); !priced)
      return no_more(priced.error().code(), priced.error().message());
    // What does not pay for a millisecond is nothing.
    auto least = std::max<std::int64_t>(
        1, hourly(run->owner, priced_type(run->owner, waiting_of(*run).machine_type)).value_or(0));
    if (amount_of(run->request.max_cost->nano) - amount_of(run->cost.chain_cost) < least)
      return no_more("max_cost", "those that it goes on from have cost what it may (--max-cost)");
    auto left = left_of_chain(*run);
    if (!left) return left.error();
    if (*left < least)
      return later(
          "waiting: what its chain may still cost (--max-cost) is reserved for a run of "
          "it on a machine that is lost, until that is back, removed or ended by its pool");
  }
  auto price = budgets.empty()
                   ? std::optional<std::int64_t>(0)
                   : hourly(run->owner, priced_type(run->owner, waiting_of(*run).machine_type));
  if (!price)
    return later("waiting: its machine type has no price, so the budget of " +
                 name_of(budgets[0]->record) + " cannot be kept (spell machine-type prices)");
  for (auto* budget : budgets) {
    auto least = std::max<Units>(1, least_of(budget->cap.amount(), *price));
    if (*price == 0 || budget->cap.left(now_us / 1000) >= least) continue;
    return later("waiting for the budget of " + name_of(budget->record) + ": " +
                 what_is_left(*budget, now_us) + " (spell budget list)");
  }
  if (run->reason_code == waits_for_money) {
    run->reason_code.clear();
    run->reason.clear();
    touch(run);
  }
  return MaySpend::yes;
}

}  // namespace spell::service
