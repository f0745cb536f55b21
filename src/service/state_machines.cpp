// Machines in the state: which there are, and their types.
#include <algorithm>

#include "base/count.hpp"
#include "base/error.hpp"
#include "base/text.hpp"
#include "model/error_code.hpp"
#include "model/status.hpp"
#include "service/state.hpp"

namespace spell::service {

namespace {

constexpr std::int64_t usual_lost_after = 600, spot_lost_after = 10;

/// Whether an embedded worker's machine is drained: it has no row of its own, for it is there when
/// its worker is.
constexpr const char* drained_note = "embedded_machine_drained";
/// When it goes; of whom asked for it nothing is kept.
constexpr const char* going_note = "embedded_machine_going_us";
constexpr const char* asked_for = "asked for";

Error type_in_use(const std::string& type, std::vector<std::string> runs) {
  constexpr std::size_t shown = 10;
  auto count = static_cast<std::int64_t>(runs.size());
  if (runs.size() > shown) runs.resize(shown);
  return base::error(
      "machine_in_use",
      base::count(count, "run") + (count == 1 ? " waits" : " wait") + " for a machine of type '" +
          type + "', and nothing else serves it: `spell kill " + base::join(runs, " ") + "` first" +
          (static_cast<std::int64_t>(runs.size()) < count ? " (those are the oldest)" : ""));
}

Error pool_in_use(const std::string& type, std::int64_t machines) {
  return base::error("machine_in_use",
                     base::count(machines, "machine") + " of the pool of '" + type +
                         (machines == 1 ? "' is" : "' are") +
                         " there, and only as it is can it end them: `spell machine-type scale " +
                         type +
                         " --max-machines 0` lets them end, `spell machine remove` ends one");
}

}  // namespace

Error no_such_machine(const std::string& name) {
  return base::error("machine_not_found",
                     "there is no machine '" + name + "'; `spell machine list` shows them");
}

Error no_such_machine_type(const std::string& name) {
  return base::error("machine_type_not_found", "there is no machine type '" + name +
                                                   "'; `spell machine-type list` shows them");
}

void State::add_machine(const std::string& name, std::vector<std::string> serves, int places,
                        int ahead, bool by_place, const std::string& owner) {
  auto& machine = machines_[base::lower(name)];
  machine.embedded = true;
  machine.record.name = machine.record.id = base::lower(name);
  machine.record.owner = owner;
  machine.record.serves = std::move(serves);
  machine.last_command = options_.first_command;
  machine_names_[machine.record.id] = machine.record.name;
  sched::Machine view;
  view.name = machine.record.name;
  view.by_place = by_place;
  view.ahead = ahead;
  view.offers.cpus = places;
  cluster_.put(view);
  show(machine);
}

Result<> State::load_machines() {
  auto records = writer_.machines();
  if (!records) return records.error();
  auto types = writer_.machine_types();
  if (!types) return types.error();
  auto tokens = writer_.tokens();
  if (!tokens) return tokens.error();

  auto prices = writer_.prices();
  if (!prices) return prices.error();

  price_lists_ = to_price_lists(*prices);
  types_.clear();
  for (auto& type : *types) types_[{type.owner, type.name}] = type;
  tokens_.clear();
  for (auto& token : *tokens)
    if (token.kind == "machine" || token.kind == "join" || token.kind == "workflow")
      tokens_[token.id] = token;
  tokens_changed_ = true;
  late_.clear();
  farewells_.clear();

  auto before = std::exchange(machines_, {});
  auto names = std::exchange(machine_names_, {});
  auto cluster = std::exchange(cluster_, {});
  for (auto& [key, type] : types_) show_type(type);
  auto keep = [&](MachineState machine) -> Result<> {
    machine.late.clear();
    machine.assigned.clear();
    // A worker must neither start what was refused nor forget a run whose end is not in the store.
    while (!machine.commands.empty() && machine.commands.back().number > machine.durable_command)
      machine.commands.pop_back();
    std::string name = machine.record.name;
    machine_names_[machine.record.id] = name;
    auto& kept = machines_[name] = std::move(machine);
    if (auto* view = cluster.find(name)) {
      auto empty = *view;
      empty.used = {};
      empty.uneven = 0;
      cluster_.put(std::move(empty));
    }
    show(kept);
    for (auto& id : kept.returned) {
      auto run = writer_.find_run(id);
      if (!run) return run.error();
      if (!*run || !is_late(**run)) continue;
      kept.late.insert(id);
      late_[id] = {name, (*run)->owner, (*run)->epoch};
      assign(kept, **run);
    }
    return ok();
  };
  auto drained = writer_.note(drained_note);
  if (!drained) return drained.error();
  auto going = writer_.note(going_note);
  if (!going) return going.error();
  for (auto& [name, machine] : before)
    if (machine.embedded) {
      machine.record.drained = *drained != 0;
      if (machine.record.going_us != *going) machine.record.going = *going ? asked_for : "";
      machine.record.going_us = *going;
      SPELL_TRY(keep(std::move(machine)));
    }
  for (auto& record : *records) {
    MachineState machine;
    machine.last_command = machine.durable_command = options_.first_command;
    if (auto known = names.find(record.id); known != names.end())
      machine = std::move(before.at(known->second));
    else if (auto hello = model::parse_json(record.hello))
      machine.hello = model::parse_worker_hello(*hello).value_or({});
    machine.record = std::move(record);
    SPELL_TRY(keep(std::move(machine)));
  }
  return ok();
}

const MachineState* State::machine_by_id(const std::string& id) const {
  return const_cast<State*>(this)->find_by_id(id);
}

MachineState* State::find_by_id(const std::string& id) {
  auto name = machine_names_.find(id);
  return name == machine_names_.end() ? nullptr : &machines_.at(name->second);
}

Result<MachineState*> State::find_machine(const std::string& owner, const std::string& name) {
  auto found = machines_.find(base::lower(name));
  if (found == machines_.end() || !is_of(found->second, owner)) return no_such_machine(name);
  return &found->second;
}

bool State::is_of(const MachineState& machine, const std::string& owner) {
  return machine.record.owner.empty() || machine.record.owner == owner;
}

std::int64_t State::lost_after(const MachineState& machine) const {
  if (machine.record.lost_after > 0) return machine.record.lost_after;
  std::int64_t least = 0;
  for (auto& type : machine.record.serves)
    if (auto declared = types_.find({machine.record.owner, type}); declared != types_.end())
      if (auto& found = declared->second; found.lost_after > 0 || found.spot) {
        std::int64_t seconds = found.lost_after > 0 ? found.lost_after : spot_lost_after;
        least = least == 0 ? seconds : std::min(least, seconds);
      }
  return least > 0 ? least : usual_lost_after;
}

void State::show(MachineState& machine) {
  auto& record = machine.record;
  sched::Machine view;
  if (auto* before = cluster_.find(record.name)) view = *before;
  view.name = record.name;
  view.owner = record.owner;
  view.serves = record.serves;
  view.allow = record.allow;
  view.connected = machine.connected;
  auto takes = machine.hello.capabilities.find("takes_runs");
  view.drained = record.drained || record.going_us != 0 ||
                 (takes != machine.hello.capabilities.end() && takes->second == "0");
  view.joined = machine.embedded || (record.joined_us != 0 && record.phase != "ending");
  view.launched = !record.pool.empty();
  view.gpu_names.clear();
  for (auto& gpu : machine.hello.gpus) view.gpu_names.push_back(gpu.name);
  auto limited = [](std::int64_t there, std::int64_t limit) {
    return limit > 0 ? std::min(there, limit) : there;
  };
  if (!view.by_place) view.offers.cpus = limited(machine.hello.cores, record.cpus);
  view.offers.memory = limited(machine.hello.memory, record.memory);
  view.offers.gpus = limited(std::ssize(machine.hello.gpus), record.gpus);
  view.offers.managing = options_.managing;
  if (auto& can = machine.hello.capabilities; !can.empty()) {
    view.too_old_for.clear();
    for (auto* need : {"exclusive", "restore", "allowance", "environments"})
      if (!can.contains(need)) view.too_old_for.emplace_back(need);
    view.lacks.clear();
    for (auto [want, name] : {std::pair(sched::Want::program, "lacks_for_builds"),
                              std::pair(sched::Want::image, "lacks_for_images"),
                              std::pair(sched::Want::packages, "lacks_for_packages"),
                              std::pair(sched::Want::conda, "lacks_for_conda")}) {
      auto lack = can.find(name);
      if (lack == can.end())
        view.lacks[want] = "its worker is too old";
      else if (!lack->second.empty())
        view.lacks[want] = (want == sched::Want::program ? "it has no " : "") + lack->second;
    }
  }
  cluster_.put(std::move(view));
  changed_machines_.insert(record.name);
  look_ = true;
}

Result<> State::save(MachineState& machine) {
  show(machine);
  if (machine.embedded) {
    SPELL_TRY(writer_.set_note(drained_note, machine.record.drained));
    return writer_.set_note(going_note, machine.record.going_us);
  }
  auto& record = machine.record;
  if (!record.pool.empty())
    SPELL_TRY(writer_.set_machine_phase(record.id, record.phase, record.phase_us));
  return writer_.put_machine(record);
}

std::string State::name_owner(const std::string& owner, const std::string& name) const {
  std::string plain = base::lower(name);
  for (auto* reserved : {"runs", "uploads", "public", "s3"})
    if (plain == reserved) return "something that every owner has";
  if (plain == "cpu" || types_.contains({owner, plain})) return "a machine type";
  if (machines_.contains(plain)) return "a machine";
  for (auto& [other, machine] : machines_) {
    auto& serves = machine.record.serves;
    if (is_of(machine, owner) && std::find(serves.begin(), serves.end(), plain) != serves.end())
      return "a machine type";
  }
  return {};
}

Result<> State::check_free(const std::string& owner, const std::string& name) const {
  std::string by = name_owner(owner, name);
  if (by.empty()) {
    auto link = writer_.find_link(owner, name);
    if (!link) return link.error();
    if (*link) by = "a link";
  }
  if (by.empty()) return ok();
  return base::error("name_taken", "'" + name + "' is the name of " + by + "; use another");
}

Result<> State::create_machine(const store::MachineRecord& record) {
  SPELL_TRY(check_free(record.owner, record.name));
  auto& machine = machines_[record.name];
  machine.record = record;
  machine.last_command = machine.durable_command = options_.first_command;
  machine_names_[record.id] = record.name;
  return save(machine);
}

Result<> State::change_machine(const std::string& owner, const std::string& name,
                               const MachineChange& change) {
  auto found = find_machine(owner, name);
  if (!found) return found.error();
  MachineState& machine = **found;
  std::string old = machine.record.name, to = base::lower(change.name.value_or(old));
  if (to != old && machine.embedded)
    return base::error("not_permitted", "'" + old +
                                            "' is this service's own machine; it is called "
                                            "as the computer is");
  if (to != old && !machine.record.pool.empty())
    return base::error("not_permitted", "'" + old + "' is the name by which the pool of " +
                                            machine.record.pool + " knows this machine");
  if (to != old) SPELL_TRY(check_free(owner, to));
  if (change.drained && !*change.drained && machine.record.phase == "ending")
    return base::error("not_permitted", "the pool of " + machine.record.pool + " is ending '" +
                                            old + "': it cannot be brought back");
  if (change.drained) machine.record.drained = *change.drained;
  if (change.drained && !*change.drained && machine.record.going_us != 0) {
    machine.record.going_us = 0;
    machine.record.going.clear();
    order_notice(machine, 0);
  }
  if (to == old) return save(machine);
  // Its runs go with it.
  auto node = machines_.extract(old);
  node.key() = to;
  auto& renamed = machines_.insert(std::move(node)).position->second;
  renamed.record.name = to;
  machine_names_[renamed.record.id] = to;
  auto view = *cluster_.find(old);
  cluster_.remove(old);
  view.name = to;
  cluster_.put(std::move(view));
  changed_machines_.insert(old);
  for (auto& [id, takes] : renamed.assigned) {
    if (auto late = late_.find(id); late != late_.end()) late->second.machine = to;
    auto record = writer_.find_run(id);
    if (!record) return record.error();
    auto known = runs_.find(id);
    if (known == runs_.end() && !*record) continue;
    auto run = known != runs_.end() ? Result<RunPointer>(known->second)
                                    : find((*record)->owner, (*record)->number);
    if (!run) return run.error();
    (*run)->machine = to;
    touch(*run);
  }
  for (auto& [run, hold] : holds_)
    if (hold.machine == old) hold.machine = to;
  SPELL_TRY(flush());  // rows that are still on the way are changed with the others
  SPELL_TRY(writer_.rename_cost(owner, "machine", old, to));
  cost_numbers_.clear();
  auto waiting = waiting_runs([&](const sched::Waiting& wants) {
    return wants.owner == owner && wants.machine_type == old;
  });
  if (!waiting) return waiting.error();
  for (auto& run : *waiting) {
    leave_queue(run);
    run->request.machine_type = to;
    SPELL_TRY(writer_.put_request(*run));
    touch(run);
    enqueue(run);
  }
  return save(renamed);
}

Result<> State::interrupt_machine(const std::string& owner, const std::string& name,
                                  std::int64_t in_us, const std::string& by, std::int64_t now_us) {
  auto found = find_machine(owner, name);
  if (!found) return found.error();
  MachineState& machine = **found;
  auto& record = machine.record;
  if (machine.connected && !machine.hello.capabilities.contains("notice"))
    return base::error("not_available", "the worker of machine " + record.name +
                                            " is older than this and cannot do it: upgrade it");
  std::int64_t at = now_us + in_us;
  if (record.going_us <= now_us || at < record.going_us) {
    record.going_us = at;
    record.going = std::string(asked_for) + " by " + by;
  }
  if (record.pool.empty()) {
    record.drained = true;
  } else {
    record.phase = "ending";
    record.phase_us = now_us;
    SPELL_TRY(drop_tokens(record.id, "join"));
  }
  order_notice(machine, now_us);
  return save(machine);
}

void State::order_notice(MachineState& machine, std::int64_t now_us) {
  model::Command command;
  command.type = "notice";
  command.reason = machine.record.going;
  if (machine.record.going_us == 0)
    command.reason_code = "withdrawn";
  else
    command.remaining_ms = std::max<std::int64_t>(0, machine.record.going_us - now_us) / 1000;
  std::erase_if(machine.commands, [](auto& other) { return other.type == "notice"; });
  order(machine, std::move(command));
}

Result<bool> State::heed_notice(const std::string& id, const model::MachineNotice& notice,
                                std::int64_t now_us) {
  auto* found = find_by_id(id);
  if (!found) return no_such_machine(id);
  MachineState& machine = *found;
  if (notice.kind == "withdrawn") return withdraw_notice(machine, now_us);
  // What was asked for here is known here, and may be withdrawn.
  if (notice.kind == "asked" || machine.record.going_us != 0) return false;
  machine.record.going_us = now_us + std::max<std::int64_t>(0, notice.remaining_ms) * 1000;
  machine.record.going = model::one_line(notice.text, 200);
  if (!machine.record.pool.empty()) {
    machine.record.phase = "ending";
    machine.record.phase_us = now_us;
    SPELL_TRY(drop_tokens(machine.record.id, "join"));
  }
  SPELL_TRY(save(machine));
  return true;
}

Result<bool> State::withdraw_notice(MachineState& machine, std::int64_t now_us) {
  auto& record = machine.record;
  bool asked = record.drained || record.going.starts_with(asked_for);
  if (record.going_us == 0 || asked) return false;
  if (record.phase == "ending") {
    // Its pool ends it once it is empty, or its time is over.
    if (machine.assigned.empty() || record.going_us <= now_us) return false;
    record.phase = "up";
    record.phase_us = now_us;
  }
  record.going_us = 0;
  record.going.clear();
  SPELL_TRY(save(machine));
  return true;
}

Result<std::vector<RunPointer>> State::waiting_runs(
    const std::function<bool(const sched::Waiting&)>& wants) {
  std::vector<Number> asleep;
  for (auto& [number, queued] : queued_)
    if (is_asleep(number) && wants(queued.kind->wants)) asleep.push_back(number);
  std::vector<RunPointer> out;
  for (auto& [id, run] : runs_)
    if (run->machine.empty() && !model::is_final(run->status) && wants(waiting_of(*run)))
      out.push_back(run);
  for (auto& [owner, number] : asleep) {
    auto run = find(owner, number);
    if (!run) return run.error();
    out.push_back(std::move(*run));
  }
  return out;
}

bool State::only_there(const sched::Waiting& wants, const std::string& machine) const {
  return cluster_.depends_on(wants, machine) && !cluster_.pool(wants.owner, wants.machine_type);
}

Result<> State::remove_machine(const std::string& owner, const std::string& name, bool with_runs,
                               std::int64_t now_us) {
  auto found = find_machine(owner, name);
  if (!found) return found.error();
  MachineState& machine = **found;
  if (machine.embedded)
    return base::error("not_permitted",
                       "'" + machine.record.name +
                           "' is this service's own machine; `spell machine drain` keeps runs off");
  std::string plain = machine.record.name;
  if (machine.record.phase == "ending") {
    if (with_runs)
      return erase_machine(machine, "machine_removed", "its machine " + plain + " has been removed",
                           now_us);
    return base::error("machine_in_use", "the pool of " + machine.record.pool + " is ending " +
                                             plain + "; `spell machine remove -f " + plain +
                                             "` forgets it, and then somebody has to see that it "
                                             "is gone");
  }
  auto waiting = waiting_runs([&](auto& wants) { return only_there(wants, plain); });
  if (!waiting) return waiting.error();
  if (std::size_t there = machine.assigned.size(); !with_runs && there + waiting->size() > 0)
    return base::error("machine_in_use",
                       "runs would end with " + plain + " (on it: " + std::to_string(there) +
                           ", waiting for it alone: " + std::to_string(waiting->size()) +
                           "); `spell machine drain " + plain +
                           "` lets those on it end, `spell machine remove -f " + plain +
                           "` ends all");
  std::string reason = "its machine " + plain + " has been removed";
  if (machine.record.pool.empty()) return erase_machine(machine, "machine_removed", reason, now_us);
  interrupt_runs(machine, "machine_removed", reason, now_us);
  return end_pool_machine(machine, now_us);
}

void State::interrupt_runs(MachineState& machine, const std::string& reason_code,
                           const std::string& reason, std::int64_t now_us) {
  for (auto& [run_id, takes] : std::map(machine.assigned)) {
    auto run = runs_.find(run_id);
    if (run == runs_.end() || model::is_final(run->second->status)) {
      unassign(machine, run_id);
      continue;
    }
    run->second->reason_code = reason_code;
    run->second->reason = reason;
    run->second->log_bytes = log_size(*run->second);
    note_backup(run->second, now_us);
    finish(run->second, "interrupted", now_us, run->second->log_bytes);
  }
}

Result<> State::erase_machine(MachineState& machine, const std::string& reason_code,
                              const std::string& reason, std::int64_t now_us) {
  std::string id = machine.record.id, plain = machine.record.name;
  // A machine of a pool that ends serves its own name no more, and nobody else does.
  auto waiting = waiting_runs([&](const sched::Waiting& wants) {
    return wants.machine_type == plain || only_there(wants, plain);
  });
  if (!waiting) return waiting.error();
  auto& farewell = farewells_[id];
  for (auto& [run_id, takes] : std::map(machine.assigned)) {
    model::Command command;
    command.type = "kill";
    command.run = run_id;
    command.reason_code = reason_code;
    if (auto run = runs_.find(run_id); run != runs_.end()) {
      command.epoch = run->second->epoch;
      run->second->reason_code = reason_code;
      run->second->reason = reason;
      run->second->log_bytes = log_size(*run->second);
      note_backup(run->second, now_us);
      finish(run->second, "interrupted", now_us, run->second->log_bytes);
    } else if (auto late = late_.find(run_id); late != late_.end()) {
      command.epoch = late->second.epoch;
      use_no_more(run_id, takes);
      late_.erase(late);
      changed_.insert(run_id);
    }
    command.number = ++machine.last_command;
    farewell.push_back(std::move(command));
  }
  SPELL_TRY(let_go_of_lost(plain));
  for (auto* kind : {"machine", "join"}) SPELL_TRY(drop_tokens(id, kind));
  note_use(machine, true, now_us);  // no time without a run comes after this
  SPELL_TRY(writer_.end_machine_time(id, now_us));
  SPELL_TRY(writer_.delete_machine(id));
  cluster_.remove(plain);
  machine_names_.erase(id);
  machines_.erase(plain);
  changed_machines_.insert(plain);
  for (auto& run : *waiting) {
    if (model::is_final(run->status)) continue;  // came after one of the others
    leave_queue(run);
    run->reason_code = "machine_removed";
    run->reason = "machine " + plain + " has been removed, and no other can take this run";
    finish(run, "failed", now_us, 0);
  }
  return ok();
}

Result<> State::put_machine_type(const store::MachineTypeRecord& type, bool replace) {
  // Machines that serve it already make it no other thing.
  bool served = std::any_of(machines_.begin(), machines_.end(), [&](auto& entry) {
    auto& serves = entry.second.record.serves;
    return is_of(entry.second, type.owner) &&
           std::find(serves.begin(), serves.end(), type.name) != serves.end();
  });
  if (!replace && (!served || types_.contains({type.owner, type.name}) || type.name == "cpu"))
    SPELL_TRY(check_free(type.owner, type.name));
  TypeKey key{type.owner, type.name};
  if (auto before = types_.find(key); before != types_.end())
    if (auto there = machines_of_pool(key);
        there > 0 &&
        (before->second.pool != type.pool || before->second.pool_options != type.pool_options))
      return pool_in_use(type.name, there);
  types_[key] = type;
  pools_.erase(key);  // what was wrong may have been mended
  cluster_.forget_launched(type.owner, type.name);
  show_type(type);
  money_moved_ = true;  // its price may be known now
  for (auto& [name, machine] : machines_) changed_machines_.insert(name);  // when it is lost
  look_ = true;
  return writer_.put_machine_type(type);
}

std::vector<std::string> State::waiting_for(const std::string& owner,
                                            const std::string& type) const {
  std::vector<std::int64_t> numbers;
  auto add = [&](const sched::Waiting& wants, std::int64_t number) {
    if (wants.owner == owner && wants.machine_type == type) numbers.push_back(number);
  };
  for (auto& [id, run] : runs_)
    if (run->machine.empty() && !model::is_final(run->status)) add(waiting_of(*run), run->number);
  for (auto& [number, queued] : queued_)
    if (is_asleep(number)) add(queued.kind->wants, number.second);
  std::sort(numbers.begin(), numbers.end());
  std::vector<std::string> out;
  for (auto number : numbers) out.push_back(std::to_string(number));
  return out;
}

Result<> State::remove_machine_type(const std::string& owner, const std::string& name) {
  auto found = types_.find({owner, name});
  if (found == types_.end()) return no_such_machine_type(name);
  if (auto there = machines_of_pool(found->first); there > 0) return pool_in_use(name, there);
  // Runs that wait for a machine of its pool would wait for ever.
  bool served = std::any_of(machines_.begin(), machines_.end(), [&](auto& entry) {
    auto& machine = entry.second;
    return is_of(machine, owner) && (machine.embedded || machine.record.joined_us > 0) &&
           (machine.record.name == name ||
            std::find(machine.record.serves.begin(), machine.record.serves.end(), name) !=
                machine.record.serves.end());
  });
  if (auto runs = served ? std::vector<std::string>{} : waiting_for(owner, name); !runs.empty())
    return type_in_use(name, runs);
  pools_.erase(found->first);
  types_.erase(found);
  SPELL_TRY(set_max_unused(owner, name, std::nullopt, 0));
  types_changed_ = true;
  cluster_.remove_type(owner, name);
  for (auto& [machine_name, machine] : machines_) changed_machines_.insert(machine_name);
  look_ = true;
  return writer_.delete_machine_type(owner, name);
}

Result<> State::put_prices(const std::string& owner,
                           const std::vector<model::ListedPrice>& prices) {
  SPELL_TRY(writer_.delete_prices(owner));
  PriceList list;
  money_moved_ = true;
  for (auto& [name, price, spot_price] : prices) {
    SPELL_TRY(writer_.put_price({owner, name, price, spot_price}));
    list[name] = {price, spot_price};
  }
  if (list.empty())
    price_lists_.erase(owner);
  else
    price_lists_[owner] = std::move(list);
  return ok();
}

TypePrice State::price_of(const std::string& owner, const std::string& type) const {
  auto list = price_lists_.find(owner);
  auto& prices = list == price_lists_.end() ? no_prices : list->second;
  if (auto found = types_.find({owner, type}); found != types_.end())
    return service::price_of(found->second, prices);
  store::MachineTypeRecord served;
  served.owner = owner;
  served.name = type;
  return service::price_of(served, prices);
}

}  // namespace spell::service
