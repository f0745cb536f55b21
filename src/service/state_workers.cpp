// What workers say: that they are there, how their runs go on, how they end; and what follows when
// they say nothing.
#include <algorithm>

#include "base/count.hpp"
#include "base/error.hpp"
#include "base/text.hpp"
#include "model/error_code.hpp"
#include "model/status.hpp"
#include "service/state.hpp"

namespace spell::service {

namespace {

/// What a worker says is kept as long as it is of a sane length.
std::string cut(const std::string& text, std::size_t limit) {
  return text.size() <= limit ? text : model::one_line(text, limit);
}

}  // namespace

bool is_late(const RunRecord& run) {
  return run.status == "interrupted" &&
         (run.reason_code == "machine_lost" || run.reason_code == "service_restored");
}

Result<> State::hello(const std::string& id, const model::WorkerHello& hello,
                      const std::map<std::string, std::int64_t>& holds, std::int64_t now_us,
                      const std::optional<model::MachineNotice>& notice) {
  auto* found = find_by_id(id);
  if (!found) return no_such_machine(id);
  MachineState& machine = *found;
  bool news = !machine.connected;
  // It went, and is back.
  bool restarted = machine.record.going_us != 0 && !machine.record.drained && !notice &&
                   machine.record.phase != "ending" &&
                   (machine.record.going_us <= now_us ||
                    (machine.hello.boot_id != hello.boot_id && !machine.hello.boot_id.empty()));
  if (restarted) {
    machine.record.going_us = 0;
    machine.record.going.clear();
  }
  machine.hello = hello;
  machine.connected = true;
  if (news) {
    constexpr std::size_t most_gaps = 100;
    auto from = machine.away_us != 0 ? machine.away_us : alive_before_us_;
    if (from != 0 && from < now_us) machine.gaps.emplace_back(from, now_us);
    if (machine.gaps.size() > most_gaps) machine.gaps.erase(machine.gaps.begin());
    machine.away_us = 0;
  }
  machine.lost_us = 0;
  ++machine.session;
  if (!machine.embedded) {
    // What changes all the time is not worth a write.
    auto lasting = hello;
    lasting.disk_free = 0;
    auto text = model::to_json(lasting).dump();
    if (news || restarted || text != machine.record.hello) {
      machine.record.hello = std::move(text);
      machine.record.seen_us = now_us;
      SPELL_TRY(writer_.put_machine(machine.record));
    }
  }
  machine.commands.clear();
  constexpr std::int64_t about_us = 1'000'000;
  auto going = machine.record.going_us;
  bool knows = notice && going != 0 && now_us + notice->remaining_ms * 1000 < going + about_us;
  if ((going != 0 && !knows) || (going == 0 && notice && notice->kind == "asked"))
    order_notice(machine, now_us);
  for (auto& run : std::set(machine.late)) unassign(machine, run);
  machine.returned.clear();
  show(machine);
  {
    // What it does not hold any more costs nothing.
    std::set<std::string> held_here;
    for (auto& [run, epoch] : holds) held_here.insert(run);
    SPELL_TRY(let_go_of_lost(machine.record.name, held_here));
  }
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
      // Two of a chain are not to go on side by side; what this one has is still its own.
      if (auto next = (*record)->resumed_as; next != 0)
        order(machine, "stop", **record, "resumed", "it goes on as run " + std::to_string(next));
      else if (!(*record)->wanted.empty())
        order(machine, (*record)->wanted, **record, "user");
      else if ((*record)->request.exclusive)
        order(machine, "stop", **record, "lease_expired", "it had counted as lost (--exclusive)");
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
      note_backup(run, now_us);
      finish(run, "interrupted", now_us, run->log_bytes);
      continue;
    }
    if (held == holds.end()) {
      // Whoever was given it before, if anybody, must not write to it any more.
      ++run->epoch;
      run->taken = 0;
      SPELL_TRY(lease_anew(run, now_us));
      touch(run);
    }
    // A worker keeps no secrets on disk: one that was started anew before it had launched the run
    // needs them again.
    bool lacks_secrets = (!run->request.secrets.empty() || run->manages) && run->started_us == 0;
    if (held == holds.end() || lacks_secrets) SPELL_TRY(order_start(machine, *run, now_us));
    if (held != holds.end() && run->cost.allowed_ms >= 0) {
      SPELL_TRY(extend_if_due(run, now_us));
      order_allowance(*run);
    }
    if (!run->wanted.empty()) order(machine, run->wanted, *run, "user");
  }
  holds_moved_ = ungoverned_ = true;
  return ok();
}

