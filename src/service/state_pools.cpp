// Pools in the state: which machines are to be launched and ended. A machine's row is there before
// its launch and goes after its end, so whoever has been killed in between finds it again:
//
//   launching --- joined ---> up --- idle, notice, removed, lost for long ---> ending ---> gone
//       |                                                                        ^
//       +--- launch failed, or launch timeout -----------------------------------+
#include <algorithm>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/hash.hpp"
#include "base/id.hpp"
#include "base/text.hpp"
#include "service/pool_times.hpp"
#include "service/state.hpp"

namespace spell::service {

namespace {

using base::second_us;
constexpr std::int64_t longest_launch_delay_us = 300 * second_us;
/// What was launched so long ago is listed.
constexpr std::int64_t listed_after_us = 60 * second_us;

std::int64_t launch_delay_us(int failures) {
  return std::min(second_us << std::min(failures - 1, 20), longest_launch_delay_us);
}

/// As every provider takes it: small letters, digits and '-', beginning with a letter.
std::string machine_name(const std::string& type) {
  std::string name = base::lower(type).substr(0, 40);
  for (char& c : name)
    if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9')) c = '-';
  if (!(name[0] >= 'a' && name[0] <= 'z')) name = "m" + name;
  return name + "-" + base::hex(base::random_bytes(4));
}

}  // namespace

bool State::is_of_pool(const MachineState& machine, const TypeKey& key) const {
  return machine.record.pool == key.second && machine.record.owner == key.first;
}

std::int64_t State::machines_of_pool(const TypeKey& key) const {
  return std::count_if(machines_.begin(), machines_.end(),
                       [&](auto& entry) { return is_of_pool(entry.second, key); });
}

void State::pool_due(std::int64_t at_us) {
  pool_due_us_ = pool_due_us_ == 0 ? at_us : std::min(pool_due_us_, at_us);
}

void State::show_type(const store::MachineTypeRecord& type) {
  TypeKey key{type.owner, type.name};
  std::optional<sched::Pool> pool;
  if (!type.pool.empty() && type.max_machines > 0) {
    pool.emplace();
    if (auto known = pools_.find(key); known != pools_.end()) pool->problem = known->second.problem;
    if (auto cap = unused_caps_.find(key); cap != unused_caps_.end()) pool->held = cap->second.held;
    for (auto& [name, machine] : machines_)
      pool->starting += is_of_pool(machine, key) && machine.record.phase == "launching";
  }
  cluster_.put_type(type.owner, type.name, {type.cpus, type.memory, type.gpus}, std::move(pool));
  types_changed_ = true;
}

std::vector<PoolTask> State::pool_tasks() const {
  std::vector<PoolTask> tasks;
  for (auto& [name, machine] : machines_) {
    auto& record = machine.record;
    bool ends = record.phase == "ending";
    bool begins = record.phase == "launching" && machine.launch == MachineState::Launch::wanted;
    if (ends || begins)
      tasks.push_back({ends ? PoolTask::Kind::terminate : PoolTask::Kind::launch, record.owner,
                       record.pool, record.id, name});
  }
  return tasks;
}

std::vector<sched::Waiting> State::wanting(const TypeKey& key) const {
  constexpr std::size_t enough = 10'000;
  std::vector<sched::Waiting> runs;
  std::map<std::string, std::int64_t> counted;  // by user
  for (auto& [name, kind] : queue_.kinds()) {
    auto& wants = kind.wants;
    if (wants.machine_type != key.second || wants.owner != key.first) continue;
    for (auto left = kind.runs.size(); left > 0; --left) {
      if (runs.size() >= enough) return runs;
      if (held_by_quota(wants, counted[wants.user])) break;
      if (!wants.manages) ++counted[wants.user];
      runs.push_back(wants);
    }
  }
  return runs;
}

Result<> State::see_to_pools(std::int64_t now_us) {
  pool_due_us_ = 0;
  for (auto& [key, type] : types_)
    if (!type.pool.empty()) SPELL_TRY(see_to_pool(type, now_us));
  return ok();
}

Result<> State::see_to_pool(const store::MachineTypeRecord& type, std::int64_t now_us) {
  TypeKey key{type.owner, type.name};
  auto idle_after = idle_after_us(type), launch_within = launch_within_us(type);
  auto capped = unused_caps_.find(key);
  auto* unused = capped == unused_caps_.end() ? nullptr : &capped->second;
  if (unused && unused->stale) SPELL_TRY(count_unused(key, *unused, now_us));
  if (unused) note_uses(key, now_us);
  std::vector<MachineState*> idle, starting;
  std::int64_t up = 0, coming_back = 0, leaving = 0;
  for (auto& [name, machine] : machines_) {
    if (!is_of_pool(machine, key)) continue;
    auto& record = machine.record;
    if (record.phase == "launching" && now_us >= record.phase_us + launch_within) {
      pool_failed(key,
                  "machine " + name + " has not joined within " +
                      std::to_string(launch_within / second_us) + " s",
                  false, now_us);
      SPELL_TRY(end_pool_machine(machine, now_us));
    }
    if (record.phase == "launching") {
      starting.push_back(&machine);
      pool_due(record.phase_us + launch_within);
    }
    if (record.phase != "up") {
      leaving += record.phase == "ending";
      if (record.phase == "ending" && record.going_us > now_us) pool_due(record.going_us);
      continue;
    }
    bool is_empty = machine.assigned.empty();
    if (!is_empty)
      machine.idle_us = 0;
    else if (machine.idle_us == 0)
      machine.idle_us = now_us;
    // What is about to go, or does not answer, is no machine to count on.
    std::int64_t ends_us = 0;
    if (record.going_us != 0) ends_us = is_empty ? now_us : record.going_us;
    if (machine.lost_us != 0) ends_us = machine.lost_us + kept_lost_us;
    if (ends_us != 0 && now_us >= ends_us) SPELL_TRY(end_pool_machine(machine, now_us));
    if (ends_us != 0) {
      ++leaving;
      if (now_us < ends_us) pool_due(ends_us);
      continue;
    }
    ++up;
    if (is_empty) idle.push_back(&machine);
    coming_back += is_empty && !machine.connected;
  }

  bool spent = false;  // nothing is left of what machines without a run may cost
  if (unused) {
    auto out = used_up(type, *unused, now_us);
    if (!out) return out.error();
    spent = *out;
  }
  auto there = [&] { return up + std::ssize(starting); };
  std::sort(idle.begin(), idle.end(), [](auto* a, auto* b) { return a->idle_us < b->idle_us; });
  for (auto* machine : idle) {
    bool expired = now_us >= machine->idle_us + idle_after;
    // One that has just joined has said nothing yet, and runs may wait for it.
    bool unpaid = spent && !is_joining(*machine, type, now_us);
    if (there() > type.max_machines || (expired && there() > type.min_machines) || unpaid) {
      SPELL_TRY(end_pool_machine(*machine, now_us));
      --up;
      ++leaving;
    } else if (!expired) {
      pool_due(machine->idle_us + idle_after);
    }
  }
  while (!starting.empty() && there() > type.max_machines) {
    SPELL_TRY(end_pool_machine(*starting.back(), now_us));
    starting.pop_back();
    ++leaving;
  }

  // Those that leave make room for others, but not without end.
  std::int64_t room =
      std::min(type.max_machines - there(), 2 * type.max_machines - there() - leaving);
  std::int64_t wanted = type.min_machines - there();
  if (room > 0) {
    std::int64_t expected = std::ssize(starting) + coming_back;
    auto runs = wanting(key);
    if (!runs.empty())
      wanted = std::max(wanted, cluster_.machines_for(runs, room + expected) - expected);
    SPELL_TRY(say_beyond_pool(key, now_us));
  }
  wanted = std::min(wanted, room);
  if (unused) wanted = launches_paid(type, *unused, wanted, now_us);
  bool launches = wanted > 0;
  if (auto pool = pools_.find(key);
      launches && pool != pools_.end() && now_us < pool->second.not_before_us) {
    pool_due(pool->second.not_before_us);
    launches = false;
  }
  for (; launches && wanted > 0; --wanted) SPELL_TRY(launch_machine(type, now_us));
  auto* shown = cluster_.pool(key.first, key.second);
  auto starts = std::count_if(machines_.begin(), machines_.end(), [&](auto& entry) {
    return is_of_pool(entry.second, key) && entry.second.record.phase == "launching";
  });
  if (shown && (shown->starting != starts || (unused && shown->held != unused->held)))
    show_type(type);
  return unused ? watch_unused(type, *unused, now_us) : ok();
}

Result<> State::say_beyond_pool(const TypeKey& key, std::int64_t now_us) {
  for (auto& [name, kind] : queue_.kinds()) {
    auto& wants = kind.wants;
    if (wants.machine_type != key.second || wants.owner != key.first) continue;
    auto beyond = cluster_.beyond_pool(wants);
    if (beyond.empty()) continue;
    for (auto& [age, look] : kind.runs) {
      auto run = find(wants.owner, age.number);
      if (!run) return run.error();
      if ((*run)->reason == beyond) continue;
      // The record remembers what was said; what people see is why_waiting().
      (*run)->reason_code = "machine_too_small";
      (*run)->reason = beyond;
      note(*run, now_us,
           "No machine of the pool of " + wants.machine_type + " can take this run: " + beyond +
               "; `spell machine-type scale " + wants.machine_type +
               "` with other options gets other machines",
           false, true);
    }
  }
  return ok();
}

Result<> State::launch_machine(const store::MachineTypeRecord& type, std::int64_t now_us) {
  store::MachineRecord record;
  record.id = base::Id::make(now_us / 1000, base::random_bytes(16)).text();
  record.owner = type.owner;
  record.name = machine_name(type.name);
  record.serves = {type.name};
  record.created_us = record.phase_us = now_us;
  record.pool = type.name;
  record.phase = "launching";
  SPELL_TRY(create_machine(record));
  SPELL_TRY(begin_machine_time(type, record, now_us));
  machines_.at(record.name).launch = MachineState::Launch::wanted;
  return ok();
}

/// No run is given to it any more, and nobody joins as it; what it has goes with its row.
Result<> State::end_pool_machine(MachineState& machine, std::int64_t now_us) {
  if (machine.record.phase == "ending") return ok();
  machine.record.phase = "ending";
  machine.record.phase_us = now_us;
  SPELL_TRY(drop_tokens(machine.record.id, "join"));
  return save(machine);
}

void State::pool_failed(const TypeKey& key, const std::string& why, bool for_good,
                        std::int64_t now_us) {
  auto& pool = pools_[key];
  pool.problem = why;
  // Several that fail together are one failure.
  if (now_us >= pool.not_before_us || for_good)
    pool.not_before_us =
        now_us + (for_good ? longest_launch_delay_us : launch_delay_us(++pool.failures));
  if (auto type = types_.find(key); type != types_.end()) show_type(type->second);
}

void State::pool_works(const TypeKey& key) {
  pools_.erase(key);
  if (auto type = types_.find(key); type != types_.end()) show_type(type->second);
}

void State::set_pool_problem(const std::string& owner, const std::string& type,
                             const std::string& problem) {
  auto found = types_.find({owner, type});
  if (found == types_.end()) return;
  auto& pool = pools_[found->first];
  if (pool.problem == problem) return;
  pool.problem = problem;
  show_type(found->second);
}

Result<bool> State::pool_launches(const std::string& id, const store::TokenRecord& token) {
  auto* machine = find_by_id(id);
  if (!machine || machine->record.phase != "launching") return false;
  SPELL_TRY(put_join_token(token));
  return true;
}

void State::pool_launched(const std::string& id, std::int64_t now_us) {
  auto* machine = find_by_id(id);
  if (!machine) return;
  machine->launch = MachineState::Launch::done;
  machine->launched_us = now_us;
}

Result<> State::pool_launch_failed(const std::string& id, const std::string& why, bool for_good,
                                   std::int64_t now_us) {
  auto* machine = find_by_id(id);
  // It may have joined all the same.
  if (!machine || machine->record.phase != "launching") return ok();
  pool_failed({machine->record.owner, machine->record.pool}, why, for_good, now_us);
  return end_pool_machine(*machine, now_us);
}

Result<> State::pool_ended(const std::string& id, std::int64_t now_us) {
  auto* machine = find_by_id(id);
  if (!machine || machine->record.phase != "ending") return ok();
  return erase_machine(*machine, "machine_lost",
                       "machine " + machine->record.name + " has been ended", now_us);
}

Result<std::vector<std::string>> State::pool_listed(const std::string& owner,
                                                    const std::string& type,
                                                    const std::set<std::string>& names,
                                                    std::int64_t began_us, std::int64_t now_us) {
  using Launch = MachineState::Launch;
  TypeKey key{owner, type};
  std::vector<std::string> strangers;
  for (auto& name : names) {
    if (!machines_.contains(name)) strangers.push_back(name);
  }
  for (auto& [name, machine] : machines_) {
    if (!is_of_pool(machine, key)) continue;
    auto& record = machine.record;
    bool listed = names.contains(name);
    if (record.phase == "launching" && listed && machine.launch == Launch::unknown) {
      machine.launch = Launch::done;
    } else if (record.phase == "launching" && !listed) {
      bool was_there = machine.launched_us != 0 && machine.launched_us + listed_after_us < began_us;
      if (was_there) pool_failed(key, "machine " + name + " went before it joined", false, now_us);
      if (was_there || machine.launch == Launch::unknown)
        SPELL_TRY(end_pool_machine(machine, now_us));
    } else if (record.phase == "up" && !listed && !machine.connected &&
               std::max(record.phase_us, record.seen_us) < began_us) {
      interrupt_runs(machine, "machine_lost",
                     "machine " + name + " has vanished: its pool does not list it any more",
                     now_us);
      SPELL_TRY(end_pool_machine(machine, now_us));
    }
  }
  return strangers;
}

}  // namespace spell::service
