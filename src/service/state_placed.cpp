// Runs on machines: what they take there, and what their workers are to do.
#include <algorithm>

#include "base/error.hpp"
#include "model/mount.hpp"
#include "service/state.hpp"

namespace spell::service {

void State::assign(MachineState& machine, const RunRecord& run) {
  if (!machine.assigned.emplace(run.id, run.takes).second) return;
  cluster_.take(machine.record.name, run.takes);
  use(run, run.takes);
  changed_machines_.insert(machine.record.name);
}

bool State::unassign(MachineState& machine, const std::string& run) {
  auto found = machine.assigned.find(run);
  if (found == machine.assigned.end()) return false;
  cluster_.give_back(machine.record.name, found->second);
  use_no_more(run, found->second);
  machine.assigned.erase(found);
  machine.late.erase(run);
  if (late_.erase(run) > 0) changed_.insert(run);
  changed_machines_.insert(machine.record.name);
  look_ = true;
  return true;
}

Result<> State::put_on(const RunPointer& run, const sched::Placement& placed, std::int64_t now_us) {
  MachineState& machine = machines_.at(placed.machine);
  run->machine = placed.machine;
  run->takes = placed.takes;
  set_price(*run, machine, now_us);
  if (auto reserved = extend(run, now_us); !reserved) return reserved.error();
  // Why it had to wait.
  run->reason_code.clear();
  run->reason.clear();
  ++run->epoch;
  run->taken = 0;
  count(*run, 1);
  // The round has taken it already.
  use(*run, run->takes);
  machine.assigned.emplace(run->id, run->takes);
  note_use(machine, true, now_us);
  changed_machines_.insert(placed.machine);
  auto gpus = std::to_string(cluster_.find(placed.machine)->offers.gpus);
  if (!run->request.gpus && run->takes.gpus == 1 && gpus != "1")
    note(run, now_us, "1 of " + gpus + " GPUs (--gpu " + gpus + " for all)", false);
  touch(run);
  // Whoever had the run before can do nothing in its name any more.
  if (run->manages) SPELL_TRY(drop_credentials(run->id));
  return order_start(machine, *run, now_us);
}

Result<> State::order_start(MachineState& machine, const RunRecord& run, std::int64_t now_us) {
  auto command = start_command(run);
  command.start->allowance_ms = allowance_of(run);
  if (run.manages) SPELL_TRY(add_credentials(run, *command.start, now_us));
  order(machine, std::move(command));
  return ok();
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
                  const std::string& reason_code, const std::string& reason) {
  model::Command command;
  command.type = type;
  command.run = run.id;
  command.epoch = run.epoch;
  command.reason_code = reason_code;
  command.reason = reason;
  order(machine, std::move(command));
}

std::int64_t State::granted_log(const RunRecord& run) const {
  return log_limit(quota_of(quotas_, run.owner, run.creator), run.request.log_limit);
}

std::int64_t State::log_limit_of(const std::string& id) const {
  constexpr std::int64_t last_words = 32 << 20;  // twice what a supervisor lets through then
  if (auto* run = active_run(id))
    return (run->started_us == 0 ? granted_log(*run) : run->request.log_limit) + last_words;
  auto late = writer_.find_run(id);
  return late && *late ? (*late)->request.log_limit + last_words : 0;
}

model::Command State::start_command(const RunRecord& run) const {
  auto& view = *cluster_.find(run.machine);
  model::StartCommand start;
  start.run = run.id;
  start.epoch = run.epoch;
  start.number = run.number;
  start.owner = run.owner;
  start.machine = run.machine;
  start.places = view.ahead > 0 && !run.manages ? view.offers.cpus : 0;
  start.cpus = view.by_place ? run.request.cpus : run.takes.cpus;
  start.memory = run.takes.memory;
  start.gpus = run.takes.gpus;
  start.request = run.request;
  start.request.log_limit = granted_log(run);
  start.restore = run.restored;
  if (run.resumed_from != 0) start.env["SPELL_RESUMED_FROM"] = std::to_string(run.resumed_from);
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

}  // namespace spell::service