void State::away(const std::string& id, std::int64_t session, std::int64_t now_us) {
  auto* machine = find_by_id(id);
  if (!machine || !machine->connected || machine->session != session) return;
  machine->connected = false;
  machine->away_us = machine->record.seen_us = now_us;
  show(*machine);
}

void State::lost(const std::string& id, std::int64_t now_us) {
  auto* machine = find_by_id(id);
  if (!machine) return;
  machine->connected = false;
  machine->lost_us = now_us;
  show(*machine);
  interrupt_runs(*machine, "machine_lost",
                 "machine " + machine->record.name + " has not been heard of for " +
                     std::to_string(lost_after(*machine)) + " s",
                 now_us);
}

void State::acknowledge(const std::string& id, std::int64_t seen) {
  auto* machine = find_by_id(id);
  if (!machine) return;
  auto& commands = machine->commands;
  while (!commands.empty() && commands.front().number <= seen) commands.pop_front();
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
      return finish_late(*run, report, now_us);
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
  if (report.backup && report.backup->outputs != run->outputs) run->cost.saved_us = now_us;
  if (report.backup) take_backup(run, *report.backup);
  if (report.result) {
    auto result = named(*run, *report.result, now_us);
    if (!result) return result.error();
    take_result(run, *result, now_us);
    finish(run, result->status, now_us, run->log_bytes);
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
    run->cost.said_us = std::max(run->cost.said_us, time);
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

/// The outputs of a run that goes on: whatever becomes of its machine, these are safe.
void State::take_backup(const RunPointer& run, const model::RunBackup& backup) {
  run->outputs = backup.outputs;
  run->output_files = std::max<std::int64_t>(0, backup.files);
  run->output_bytes = std::max<std::int64_t>(0, backup.bytes);
}

/// Says what is left of a run that is lost with its machine.
void State::note_backup(const RunPointer& run, std::int64_t now_us) {
  std::string text = "Nothing was backed up while it ran";
  if (!run->outputs.empty())
    text = "Backed up while it ran: " + base::count(run->output_files, "file") + ", " +
           base::format_size(run->output_bytes) + ", in runs/" + std::to_string(run->number);
  if (run->started_us > 0) note(run, now_us, text, false, true, log_size(*run));
}

void State::take_result(const RunPointer& run, const model::RunResult& result,
                        std::int64_t now_us) {
  run->reason_code = cut(result.reason_code, 64);
  run->reason = cut(result.reason, 4096);
  run->exit_code = result.exit_code;
  run->signal = result.signal;
  run->log_bytes = std::max<std::int64_t>(0, result.log_bytes);
  if (options_.log_size) run->log_bytes = std::min(run->log_bytes, log_size(*run));
  // One that was interrupted may have had no time to save: what was backed up is there.
  if (result.status != "interrupted" || !result.outputs.empty())
    take_backup(run, {result.outputs, result.output_files, result.output_bytes});
  // Ages are as old as the way here was long, which differs from report to report.
  run->ended_us = std::max(
      {run->created_us, run->started_us, now_us - std::max<std::int64_t>(0, result.ended_age_us)});
}

Result<> State::finish_late(const RunPointer& run, const model::RunReport& report,
                            std::int64_t now_us) {
  SPELL_TRY(resume_interrupted(now_us));
  take_events(run, report, true, now_us);
  if (report.backup) take_backup(run, *report.backup);
  touch(run);
  if (!report.result) return ok();
  std::string machine = run->machine;
  auto named_result = named(*run, *report.result, now_us);
  if (!named_result) return named_result.error();
  auto result = *named_result;
  // It counts as interrupted already.
  auto billed = cost_in_chain(*run);
  // What has gone on as another has no other end than that, unless it was a success.
  bool goes_on = run->resumed_as != 0 && !(result.status == "complete" && result.exit_code == 0);
  if (goes_on) {
    result.status = "interrupted";
    result.reason_code = "late_result";
    result.reason = "machine " + machine + " came back when run " +
                    std::to_string(run->resumed_as) + " had taken its place";
    result.exit_code.reset();
    result.signal.reset();
  }
  take_result(run, result, now_us);
  if (run->reason_code.empty()) {
    run->reason_code = "late_result";
    run->reason = "its result came after machine " + machine + " had counted as lost";
  }
  note(run, now_us, "Machine " + machine + " is back and brings how the run ended", false, true,
       run->log_bytes);
  finish(run, result.status, now_us, run->log_bytes);
  SPELL_TRY(bill_chain(run, cost_in_chain(*run) - billed));
  return run->resumed_as != 0 && !goes_on ? end_successors(run, now_us) : ok();
}

}  // namespace spell::service
