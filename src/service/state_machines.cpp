// Machines in the state: what their workers say, and who they are.
#include <algorithm>

#include "base/error.hpp"
#include "base/hash.hpp"
#include "base/id.hpp"
#include "base/text.hpp"
#include "model/error_code.hpp"
#include "model/mount.hpp"
#include "model/status.hpp"
#include "service/state.hpp"

namespace spell::service {

namespace {

constexpr std::int64_t usual_lost_after = 600;

Error no_such_machine(const std::string& name) {
  return base::error("machine_not_found",
                     "there is no machine '" + name + "'; `spell machine list` shows them");
}

/// What a worker says is kept as long as it is of a sane length.
std::string cut(const std::string& text, std::size_t limit) {
  return text.size() <= limit ? text : model::one_line(text, limit);
}

/// Whether its machine may still bring how it ended.
bool is_late(const RunRecord& run) {
  return run.status == "interrupted" &&
         (run.reason_code == "machine_lost" || run.reason_code == "service_restored");
}

}  // namespace

// ---- who there is

void State::add_machine(const std::string& name, std::vector<std::string> serves, int places,
                        int ahead, bool by_place) {
  auto& machine = machines_[base::lower(name)];
  machine.embedded = true;
  machine.record.name = machine.record.id = base::lower(name);
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

  types_.clear();
  for (auto& type : *types) types_[type.name] = type;
  tokens_.clear();
  for (auto& token : *tokens)
    if (token.kind == "machine" || token.kind == "join") tokens_[token.id] = token;
  tokens_changed_ = true;
  late_.clear();
  farewells_.clear();

  auto before = std::exchange(machines_, {});
  auto names = std::exchange(machine_names_, {});
  auto cluster = std::exchange(cluster_, {});
  for (auto& [name, type] : types_) cluster_.put_type(name, {type.cpus, type.memory, type.gpus});
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
  for (auto& [name, machine] : before)
    if (machine.embedded) SPELL_TRY(keep(std::move(machine)));
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
  if (found == machines_.end() || (!found->second.embedded && found->second.record.owner != owner))
    return no_such_machine(name);
  return &found->second;
}

std::int64_t State::lost_after(const MachineState& machine) const {
  if (machine.record.lost_after > 0) return machine.record.lost_after;
  std::int64_t least = 0;
  for (auto& type : machine.record.serves)
    if (auto declared = types_.find(type); declared != types_.end())
      if (auto seconds = declared->second.lost_after; seconds > 0)
        least = least == 0 ? seconds : std::min(least, seconds);
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
  view.drained = record.drained;
  view.joined = machine.embedded || record.joined_us != 0;
  view.gpu_names.clear();
  for (auto& gpu : machine.hello.gpus) view.gpu_names.push_back(gpu.name);
  auto limited = [](std::int64_t there, std::int64_t limit) {
    return limit > 0 ? std::min(there, limit) : there;
  };
  if (!view.by_place) view.offers.cpus = limited(machine.hello.cores, record.cpus);
  view.offers.memory = limited(machine.hello.memory, record.memory);
  view.offers.gpus = limited(std::ssize(machine.hello.gpus), record.gpus);
  cluster_.put(std::move(view));
  changed_machines_.insert(record.name);
  look_ = true;
}

Result<> State::save(MachineState& machine) {
  show(machine);
  if (machine.embedded) return ok();
  return writer_.put_machine(machine.record);
}

std::string State::name_owner(const std::string& name) const {
  std::string plain = base::lower(name);
  if (plain == "cpu" || types_.contains(plain)) return "a machine type";
  if (machines_.contains(plain)) return "a machine";
  for (auto& [other, machine] : machines_) {
    auto& serves = machine.record.serves;
    if (std::find(serves.begin(), serves.end(), plain) != serves.end()) return "a machine type";
  }
  return {};
}

Result<> State::check_free(const std::string& owner, const std::string& name) const {
  std::string by = name_owner(name);
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
  if (to != old) SPELL_TRY(check_free(owner, to));
  if (change.drained) machine.record.drained = *change.drained;
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
  return save(renamed);
}

Result<> State::remove_machine(const std::string& owner, const std::string& name,
                               std::int64_t now_us) {
  auto found = find_machine(owner, name);
  if (!found) return found.error();
  MachineState& machine = **found;
  if (machine.embedded)
    return base::error("not_permitted",
                       "'" + machine.record.name +
                           "' is this service's own machine; `spell machine drain` keeps runs off");
  std::string id = machine.record.id, plain = machine.record.name;
  auto& farewell = farewells_[id];
  for (auto& [run_id, takes] : std::map(machine.assigned)) {
    model::Command command;
    command.type = "kill";
    command.run = run_id;
    command.reason_code = "machine_removed";
    if (auto run = runs_.find(run_id); run != runs_.end()) {
      command.epoch = run->second->epoch;
      run->second->reason_code = "machine_removed";
      run->second->reason = "its machine " + plain + " has been removed";
      run->second->log_bytes = log_size(*run->second);
      finish(run->second, "interrupted", now_us, run->second->log_bytes);
    } else if (auto late = late_.find(run_id); late != late_.end()) {
      command.epoch = late->second.epoch;
      late_.erase(late);
      changed_.insert(run_id);
    }
    command.number = ++machine.last_command;
    farewell.push_back(std::move(command));
  }
  for (auto* kind : {"machine", "join"}) SPELL_TRY(drop_tokens(id, kind));
  SPELL_TRY(writer_.delete_machine(id));
  cluster_.remove(plain);
  machine_names_.erase(id);
  machines_.erase(plain);
  changed_machines_.insert(plain);
  return ok();
}

Result<> State::put_machine_type(const store::MachineTypeRecord& type, bool replace) {
  // Machines that serve it already make it no other thing.
  bool served = std::any_of(machines_.begin(), machines_.end(), [&](auto& entry) {
    auto& serves = entry.second.record.serves;
    return std::find(serves.begin(), serves.end(), type.name) != serves.end();
  });
  if (!replace && (!served || types_.contains(type.name) || type.name == "cpu"))
    SPELL_TRY(check_free(type.owner, type.name));
  types_[type.name] = type;
  cluster_.put_type(type.name, {type.cpus, type.memory, type.gpus});
  for (auto& [name, machine] : machines_) changed_machines_.insert(name);  // when it is lost
  look_ = true;
  return writer_.put_machine_type(type);
}

Result<> State::remove_machine_type(const std::string& owner, const std::string& name) {
  auto found = types_.find(name);
  if (found == types_.end() || found->second.owner != owner)
    return base::error("machine_type_not_found", "there is no machine type '" + name +
                                                     "'; `spell machine-type list` shows them");
  types_.erase(found);
  cluster_.remove_type(name);
  for (auto& [machine_name, machine] : machines_) changed_machines_.insert(machine_name);
  look_ = true;
  return writer_.delete_machine_type(owner, name);
}

// ---- joining

Result<> State::drop_tokens(const std::string& machine, const std::string& kind) {
  for (auto at = tokens_.begin(); at != tokens_.end();) {
    if (at->second.machine != machine || at->second.kind != kind) {
      ++at;
      continue;
    }
    SPELL_TRY(writer_.delete_token(at->first));
    at = tokens_.erase(at);
    tokens_changed_ = true;
  }
  return ok();
}

Result<> State::put_join_token(const store::TokenRecord& token) {
  if (!token.machine.starts_with("type:")) SPELL_TRY(drop_tokens(token.machine, "join"));
  tokens_[token.id] = token;
  tokens_changed_ = true;
  return writer_.put_token(token);
}

Result<store::MachineRecord> State::join(const std::string& token_id,
                                         const model::JoinRequest& request, const std::string& key,
                                         const std::string& token_hash, std::int64_t now_us) {
  auto found = tokens_.find(token_id);
  if (found == tokens_.end() || found->second.kind != "join")
    return base::error("unauthorized", "this join token is not valid here any more");
  auto& token = found->second;
  bool of_type = token.machine.starts_with("type:");
  std::string way = of_type ? "`spell machine-type get-token " + token.machine.substr(5) + "`"
                            : "`spell machine get-token NAME`";
  if (token.used_us != 0)
    return base::error("join_token_used",
                       "this join token has been used already; " + way + " makes another");
  if (token.expires_us <= now_us)
    return base::error("join_token_expired",
                       "this join token is older than an hour; " + way + " makes another");
  store::MachineRecord record;
  if (of_type) {
    record.name = base::lower(request.name);
    record.id = base::Id::make(now_us / 1000, base::random_bytes(16)).text();
    record.owner = options_.owner;
    record.serves = {token.machine.substr(5)};
    record.created_us = now_us;
    if (!base::valid_name(record.name))
      return base::error("invalid_request",
                         "'name' must be 1 to 64 letters, digits, '.', '_' and '-'");
    SPELL_TRY(create_machine(record));
  } else {
    auto* machine = find_by_id(token.machine);
    if (!machine) return base::error("unauthorized", "this join token's machine has been removed");
    record = machine->record;
  }
  SPELL_TRY(drop_tokens(record.id, "machine"));
  auto& machine = machines_.at(record.name);
  machine.record.joined_us = machine.record.seen_us = now_us;
  machine.record.key = key;
  machine.hello = request.hello;
  machine.connected = false;  // until the worker says hello with its new token
  machine.record.hello = model::to_json(request.hello).dump();
  SPELL_TRY(save(machine));

  token.used_us = now_us;
  token.machine = record.id;
  SPELL_TRY(writer_.put_token(token));
  store::TokenRecord own;
  own.id = base::Id::make(now_us / 1000, base::random_bytes(16)).text();
  own.hash = token_hash;
  own.kind = "machine";
  own.machine = record.id;
  own.name = record.name;
  own.created_us = now_us;
  SPELL_TRY(writer_.put_token(own));
  tokens_[own.id] = own;
  tokens_changed_ = true;
  return machine.record;
}

// ---- runs on machines

void State::assign(MachineState& machine, const RunRecord& run) {
  if (!machine.assigned.emplace(run.id, run.takes).second) return;
  cluster_.take(machine.record.name, run.takes);
  changed_machines_.insert(machine.record.name);
}

bool State::unassign(MachineState& machine, const std::string& run) {
  auto found = machine.assigned.find(run);
  if (found == machine.assigned.end()) return false;
  cluster_.give_back(machine.record.name, found->second);
  machine.assigned.erase(found);
  machine.late.erase(run);
  if (late_.erase(run) > 0) changed_.insert(run);
  changed_machines_.insert(machine.record.name);
  look_ = true;
  return true;
}

void State::put_on(const RunPointer& run, const sched::Placement& placed, std::int64_t now_us) {
  MachineState& machine = machines_.at(placed.machine);
  run->machine = placed.machine;
  run->takes = placed.takes;
  ++run->epoch;
  run->taken = 0;
  ++running_[user_of(*run)];
  // The round has taken it already.
  machine.assigned.emplace(run->id, run->takes);
  changed_machines_.insert(placed.machine);
  auto gpus = std::to_string(cluster_.find(placed.machine)->offers.gpus);
  if (!run->request.gpus && run->takes.gpus == 1 && gpus != "1")
    note(run, now_us, "1 of " + gpus + " GPUs (--gpu " + gpus + " for all)", false);
  touch(run);
  order(machine, start_command(*run));
}

void State::leave_machine(const RunPointer& run) {
  auto machine = machines_.find(run->machine);
  if (machine == machines_.end() || !unassign(machine->second, run->id)) return;
  auto& commands = machine->second.commands;
  std::erase_if(commands, [&](auto& command) { return command.run == run->id; });
  // What a lost machine still has of it may be its result.
  if (!is_late(*run)) order(machine->second, "forget", *run);
}

void State::order(MachineState& machine, model::Command command) {
  command.number = ++machine.last_command;
  machine.commands.push_back(std::move(command));
  changed_machines_.insert(machine.record.name);
}

void State::order(MachineState& machine, const std::string& type, const RunRecord& run,
                  const std::string& reason_code) {
  model::Command command;
  command.type = type;
  command.run = run.id;
  command.epoch = run.epoch;
  command.reason_code = reason_code;
  order(machine, std::move(command));
}

model::Command State::start_command(const RunRecord& run) const {
  auto& view = *cluster_.find(run.machine);
  model::StartCommand start;
  start.run = run.id;
  start.epoch = run.epoch;
  start.number = run.number;
  start.owner = run.owner;
  start.machine = run.machine;
  start.places = view.ahead > 0 ? view.offers.cpus : 0;
  start.cpus = view.by_place ? run.request.cpus : run.takes.cpus;
  start.memory = run.takes.memory;
  start.gpus = run.takes.gpus;
  start.request = run.request;
  start.request.log_limit =
      log_limit(quota_of(quotas_, run.owner, run.creator), run.request.log_limit);
  if (auto mounts = model::read_mounts(run.mounts)) start.mounts = std::move(*mounts);
  if (!run.request.secrets.empty() && options_.secrets) start.secrets = options_.secrets(run);
  if (run.request.code)
    start.code_url = machines_.at(run.machine).embedded
                         ? "file://" + options_.code_folder + "/" + run.owner + "/" +
                               run.request.code->workspace + ".git"
                         : "service:";
  model::Command command;
  command.type = "start";
  command.run = run.id;
  command.epoch = run.epoch;
  command.start = std::move(start);
  return command;
}

// ---- what workers say

Result<> State::hello(const std::string& id, const model::WorkerHello& hello,
                      const std::map<std::string, std::int64_t>& holds, std::int64_t now_us) {
  auto* found = find_by_id(id);
  if (!found) return no_such_machine(id);
  MachineState& machine = *found;
  bool news = !machine.connected;
  machine.hello = hello;
  machine.connected = true;
  ++machine.session;
  if (!machine.embedded) {
    // What changes all the time is not worth a write.
    auto lasting = hello;
    lasting.disk_free = 0;
    auto text = model::to_json(lasting).dump();
    if (news || text != machine.record.hello) {
      machine.record.hello = std::move(text);
      machine.record.seen_us = now_us;
      SPELL_TRY(writer_.put_machine(machine.record));
    }
  }
  machine.commands.clear();
  for (auto& run : std::set(machine.late)) unassign(machine, run);
  machine.returned.clear();
  show(machine);
  for (auto& [run_id, epoch] : holds) {
    auto run = runs_.find(run_id);
    if (run != runs_.end() && run->second->epoch == epoch && machine.assigned.contains(run_id))
      continue;
    auto record = writer_.find_run(run_id);
    if (!record) return record.error();
    if (*record && is_late(**record) && (*record)->epoch == epoch &&
        (*record)->machine == machine.record.name) {
      machine.late.insert(run_id);
      machine.returned.insert(run_id);
      late_[run_id] = {machine.record.name, (*record)->owner, epoch};
      changed_.insert(run_id);
      assign(machine, **record);
      continue;
    }
    // Ended, removed or given to another: nobody wants its folder any more. What the store does not
    // know at all is kept: it may be from before a restore.
    if (!*record && run == runs_.end()) continue;
    model::Command forget;
    forget.type = "forget";
    forget.run = run_id;
    forget.epoch = epoch;
    order(machine, std::move(forget));
  }
  for (auto& [run_id, takes] : std::map(machine.assigned)) {
    if (machine.late.contains(run_id)) continue;
    RunPointer run = runs_.at(run_id);
    auto held = holds.find(run_id);
    if (held == holds.end() && run->started_us > 0) {
      run->reason_code = "run_folder_lost";
      run->reason = "its machine no longer has its files";
      run->log_bytes = log_size(*run);
      finish(run, "interrupted", now_us, run->log_bytes);
      continue;
    }
    if (held == holds.end()) {
      // Whoever was given it before, if anybody, must not write to it any more.
      ++run->epoch;
      run->taken = 0;
      touch(run);
    }
    // A worker keeps no secrets on disk: one that was started anew before it had launched the run
    // needs them again.
    bool lacks_secrets = !run->request.secrets.empty() && run->started_us == 0;
    if (held == holds.end() || lacks_secrets) order(machine, start_command(*run));
    if (!run->wanted.empty()) order(machine, run->wanted, *run, "user");
  }
  return ok();
}

void State::away(const std::string& id, std::int64_t session, std::int64_t now_us) {
  auto* machine = find_by_id(id);
  if (!machine || !machine->connected || machine->session != session) return;
  machine->connected = false;
  machine->record.seen_us = now_us;
  show(*machine);
}

void State::lost(const std::string& id, std::int64_t now_us) {
  auto* machine = find_by_id(id);
  if (!machine) return;
  machine->connected = false;
  show(*machine);
  for (auto& [run_id, takes] : std::map(machine->assigned)) {
    auto run = runs_.find(run_id);
    if (run == runs_.end() || model::is_final(run->second->status)) {
      unassign(*machine, run_id);
      continue;
    }
    run->second->reason_code = "machine_lost";
    run->second->reason = "machine " + machine->record.name + " has not been heard of for " +
                          std::to_string(lost_after(*machine)) + " s";
    run->second->log_bytes = log_size(*run->second);
    finish(run->second, "interrupted", now_us, run->second->log_bytes);
  }
}

void State::acknowledge(const std::string& id, std::int64_t seen) {
  auto* machine = find_by_id(id);
  if (!machine) return;
  auto& commands = machine->commands;
  while (!commands.empty() && commands.front().number <= seen) commands.pop_front();
}

Result<> State::open_stream(const std::string& id, const std::string& stream,
                            const std::string& kind) {
  auto run = runs_.find(id);
  auto machine = run == runs_.end() ? machines_.end() : machines_.find(run->second->machine);
  if (machine == machines_.end() || !machine->second.assigned.contains(id))
    return base::error("run_not_running", "the run is on no machine");
  if (!machine->second.connected)
    return base::error("machine_away",
                       "machine " + machine->first + ", where the run is, is not connected");
  if (!machine->second.hello.capabilities.contains("streams"))
    return base::error("not_available", "the worker of machine " + machine->first +
                                            " is older than this and cannot do it: upgrade it");
  model::Command command;
  command.type = "open_stream";
  command.run = id;
  command.epoch = run->second->epoch;
  command.stream = stream;
  command.kind = kind;
  order(machine->second, std::move(command));
  return ok();
}

Result<> State::report(const std::string& machine_id, const model::RunReport& report,
                       std::int64_t now_us) {
  auto* machine = find_by_id(machine_id);
  if (!machine) return no_such_machine(machine_id);
  auto stale = [](const RunRecord& run) {
    return base::error("stale_epoch",
                       "run " + std::to_string(run.number) + " has been given to somebody else");
  };
  auto found = runs_.find(report.run);
  if (found == runs_.end() || model::is_final(found->second->status)) {
    auto record = found != runs_.end()
                      ? Result<std::optional<RunRecord>>(std::optional(*found->second))
                      : writer_.find_run(report.run);
    if (!record) return record.error();
    if (!*record) return base::error("run_not_found", "there is no run " + report.run);
    bool own = (*record)->machine == machine->record.name && (*record)->epoch == report.epoch;
    if (own && is_late(**record)) {
      auto run = find((*record)->owner, (*record)->number);
      if (!run) return run.error();
      if (report.result && !model::is_final(report.result->status))
        return base::error("invalid_request", "'" + report.result->status + "' is no final status");
      finish_late(*run, report, now_us);
      return ok();
    }
    // Said again after an answer that was lost: fine, and its folder may go.
    if (own && report.result) {
      auto& commands = machine->commands;
      bool told = std::any_of(commands.begin(), commands.end(),
                              [&](auto& c) { return c.type == "forget" && c.run == report.run; });
      if (!told) order(*machine, "forget", **record);
    }
    return ok();
  }
  RunPointer run = found->second;
  if (run->machine != machine->record.name || run->epoch != report.epoch) return stale(*run);
  if (report.result && !model::is_final(report.result->status))
    return base::error("invalid_request", "'" + report.result->status + "' is no final status");
  take_events(run, report, false, now_us);
  if (report.result) {
    take_result(run, *report.result, now_us);
    finish(run, report.result->status, now_us, run->log_bytes);
  }
  touch(run);
  return ok();
}

void State::take_events(const RunPointer& run, const model::RunReport& report, bool late,
                        std::int64_t now_us) {
  for (auto& event : report.events) {
    if (event.number <= run->taken) continue;
    run->taken = event.number;
    std::int64_t time = std::max(run->created_us, now_us - std::max<std::int64_t>(0, event.age_us));
    bool step = !late && !event.status.empty() && model::may_follow(run->status, event.status);
    if (step) run->status = event.status;
    if (event.reason_code && !late) {
      run->reason_code = cut(*event.reason_code, 64);
      run->reason = event.reason_code->empty() ? "" : cut(event.text, 4096);
    }
    if (event.status == "building" && run->placed_us == 0) run->placed_us = time;
    if (event.status == "running" && run->started_us == 0) run->started_us = time;
    note(run, time, cut(event.text, 64 << 10), step, event.important, event.log_offset);
  }
}

void State::take_result(const RunPointer& run, const model::RunResult& result,
                        std::int64_t now_us) {
  run->reason_code = cut(result.reason_code, 64);
  run->reason = cut(result.reason, 4096);
  run->exit_code = result.exit_code;
  run->signal = result.signal;
  run->log_bytes = std::max<std::int64_t>(0, result.log_bytes);
  if (options_.log_size) run->log_bytes = std::min(run->log_bytes, log_size(*run));
  run->outputs = result.outputs;
  run->output_files = std::max<std::int64_t>(0, result.output_files);
  run->output_bytes = std::max<std::int64_t>(0, result.output_bytes);
  // Ages are as old as the way here was long, which differs from report to report.
  run->ended_us = std::max(
      {run->created_us, run->started_us, now_us - std::max<std::int64_t>(0, result.ended_age_us)});
}

void State::finish_late(const RunPointer& run, const model::RunReport& report,
                        std::int64_t now_us) {
  take_events(run, report, true, now_us);
  touch(run);
  if (!report.result) return;
  std::string machine = run->machine;
  take_result(run, *report.result, now_us);
  if (run->reason_code.empty()) {
    run->reason_code = "late_result";
    run->reason = "its result came after machine " + machine + " had counted as lost";
  }
  note(run, now_us, "Machine " + machine + " is back and brings how the run ended", false, true,
       run->log_bytes);
  finish(run, report.result->status, now_us, run->log_bytes);
}

}  // namespace spell::service
