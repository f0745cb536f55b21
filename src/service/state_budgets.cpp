// Budgets in the state: what they are, how far they are used, and who is told. What is reserved for
// runs is in state_allowances.cpp.
#include <algorithm>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "model/money.hpp"
#include "model/status.hpp"
#include "service/budget.hpp"
#include "service/state.hpp"
#include "service/team_data.hpp"

namespace spell::service {

using model::Units;

using sched::Span;

namespace {

using base::hour_ms;

}  // namespace

bool State::counts(const store::BudgetRecord& budget, const Hold& hold) {
  if (hold.owner != budget.owner) return false;
  if (budget.kind == "project") return hold.project == budget.name;
  if (budget.kind == "user") return hold.user == budget.name;
  return std::to_string(hold.workflow) == budget.name;
}

BudgetUse State::use_of(const Budget& budget, std::int64_t now_us) const {
  auto now = now_us / 1000;
  BudgetUse use{budget.record, budget.cap.spent(now), budget.cap.reserved(now)};
  for (auto& [id, hold] : holds_) {
    if (hold.late || !counts(budget.record, hold)) continue;
    auto cost = cost_of(budget.cap.part_at(used_of(hold.span, now), now));
    use.spent += cost;
    use.reserved -= cost;
  }
  return use;
}

Result<> State::tell_level(Budget& budget, int percent, std::int64_t now_us) {
  auto period = budget.cap.period(now_us / 1000);
  auto& record = budget.record;
  if (record.told_period == period && record.told >= percent) return ok();
  record.told = percent;
  record.told_period = period;
  SPELL_TRY(writer_.put_budget(record));
  std::string text = shown_dollars(use_of(budget, now_us).spent) + " of " + size_of(record);
  SPELL_TRY(writer_.add_audit(
      {0, now_us, local_user, "budget." + std::to_string(percent), limit_name(record), text, ""}));
  for (auto& [id, hold] : holds_) {
    if (hold.late || !counts(record, hold)) continue;
    auto run = runs_.at(id);
    note(run, now_us,
         "The budget of " + name_of(record) + " is used to " + std::to_string(percent) +
             " %: " + text + (percent < 100 ? "; at 100 % its runs are stopped, and saved" : ""),
         false, true, log_size(*run));
  }
  return ok();
}

Result<> State::say_levels(std::int64_t now_us) {
  struct Use {
    Units used = 0, rate = 0;  ///< of runs that go on; rate: a millisecond's
  };
  auto now = now_us / 1000;
  std::map<const Budget*, Use> uses;
  for (auto& [id, hold] : holds_) {
    if (hold.late) continue;
    for (auto* budget : budgets_of(hold)) {
      auto& use = uses[budget];
      use.used += cost_of(budget->cap.part_at(used_of(hold.span, now), now));
      if (now < hold.span.to_ms) use.rate += hold.span.price;
    }
  }
  for (auto& [key, budget] : budgets_) {
    auto amount = budget.cap.amount();
    if (amount <= 0) continue;
    auto use = uses[&budget];
    auto spent = budget.cap.spent(now) + use.used;
    auto& record = budget.record;
    auto told = record.told_period == budget.cap.period(now) ? record.told : 0;
    auto level = level_of(spent, amount);
    if (level.percent > told) SPELL_TRY(tell_level(budget, level.percent, now_us));
    if (level.next == 0 || use.rate == 0) continue;
    auto ms = std::min<Units>((level.next - spent) / use.rate + 1, 30 * 24 * hour_ms);
    allowance_due(now_us + static_cast<std::int64_t>(ms) * 1000);
  }
  return ok();
}

// ---- budgets themselves

Result<> State::load_spent(Budget& budget) {
  auto& record = budget.record;
  std::set<std::int64_t> numbers;
  if (record.kind == "workflow") {
    numbers.insert(std::stoll(record.name));
  } else {
    auto known = writer_.cost_numbers(record.owner, record.kind, record.name);
    if (!known) return known.error();
    numbers.insert(known->begin(), known->end());
  }
  auto member = record.kind == "workflow" ? &model::CostEntry::workflow
                : record.kind == "user"   ? &model::CostEntry::user
                                          : &model::CostEntry::project;
  return writer_.costs(record.owner, 0, [&](std::string_view entries) -> Result<> {
    model::CostEntry entry;
    while (model::take(entries, entry))
      if (numbers.contains(entry.*member))
        budget.cap.spend({entry.began_ms, entry.began_ms + entry.ms, entry.price},
                         entry.taken_back);
    if (entries.empty()) return ok();
    return base::error("damaged", "the record of what runs cost cannot be read (spelld fsck)");
  });
}

Result<> State::load_budgets() {
  budgets_.clear();
  unused_caps_.clear();
  auto records = writer_.budgets();
  if (!records) return records.error();
  for (auto& record : *records) {
    if (record.kind == unused_kind) {
      unused_caps_.emplace(TypeKey{record.owner, record.name},
                           UnusedCap{record, sched::Cap(0, true)});
      continue;
    }
    auto& budget =
        budgets_
            .emplace(BudgetKey{record.owner, record.kind, record.name},
                     Budget{record, sched::Cap(amount_of(record.amount), record.monthly)})
            .first->second;
    SPELL_TRY(load_spent(budget));
  }
  auto held = writer_.held_runs();
  if (!held) return held.error();
  for (auto& run : *held) set_hold(run.id, hold_of(run));
  return ok();
}

Result<BudgetUse> State::put_budget(store::BudgetRecord record, std::int64_t now_us) {
  SPELL_TRY(flush());  // what runs have cost that ended in this transaction
  auto now = now_us / 1000;
  BudgetKey key{record.owner, record.kind, record.name};
  Budget budget{record, sched::Cap(amount_of(record.amount), record.monthly)};
  SPELL_TRY(load_spent(budget));
  Units spent = budget.cap.spent(now);
  for (auto& [id, hold] : holds_) {
    if (!counts(record, hold)) continue;
    budget.cap.reserve(hold.span);
    if (!hold.late) spent += cost_of(budget.cap.part_at(used_of(hold.span, now), now));
  }
  // Those for which nothing is reserved yet have used what they have.
  Units unreserved = 0;
  for (auto& [id, run] : runs_) {
    if (run->machine.empty() || model::is_final(run->status) || run->manages ||
        holds_.contains(id) || run->cost.leased_us == 0 || !counts(record, hold_of(*run)))
      continue;
    unreserved += cost_of(
        budget.cap.part_at({run->cost.leased_us / 1000, now, run->cost.price.value_or(0)}, now));
  }
  spent += unreserved;
  auto refuse = [&](const std::string& why, Units least) {
    auto nano = model::rounded(least).nano + 1;  // rounded up
    return base::error("budget_too_low", why + ", so the budget of " + name_of(record) +
                                             " cannot be " + size_of(record) + "; give at least $" +
                                             model::dollars_text(Dollars::nanos(nano)));
  };
  if (spent > budget.cap.amount())
    return refuse(shown_dollars(spent) + " is spent" + (record.monthly ? " this month" : ""),
                  spent);
  auto next = budget.cap.next_period(now);
  for (auto at : {now, next}) {
    auto left = at == INT64_MAX ? Units{0} : budget.cap.left(at) - (at == now ? unreserved : 0);
    if (left >= 0) continue;
    return refuse(shown_dollars(budget.cap.amount() - left) +
                      " is spent or reserved for runs that go on (they give back what they do "
                      "not use)",
                  budget.cap.amount() - left);
  }
  budgets_.erase(key);
  auto& put = budgets_.emplace(key, std::move(budget)).first->second;
  SPELL_TRY(writer_.put_budget(record));
  SPELL_TRY(requeue_all());
  money_moved_ = ungoverned_ = true;
  return use_of(put, now_us);
}

Result<> State::remove_budget(const std::string& owner, const std::string& kind,
                              const std::string& name) {
  if (budgets_.erase({owner, kind, name}) == 0)
    return base::error("budget_not_found", "there is no budget of " + kind + " " + name +
                                               "; `spell budget list` lists them");
  SPELL_TRY(requeue_all());
  money_moved_ = ungoverned_ = true;
  return writer_.delete_budget(owner, kind, name);
}

std::vector<BudgetUse> State::budgets(const std::string& owner, std::int64_t now_us) const {
  std::vector<BudgetUse> out;
  for (auto& [key, budget] : budgets_)
    if (std::get<0>(key) == owner) out.push_back(use_of(budget, now_us));
  return out;
}

// ---- projects

Result<RunRecord> State::set_project(const std::string& owner, std::int64_t number,
                                     const std::string& project, std::int64_t now_us) {
  auto found = find(owner, number);
  if (!found) return found.error();
  auto run = *found;
  if (run->project == project) return *run;
  auto& cost = run->cost;
  std::vector<Span> spans;
  auto leased = cost.leased_us / 1000, price = cost.price.value_or(0);
  if (cost.billed_ms > 0) spans.push_back({leased, leased + cost.billed_ms, price});
  auto hold = holds_.find(run->id);
  if (hold != holds_.end())
    spans.push_back(hold->second.span);
  else if (!model::is_final(run->status) && cost.leased_us != 0 && !run->manages)
    spans.push_back({leased, now_us / 1000, price});
  auto to = budgets_.find({owner, "project", project});
  if (to != budgets_.end()) {
    auto cap = to->second.cap;
    for (auto& span : spans) {
      if (cap.pays_until(span) < span.to_ms)
        return base::error("budget_exhausted", "run " + std::to_string(number) +
                                                   " cannot count against the budget of " +
                                                   name_of(to->second.record) +
                                                   ", which has less left than it has cost "
                                                   "or may cost: " +
                                                   what_is_left(to->second, now_us));
      cap.reserve(span);
    }
  }
  put_bill(*run, true);
  auto moved = hold == holds_.end() ? std::nullopt : std::optional(hold->second);
  if (moved) set_hold(run->id, std::nullopt);
  run->project = project;
  put_bill(*run, false);
  if (moved) {
    moved->project = project;
    set_hold(run->id, moved);
  }
  ungoverned_ = money_moved_ = true;
  touch(run);
  requeue(*run);
  return *run;
}

Result<> State::rename_project(const std::string& owner, const std::string& from,
                               const std::string& to) {
  SPELL_TRY(flush());  // rows that are still on the way are renamed with the others
  SPELL_TRY(writer_.rename_project(owner, from, to));
  cost_numbers_.clear();
  for (auto& [id, run] : runs_)
    if (run->owner == owner && run->project == from) run->project = to;
  for (auto& [id, hold] : holds_)
    if (hold.owner == owner && hold.project == from) hold.project = to;
  auto node = budgets_.extract({owner, "project", from});
  if (node.empty()) return requeue_all();
  node.key() = {owner, "project", to};
  node.mapped().record.name = to;
  SPELL_TRY(writer_.delete_budget(owner, "project", from));
  SPELL_TRY(writer_.put_budget(node.mapped().record));
  for (auto& [id, run] : runs_)
    if (run->cost.limited_by == "project " + from)
      run->cost.limited_by = "project " + to, touch(run);
  budgets_.insert(std::move(node));
  return requeue_all();
}

}  // namespace spell::service
