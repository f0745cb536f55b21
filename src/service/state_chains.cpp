// Chains in the state: a run that is interrupted goes on as another, which begins with its files.
//
// The successor is made in the transaction of the interruption, so a crash leaves both or none.
// What waits for a run waits for its chain, and what ends a run ends its chain. A chain is known by
// any of its runs.
#include <algorithm>

#include "base/clock.hpp"
#include "base/count.hpp"
#include "base/error.hpp"
#include "base/hash.hpp"
#include "base/id.hpp"
#include "base/text.hpp"
#include "model/status.hpp"
#include "service/chain.hpp"
#include "service/state.hpp"

namespace spell::service {

namespace {

using base::second_us;
constexpr std::int64_t longest_delay_us = 300 * second_us;

/// 1 s, 2 s, 4 s … for runs that are interrupted before they have saved anything new.
std::int64_t resume_delay_us(std::int64_t fruitless) {
  if (fruitless == 0) return 0;
  return std::min(second_us << std::min<std::int64_t>(fruitless - 1, 20), longest_delay_us);
}

}  // namespace

std::int64_t cost_in_chain(const RunRecord& run) {
  if (run.cost.billed_ms <= 0 || !run.cost.price) return 0;
  using base::hour_ms;
  auto nano = (model::units(*run.cost.price, run.cost.billed_ms) + hour_ms - 1) / hour_ms;
  return static_cast<std::int64_t>(std::min<model::Units>(nano, INT64_MAX / 4));
}

bool State::is_to_be_resumed(const RunRecord& run) const {
  if (!run.wanted.empty()) return false;
  if (run.request.auto_resume) return *run.request.auto_resume;
  auto type = types_.find({run.owner, waiting_of(run).machine_type});
  return type != types_.end() && type->second.auto_resume;
}

bool State::has_ended(const RunPointer& run) const {
  return model::is_final(run->status) &&
         std::find(interrupted_.begin(), interrupted_.end(), std::pair(run->owner, run->number)) ==
             interrupted_.end();
}

Result<RunPointer> State::end_of_chain(const std::string& owner, std::int64_t number) {
  return service::end_of_chain([&](std::int64_t of) { return find(owner, of); }, number);
}

Result<> State::resume_interrupted(std::int64_t now_us) {
  for (auto& [owner, number] : std::exchange(interrupted_, {})) {
    auto run = find(owner, number);
    if (!run && run.error().code() == "run_not_found") continue;  // removed since
    if (!run) return run.error();
    if ((*run)->status != "interrupted") continue;  // its end came late, but at once
    auto next = resume(*run, now_us);
    if (!next) return next.error();
    if (!*next) wake_dependents(*run, now_us);
  }
  return ok();
}

Result<RunPointer> State::resume(const RunPointer& run, std::int64_t now_us) {
  auto not_resumed = [&](const std::string& why) {
    note(run, now_us, "Auto-resume: it does not go on, for " + why, false, true, run->log_bytes);
    return RunPointer();
  };
  std::optional<store::WorkflowRecord> workflow;
  if (run->workflow != 0) {
    auto found = writer_.find_workflow(run->owner, run->workflow);
    if (!found) return found.error();
    workflow = std::move(*found);
    if (!workflow || workflow->status != "running")
      return not_resumed("workflow " + std::to_string(run->workflow) + " has ended, or is ending");
  }
  auto wants = wants_of(*run);
  if (!run->outputs.empty() && run->restored.empty()) wants.needs.emplace_back("restore");
  if (auto able = cluster_.check(wants, run->request.machine_type); !able)
    return not_resumed(able.error().message());
  auto number = last_number(run->owner);
  if (!number) return number.error();

  auto next = std::make_shared<RunRecord>();
  next->id = base::Id::make(now_us / 1000, base::random_bytes(16)).text();
  next->owner = run->owner;
  next->number = ++**number;
  next->creator = run->creator;
  next->created_us = now_us;
  next->request = run->request;
  next->mounts = run->mounts;
  next->project = run->project;
  next->labels = run->labels;
  next->identity = run->identity;
  next->workflow = run->workflow;
  next->name = run->name;
  next->manages = run->manages;
  next->version = 0;
  next->resumed_from = run->number;
  next->cost.chain_cost = run->cost.chain_cost + cost_in_chain(*run);
  // Its own from the start: whatever becomes of it, they are not lost.
  next->restored = next->outputs = run->outputs;
  next->output_files = run->output_files;
  next->output_bytes = run->output_bytes;
  bool in_vain = run->resumed_from != 0 && run->outputs == run->restored;
  next->fruitless = in_vain ? run->fruitless + 1 : 0;
  add(next);
  run->resumed_as = next->number;
  touch(run);

  std::string from = "run " + std::to_string(run->number), as = std::to_string(next->number);
  auto delay = resume_delay_us(next->fruitless);
  note(run, now_us,
       "Auto-resume: it goes on as run " + as +
           (delay > 0 ? ", in " + std::to_string(delay / second_us) + " s" : ""),
       false, true, run->log_bytes);
  auto type = waiting_of(*next).machine_type;
  note(next, now_us,
       "Run created -- waiting for a " + (type == "cpu" ? "CPU" : next->request.machine_type) +
           " machine.",
       true);
  note(next, now_us,
       "It goes on from " + from + ", which was interrupted, with " +
           (run->outputs.empty() ? "nothing, for nothing was saved"
                                 : base::count(run->output_files, "file") + " of it (" +
                                       base::format_size(run->output_bytes) + ")"),
       false, true);
  if (delay > 0) {
    next->not_before_us = now_us + delay;
    next->reason_code = "resume_delayed";
    next->reason = from + " was interrupted before it had saved anything new: waiting for " +
                   std::to_string(delay / second_us) + " s";
    note(next, now_us, next->reason, false, true);
  }
  if (workflow && workflow->run == run->number) {
    workflow->run = next->number;
    SPELL_TRY(writer_.put_workflow(*workflow));
  }
  if (auto waiting = dependents_.extract(run->id); !waiting.empty()) {
    waiting.key() = next->id;
    dependents_.insert(std::move(waiting));
  }
  if (auto raised = raised_.extract(run->id); !raised.empty()) {
    raised.key() = next->id;
    raised_.insert(std::move(raised));
  }
  enqueue(next);
  return next;
}

void State::release_delayed(std::int64_t now_us) {
  // Where the clock was set back nobody waits for what it said before.
  auto is_due = [&](std::int64_t at) { return at <= now_us || at > now_us + longest_delay_us; };
  while (!delayed_.empty() &&
         (is_due(delayed_.begin()->first) || is_due(delayed_.rbegin()->first))) {
    auto due = is_due(delayed_.begin()->first) ? delayed_.begin() : std::prev(delayed_.end());
    auto run = runs_.at(due->second);
    delayed_.erase(due);
    run->not_before_us = 0;
    run->reason_code.clear();
    run->reason.clear();
    touch(run);
    enqueue(run);
  }
}

Result<> State::bill_chain(const RunPointer& run, std::int64_t more) {
  if (more == 0) return ok();
  for (auto number = run->resumed_as; number != 0;) {
    auto next = find(run->owner, number);
    if (!next) return next.error();
    (*next)->cost.chain_cost += more;
    touch(*next);
    number = (*next)->resumed_as;
  }
  money_moved_ = true;
  return ok();
}

Result<> State::end_successors(const RunPointer& run, std::int64_t now_us) {
  for (auto number = run->resumed_as; number != 0;) {
    auto next = find(run->owner, number);
    if (!next) return next.error();
    number = (*next)->resumed_as;
    auto ended = end(*next, "stop", now_us, superseded,
                     "run " + std::to_string(run->number) + " has completed after all");
    if (!ended) return ended.error();
  }
  return ok();
}

Result<> State::leave_chain(const RunRecord& run) {
  auto other = [&](std::int64_t number) -> Result<RunPointer> {
    if (number == 0) return RunPointer();
    auto found = find(run.owner, number);
    return !found && found.error().code() == "run_not_found" ? Result<RunPointer>(RunPointer())
                                                             : found;
  };
  auto before = other(run.resumed_from);
  if (!before) return before.error();
  auto after = other(run.resumed_as);
  if (!after) return after.error();
  if (*before) {
    (*before)->resumed_as = run.resumed_as;
    touch(*before);
  }
  // The first keeps the number of what it began with.
  if (*after && run.resumed_from != 0) {
    (*after)->resumed_from = run.resumed_from;
    touch(*after);
  }
  return ok();
}

bool State::is_awaited(const std::string& owner, std::int64_t number) const {
  // What comes after a run comes after those that it went on as.
  std::set<std::int64_t> chain;
  while (number != 0 && chain.insert(number).second) {
    auto run = writer_.find_run(owner, number);
    number = run && *run ? (*run)->resumed_from : 0;
  }
  return std::any_of(runs_.begin(), runs_.end(), [&](auto& entry) {
    auto& [id, run] = entry;
    return run->owner == owner && !model::is_final(run->status) &&
           std::any_of(run->request.after.begin(), run->request.after.end(),
                       [&](auto after) { return chain.contains(after); });
  });
}

}  // namespace spell::service
