// What the machines of a pool may cost without a run, in the state: a cap on each month (UTC).
// What counts is the time from a machine's launch until it is gone in which no run was on it, at
// the price that was recorded at its launch. What that may come to is counted ahead:
//
//   spent + reserved <= cap
//
// where for each machine is reserved what it costs until it can be gone: one that is launched has
// its launch timeout for joining, and each has the usual time of an end. So what is reserved of a
// machine that stands idle moves on with the time; when it has no more room the machines without a
// run are ended, and none is launched until the month ends or there is another cap.
//
// The sums are kept from one change to the next, and made anew of the records of what machines and
// runs cost after a start, and where a bill has been taken back.
#include <algorithm>
#include <map>
#include <tuple>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "model/money.hpp"
#include "service/budget.hpp"
#include "service/pool_times.hpp"
#include "service/state.hpp"
#include "service/team_data.hpp"

namespace spell::service {

using model::Units;
using model::units;

namespace {

constexpr int all_used = 100;  // percent
/// Timers may be late.
constexpr std::int64_t late_ms = 1000;

/// Of one that is lost nobody knows.
bool carries_run(const MachineState& machine) {
  return std::any_of(machine.assigned.begin(), machine.assigned.end(),
                     [&](auto& entry) { return !machine.late.contains(entry.first); });
}

/// What one machine may cost until it has joined, or is gone.
Units cost_of_launch(const store::MachineTypeRecord& type, std::int64_t price) {
  return units(price, (launch_within_us(type) + usual_end_us) / 1000);
}

/// Of a machine without a run that has an end, or a limit until when it may join: when it is gone
/// then, as far as can be known ahead.
std::int64_t gone_by_us(const MachineState& machine, const store::MachineTypeRecord& type) {
  auto& record = machine.record;
  if (record.phase == "ending")
    return std::max(record.phase_us, machine.unused->from_us) + usual_end_us;
  if (machine.lost_us != 0) return machine.lost_us + kept_lost_us + usual_end_us;
  return machine.unused->began_us + launch_within_us(type) + usual_end_us;
}

std::string text_of_cap(const store::BudgetRecord& record) {
  return "cap of " + size_of(record) + " for machines without a run";
}

std::string more_of(const std::string& type) {
  return " until the month ends (UTC); `spell machine-type scale " + type +
         " --max-unused` with more goes on";
}

}  // namespace

// ---- what was spent

void State::note_use(MachineState& machine, bool used, std::int64_t now_us) {
  if (!machine.unused || used == (machine.unused->from_us == 0)) return;
  auto from_us = std::exchange(machine.unused->from_us, used ? 0 : now_us);
  if (!used) return;
  auto found = unused_caps_.find({machine.record.owner, machine.record.pool});
  if (found != unused_caps_.end())
    found->second.cap.spend({from_us / 1000, now_us / 1000, machine.unused->price});
}

void State::note_uses(const TypeKey& key, std::int64_t now_us) {
  for (auto& [name, machine] : machines_)
    if (is_of_pool(machine, key)) note_use(machine, carries_run(machine), now_us);
}

void State::bill_taken_back(const RunRecord& run) {
  auto machine = machines_.find(run.machine);
  if (machine == machines_.end()) return;
  auto found = unused_caps_.find({machine->second.record.owner, machine->second.record.pool});
  if (found != unused_caps_.end()) found->second.stale = true;
}

Result<> State::count_unused(const TypeKey& key, UnusedCap& unused, std::int64_t now_us) {
  SPELL_TRY(flush());  // what runs have cost that ended in this transaction
  auto now = now_us / 1000;
  unused.cap = sched::Cap(amount_of(unused.record.amount), true);
  auto since = unused.cap.period(now);
  auto types = writer_.cost_numbers(key.first, "type", key.second);
  if (!types) return types.error();
  auto times = writer_.machine_times(key.first, since * 1000);
  if (!times) return times.error();
  std::erase_if(*times, [&](auto& time) {
    return std::find(types->begin(), types->end(), time.type) == types->end();
  });
  using Stay = std::pair<std::int64_t, std::int64_t>;  // from, to
  std::map<std::int64_t, std::vector<Stay>> stays;     // by the number of the machine's name
  std::map<std::string, std::int64_t> numbers;
  for (auto& time : *times) {
    auto name = writer_.cost_name(time.machine);
    if (!name) return name.error();
    numbers[*name] = time.machine;
    stays[time.machine];
  }
  // Bills stay when runs are removed; rows tell of those that pay nothing, too.
  std::map<std::tuple<std::int64_t, std::int64_t, std::int64_t>, int> bills;
  SPELL_TRY(writer_.costs(key.first, since, [&](std::string_view entries) -> Result<> {
    model::CostEntry entry;
    while (model::take(entries, entry))
      if (stays.contains(entry.machine))
        bills[{entry.machine, entry.began_ms, entry.began_ms + entry.ms}] +=
            entry.taken_back ? -1 : 1;
    if (entries.empty()) return ok();
    return base::error("damaged", "the record of what runs cost cannot be read (spelld fsck)");
  }));
  for (auto& [bill, count] : bills)
    if (count > 0) stays[std::get<0>(bill)].emplace_back(std::get<1>(bill), std::get<2>(bill));
  auto rows = writer_.machine_stays(key.first, since * 1000);
  if (!rows) return rows.error();
  for (auto& row : *rows)
    if (auto number = numbers.find(row.machine); number != numbers.end())
      stays[number->second].emplace_back(row.from_us / 1000,
                                         row.until_us == 0 ? now : row.until_us / 1000);

  for (auto& [name, machine] : machines_)
    if (is_of_pool(machine, key)) machine.unused.reset();
  for (auto& time : *times) {
    auto& there = stays.at(time.machine);
    std::sort(there.begin(), there.end());
    auto at = std::max(time.began_us / 1000, since);
    auto until = time.ended_us == 0 ? now : time.ended_us / 1000;
    for (auto [from, to] : there) {
      unused.cap.spend({at, std::min(from, until), time.price});
      at = std::max(at, to);
    }
    auto* machine = find_by_id(time.id);
    if (!machine || time.ended_us != 0) {
      unused.cap.spend({at, until, time.price});
      continue;
    }
    bool used = carries_run(*machine);
    machine->unused = {time.price, time.began_us, used ? 0 : std::max<std::int64_t>(1, at * 1000)};
  }
  unused.stale = false;
  return ok();
}

State::UnusedSums State::unused_sums(const store::MachineTypeRecord& type, const UnusedCap& unused,
                                     std::int64_t now_us) const {
  auto now = now_us / 1000;
  UnusedSums sums;
  sums.spent = unused.cap.spent(now);
  for (auto& [name, machine] : machines_) {
    if (!machine.unused || !is_of_pool(machine, {type.owner, type.name})) continue;
    auto [price, began_us, from_us] = *machine.unused;
    std::int64_t ahead_us = usual_end_us;
    if (from_us != 0) {
      sums.spent += cost_of(unused.cap.part_at({from_us / 1000, now, price}, now));
      sums.spending += price;
      bool joins = is_joining(machine, type, now_us);
      bool stays = machine.record.phase == "up" && machine.lost_us == 0 && !joins;
      auto gone_us = stays ? 0 : gone_by_us(machine, type);
      if (!stays) ahead_us = std::max<std::int64_t>(0, gone_us - now_us);
      // What is reserved for one that stays, or should be gone, gets less by nothing.
      if (gone_us <= now_us)
        sums.tightening += price;
      else if (auto at = joins ? gone_us - usual_end_us : gone_us;
               sums.next_us == 0 || at < sums.next_us)
        sums.next_us = at;
    }
    sums.reserved += units(price, ahead_us / 1000);
    sums.ends += units(price, std::min(ahead_us, usual_end_us) / 1000);
  }
  sums.left = unused.cap.amount() - sums.spent - sums.reserved;
  return sums;
}

bool State::is_joining(const MachineState& machine, const store::MachineTypeRecord& type,
                       std::int64_t now_us) {
  return machine.record.phase == "up" && machine.session == 0 && machine.lost_us == 0 &&
         machine.unused && now_us < machine.unused->began_us + launch_within_us(type);
}

// ---- what follows from it

bool State::is_used_up(const UnusedCap& unused, std::int64_t now_us) {
  return unused.record.told >= all_used &&
         unused.record.told_period == unused.cap.period(now_us / 1000);
}

Result<bool> State::used_up(const store::MachineTypeRecord& type, UnusedCap& unused,
                            std::int64_t now_us) {
  if (is_used_up(unused, now_us)) return true;
  auto sums = unused_sums(type, unused, now_us);
  auto is_tight = [&](Units left) {
    return sums.tightening == 0 ? left < 0 : left <= sums.tightening * late_ms;
  };
  if (!is_tight(sums.left)) return false;
  // What launches that go on do not use is given back.
  if (is_tight(unused.cap.amount() - sums.spent - sums.ends))
    SPELL_TRY(tell_unused(type, unused, all_used, now_us));
  return true;
}

std::int64_t State::launches_paid(const store::MachineTypeRecord& type, UnusedCap& unused,
                                  std::int64_t wanted, std::int64_t now_us) {
  auto hold = [&](const std::string& why) {
    unused.held = why;
    return std::int64_t{0};
  };
  unused.held.clear();
  auto text = text_of_cap(unused.record);
  if (is_used_up(unused, now_us))
    return hold("its pool has used up its " + text + more_of(type.name));
  if (wanted <= 0) return 0;
  auto price = hourly(type.owner, type.name);
  if (!price)
    return hold("its price is not known, so its " + text + " cannot be kept; " +
                how_to_price(type.name));
  auto launch = cost_of_launch(type, *price);
  if (launch == 0) return wanted;
  auto sums = unused_sums(type, unused, now_us);
  auto paid = std::max<Units>(0, sums.left) / launch;
  if (paid >= wanted) return wanted;
  if (sums.spent + launch > unused.cap.amount())
    hold("what is left of its pool's " + text + " does not pay for a launch" + more_of(type.name));
  else
    hold("what is left of its pool's " + text + " is reserved for those that are there");
  return static_cast<std::int64_t>(paid);
}

Result<> State::tell_unused(const store::MachineTypeRecord& type, UnusedCap& unused, int percent,
                            std::int64_t now_us) {
  auto& record = unused.record;
  record.told = percent;
  record.told_period = unused.cap.period(now_us / 1000);
  SPELL_TRY(writer_.put_budget(record));
  std::string text =
      shown_dollars(unused_sums(type, unused, now_us).spent) + " of " + size_of(record);
  SPELL_TRY(writer_.add_audit({0, now_us, local_user, "unused." + std::to_string(percent),
                               "machine-type " + type.name, text, ""}));
  std::string what = "those without a run are ended, and none is launched until the month ends";
  for (auto& [name, machine] : machines_) {
    if (!is_of_pool(machine, {type.owner, type.name})) continue;
    for (auto& [id, takes] : machine.assigned)
      if (auto run = runs_.find(id); run != runs_.end())
        note(run->second, now_us,
             "Machines of type " + type.name + " without a run have used " +
                 std::to_string(percent) + " % of what they may cost: " + text +
                 (percent < all_used ? "; at 100 % " : "; ") + what,
             false, true, log_size(*run->second));
  }
  return ok();
}

Result<> State::watch_unused(const store::MachineTypeRecord& type, UnusedCap& unused,
                             std::int64_t now_us) {
  auto sums = unused_sums(type, unused, now_us);
  auto after = [&](Units amount, Units rate) {
    auto ms = std::min<Units>(std::max<Units>(0, amount) / rate + 1, 30 * 24 * base::hour_ms);
    pool_due(now_us + static_cast<std::int64_t>(ms) * 1000);
  };
  if (auto next = unused.cap.next_period(now_us / 1000); next != INT64_MAX) pool_due(next * 1000);
  if (sums.next_us != 0) pool_due(sums.next_us);
  if (is_used_up(unused, now_us)) return ok();
  auto& record = unused.record;
  auto told = record.told_period == unused.cap.period(now_us / 1000) ? record.told : 0;
  auto level = level_of(sums.spent, unused.cap.amount());
  if (level.percent > told) SPELL_TRY(tell_unused(type, unused, level.percent, now_us));
  if (level.next > 0 && sums.spending > 0) after(level.next - sums.spent, sums.spending);
  if (sums.tightening > 0) after(sums.left - sums.tightening * late_ms, sums.tightening);
  return ok();
}

// ---- the caps themselves

bool State::has_max_unused(const std::string& owner, const std::string& type) const {
  return unused_caps_.contains({owner, type});
}

Result<> State::check_max_unused(const store::MachineTypeRecord& type,
                                 const std::optional<Dollars>& amount) const {
  auto list = price_lists_.find(type.owner);
  auto price = service::price_of(type, list == price_lists_.end() ? no_prices : list->second)
                   .hourly(type.spot);
  if (!price)
    return base::error("price_not_known",
                       "the price of " + type.name +
                           " is not known, so nothing can see to it that its machines cost no "
                           "more than that without a run; give `--price DOLLARS` too");
  auto least = cost_of_launch(type, *price);
  if (!amount || amount_of(amount->nano) >= least) return ok();
  return base::error("budget_too_low",
                     "one launch may cost " + shown_dollars(least) + " (" +
                         std::to_string((launch_within_us(type) + usual_end_us) / base::second_us) +
                         " s: the launch timeout, and until it is gone), so machines of " +
                         type.name + " without a run cannot cost $" + model::dollars_text(*amount) +
                         " a month at most; give more, or a shorter --launch-timeout");
}

Result<> State::set_max_unused(const std::string& owner, const std::string& type,
                               const std::optional<Dollars>& amount, std::int64_t now_us) {
  TypeKey key{owner, type};
  if (!amount && unused_caps_.erase(key) == 0) return ok();
  store::BudgetRecord record;
  record.owner = owner;
  record.kind = unused_kind;
  record.name = type;
  record.monthly = true;
  record.created_us = now_us;
  if (amount) {
    record.amount = amount->nano;
    unused_caps_.insert_or_assign(key, UnusedCap{record, sched::Cap(0, true)});
  }
  if (auto found = types_.find(key); found != types_.end()) show_type(found->second);
  look_ = true;
  return amount ? writer_.put_budget(record) : writer_.delete_budget(owner, unused_kind, type);
}

Result<std::map<std::string, BudgetUse>> State::unused_uses(const std::string& owner,
                                                            std::int64_t now_us) {
  std::map<std::string, BudgetUse> out;
  for (auto& [key, unused] : unused_caps_) {
    auto type = types_.find(key);
    if (key.first != owner || type == types_.end()) continue;
    if (unused.stale) SPELL_TRY(count_unused(key, unused, now_us));
    auto sums = unused_sums(type->second, unused, now_us);
    out[key.second] = {unused.record, sums.spent, sums.reserved};
  }
  return out;
}

}  // namespace spell::service
