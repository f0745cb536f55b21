// Costs in the state. A run's price is recorded when it gets its machine, and what it has cost when
// it ends, in the transaction of its end: whatever price, name or service comes later, the bill is
// made of that. A run that becomes another after its end (its machine is back, it moves to another
// project) has its bill taken back and a new one made.
//
// What a run may cost at most is kept in state_allowances.cpp: of a run for which time is reserved
// no more than that is billed.
//
// Of a machine that a pool makes its price is recorded at its launch, and when its phases begin:
// what runs there did not use is machine time without a run (sched/cost.hpp).
#include <algorithm>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/text.hpp"
#include "service/budget.hpp"
#include "service/state.hpp"

namespace spell::service {

namespace {

using base::day_us;
constexpr std::int64_t alive_every_us = 60'000'000;
constexpr std::size_t most_names_known = 100'000;

}  // namespace

std::optional<std::int64_t> State::hourly(const std::string& owner, const std::string& type) const {
  auto found = types_.find({owner, type});
  return price_of(owner, type).hourly(found != types_.end() && found->second.spot);
}

std::string State::priced_type(const std::string& owner, const std::string& asked) const {
  auto machine = machines_.find(asked);
  if (machine == machines_.end() || hourly(owner, asked)) return asked;
  // A machine's own name has no price: that of its first type that has one counts, CPU's last.
  auto serves = machine->second.record.serves;
  std::stable_partition(serves.begin(), serves.end(), [](auto& name) { return name != "cpu"; });
  auto found = std::find_if(serves.begin(), serves.end(),
                            [&](auto& name) { return hourly(owner, name).has_value(); });
  return found == serves.end() ? asked : *found;
}

void State::set_price(RunRecord& run, const MachineState& machine, std::int64_t now_us) const {
  auto before = run.cost.chain_cost;
  run.cost = {};
  run.cost.chain_cost = before;
  if (run.manages) return;
  run.cost.leased_us = now_us;
  auto plain = waiting_of(run);
  plain.ask = {};
  run.cost.type = plain.machine_type = priced_type(run.owner, plain.machine_type);
  auto type = types_.find({run.owner, run.cost.type});
  run.cost.spot = type != types_.end() && type->second.spot;
  auto usual = cluster_.demand(*cluster_.find(machine.record.name), plain);
  auto share = [&](std::optional<std::int64_t> of) {
    if (of) of = model::price_of_share(*of, run.takes, usual);
    return of;
  };
  auto price = price_of(run.owner, run.cost.type);
  run.cost.price = share(price.hourly(run.cost.spot));
  if (run.cost.spot) run.cost.on_demand = share(price.price);
}

Result<> State::check_max_cost(const RunRecord& run, const std::string& as_asked) const {
  if (!run.request.max_cost) return ok();
  if (run.manages)
    return base::error("invalid_request",
                       "'max_cost': a run that manages a workflow costs nothing");
  auto type = priced_type(run.owner, waiting_of(run).machine_type);
  if (hourly(run.owner, type)) return ok();
  std::string name = as_asked.empty() ? "CPU" : as_asked;
  return base::error("price_not_known", "the price of " + name +
                                            " is not known, so nothing can see to it that a run "
                                            "costs no more than that; " +
                                            how_to_price(name));
}

model::CostEntry State::entry_of(const RunRecord& run) const {
  model::CostEntry entry;
  entry.spot = run.cost.spot;
  entry.run = run.number;
  entry.workflow = run.workflow;
  entry.began_ms = run.cost.leased_us / 1000;
  entry.ms = run.cost.billed_ms;
  entry.lost_ms = run.cost.billed_lost_ms;
  entry.price = run.cost.price.value_or(0);
  entry.on_demand = run.cost.on_demand;
  return entry;
}

void State::put_bill(const RunRecord& run, bool taken_back) {
  if (run.cost.billed_ms < 0 || !run.cost.price) return;
  auto entry = entry_of(run);
  entry.taken_back = taken_back;
  if (taken_back) bill_taken_back(run);
  for (auto* budget : budgets_of(run))
    budget->cap.spend({entry.began_ms, entry.began_ms + entry.ms, entry.price}, taken_back);
  bills_.push_back({run.owner, run.creator, run.project, run.cost.type, run.machine, entry});
}

std::int64_t State::billed_until(const RunRecord& run, bool late, std::int64_t now_us) const {
  auto found = machines_.find(run.machine);
  auto told = std::max(run.ended_us, run.cost.said_us);
  if (late || found == machines_.end()) return told;
  auto& machine = found->second;
  // Its machine was lost when nobody was there to see it: until then it was not, as far as is
  // known.
  if (!machine.connected && machine.session == 0 && alive_before_us_ != 0)
    return std::max({run.cost.leased_us, run.cost.said_us, run.cost.saved_us,
                     std::min(run.ended_us, alive_before_us_)});
  if (!machine.connected) return told;
  auto until = now_us;
  for (auto [from, to] : machine.gaps)
    if (to > run.ended_us) until -= to - std::max(from, run.ended_us);
  return std::max(told, until);
}

Result<> State::note_alive(std::int64_t now_us) {
  alive_due_us_ = 0;
  bool costs = std::any_of(machines_.begin(), machines_.end(), [](auto& entry) {
    return !entry.second.embedded && !entry.second.assigned.empty();
  });
  if (!costs) return ok();
  // A clock that was set back is followed.
  if (now_us >= alive_us_ + alive_every_us || now_us < alive_us_) {
    alive_us_ = now_us;
    SPELL_TRY(writer_.set_note(costs_alive_note, now_us));
  }
  alive_due_us_ = alive_us_ + alive_every_us;
  return ok();
}

void State::bill(RunRecord& run, std::int64_t until_us) {
  auto& cost = run.cost;
  if (cost.leased_us == 0) return;
  put_bill(run, true);
  cost.billed_ms = model::ms_between(cost.leased_us, until_us);
  // What lies beyond is not paid for by those who had only this reserved.
  if (cost.allowed_ms >= 0 && cost.billed_ms > cost.allowed_ms) {
    cost.billed_ms = cost.allowed_ms;
    until_us = cost.leased_us + cost.allowed_ms * 1000;
  }
  cost.billed_lost_ms = 0;
  if (run.status == "interrupted")
    cost.billed_lost_ms = model::ms_between(std::max(cost.leased_us, cost.saved_us), until_us);
  if (!cost.price) unpriced_.emplace(run.owner, until_us / day_us, cost.type);
  put_bill(run, false);
}

Result<std::int64_t> State::cost_number(const std::string& owner, const std::string& kind,
                                        const std::string& name) {
  if (name.empty()) return std::int64_t{0};
  if (cost_numbers_.size() > most_names_known) cost_numbers_.clear();
  auto [known, anew] = cost_numbers_.emplace(owner + '\n' + kind + '\n' + name, 0);
  if (!anew) return known->second;
  auto number = writer_.make_cost_number(owner, kind, name);
  if (!number) return number;
  return known->second = *number;
}

Result<> State::flush_costs() {
  struct Entries {
    std::int64_t until_ms = 0;
    std::string bytes;
  };
  std::map<std::string, Entries> owners;
  for (auto& bill : bills_) {
    auto& entry = bill.entry;
    for (auto [number, kind, name] : {std::tuple(&entry.user, "user", &bill.user),
                                      std::tuple(&entry.project, "project", &bill.project),
                                      std::tuple(&entry.type, "type", &bill.type),
                                      std::tuple(&entry.machine, "machine", &bill.machine)}) {
      auto known = cost_number(bill.owner, kind, *name);
      if (!known) return known.error();
      *number = *known;
    }
    auto& entries = owners[bill.owner];
    entries.until_ms = std::max(entries.until_ms, entry.began_ms + entry.ms);
    model::append(entries.bytes, entry);
  }
  bills_.clear();
  for (auto& [owner, entries] : owners)
    SPELL_TRY(writer_.add_costs(owner, entries.until_ms, entries.bytes));
  for (auto& note : unpriced_)
    if (auto& [owner, day, type] = note; noted_unpriced_.insert(note).second)
      SPELL_TRY(writer_.add_unpriced(owner, day, type));
  unpriced_.clear();
  return ok();
}

Result<> State::begin_machine_time(const store::MachineTypeRecord& type,
                                   const store::MachineRecord& machine, std::int64_t now_us) {
  auto price = price_of(type.owner, type.name).hourly(type.spot);
  if (!price) {
    unpriced_.emplace(type.owner, now_us / day_us, type.name);
    return ok();
  }
  store::MachineTimeRecord time;
  time.id = machine.id;
  time.owner = type.owner;
  time.price = *price;
  time.began_us = now_us;
  for (auto [number, kind, name] : {std::tuple(&time.machine, "machine", &machine.name),
                                    std::tuple(&time.type, "type", &type.name)}) {
    auto known = cost_number(type.owner, kind, *name);
    if (!known) return known.error();
    *number = *known;
  }
  machines_.at(machine.name).unused = {*price, now_us, now_us};
  return writer_.add_machine_time(time);
}

}  // namespace spell::service
