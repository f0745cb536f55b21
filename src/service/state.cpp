#include "service/state.hpp"

#include <algorithm>
#include <cstdio>

#include "base/error.hpp"
#include "base/hash.hpp"
#include "base/id.hpp"
#include "base/text.hpp"
#include "model/mount.hpp"
#include "model/status.hpp"

namespace spell::service {

namespace {

std::string shown_type(const std::string& type) {
  return type.empty() || base::lower(type) == "cpu" ? "CPU" : type;
}

/// What makes two runs the same for --idempotent: all but words for people.
/// What a run has saved stays what it is; an upload is known by its content.
std::string identity_of(const model::RunRequest& request,
                        const std::vector<model::ResolvedMount>& mounts) {
  model::RunRequest same = request;
  same.mounts.clear();
  for (auto& mount : mounts) {
    // Of a chain that may be another run's next time.
    auto of = model::run_outputs(mount.resource);
    bool lasting = (of && !(of->of_chain && mount.run == 0)) || mount.type == "machine";
    same.mounts.push_back({lasting
                               ? mount.resource
                               : mount.type + " " + mount.node + " " + std::to_string(mount.mode),
                           mount.at});
  }
  same.description.clear();
  same.labels.clear();
  same.project.clear();
  same.idempotent = false;
  same.auto_resume.reset();
  same.exclusive = false;
  same.max_cost.reset();
  same.priority.clear();
  if (same.code) same.code->message.clear();
  return model::request_hash(same);
}

/// One that goes on: that it ends in time is what was asked for.
bool costs_no_more(const RunRecord& run, const model::RunRequest& asked) {
  return !asked.max_cost ||
         (run.request.max_cost && run.request.max_cost->nano <= asked.max_cost->nano);
}

std::string seconds(std::int64_t us) {
  char text[32];
  std::snprintf(text, sizeof text, "%.6fs", static_cast<double>(us) / 1e6);
  return text;
}

/// What this run has saved; whether there is anything below it is seen when it is mounted.
Result<> take_outputs(model::ResolvedMount& mount, const RunRecord& run) {
  if (run.outputs.empty())
    return model::not_mountable(mount.resource,
                                "run " + std::to_string(run.number) + " saved no files");
  mount.type = "folder";
  mount.node = run.outputs;
  mount.size = run.output_bytes;
  mount.files = run.output_files;
  mount.mode = 0755;
  mount.modified_us = run.ended_us;
  mount.run = 0;
  return ok();
}

Error no_such_run(const std::string& owner, std::int64_t number) {
  return base::error("run_not_found", "there is no run " + std::to_string(number) + " of " + owner +
                                          "; `spell ps` lists them");
}

}  // namespace

Error no_such_secret(const std::string& user, const std::string& name) {
  return base::error("secret_not_found", user + " has no secret '" + name +
                                             "'; `spell secret set " + name + "` makes it");
}

std::string stored_key(const Submission& s) {
  // No key of a user's own is like it: a header holds no such character.
  if (s.request.workflow == 0 || s.key.empty()) return s.key;
  return std::to_string(s.request.workflow) + '\x01' + s.key;
}

std::vector<std::int64_t> waits_for(const RunRecord& run) {
  std::vector<std::int64_t> numbers;
  if (run.resumed_from == 0) numbers = run.request.after;  // else they had ended well
  if (auto mounts = model::read_mounts(run.mounts))
    for (auto& mount : *mounts)
      if (mount.run != 0) numbers.push_back(mount.run);
  return numbers;
}

sched::Waiting waiting_of(const RunRecord& run) {
  auto& asked = run.request;
  std::vector<std::string> needs;
  if (asked.exclusive) needs.emplace_back("exclusive");
  if (asked.max_cost) needs.emplace_back("allowance");
  if (!run.restored.empty()) needs.emplace_back("restore");
  if (asked.has_environment()) needs.emplace_back("environments");
  std::vector<sched::Want> wants;
  if (asked.build) wants.push_back(sched::Want::program);
  if (!asked.image.empty()) wants.push_back(sched::Want::image);
  // Those of an image have nothing to do with what the machine has.
  if (!asked.apt.empty() && asked.image.empty()) wants.push_back(sched::Want::packages);
  if (!asked.conda_file.empty() && asked.image.empty()) wants.push_back(sched::Want::conda);
  return {run.id,           asked.machine_type.empty() ? "cpu" : base::lower(asked.machine_type),
          run.owner,        run.creator,
          run.project,      {asked.cpus, asked.memory, asked.gpus, asked.gpu_name},
          run.manages,      run.nested(),
          std::move(needs), std::move(wants)};
}

Result<> State::load() {
  runs_.clear();
  numbers_.clear();
  queue_.clear();
  queued_.clear();
  asleep_ = 0;
  settled_.clear();
  raised_.clear();
  running_.clear();
  running_of_.clear();
  users_.clear();
  dependents_.clear();
  dirty_.clear();
  inserted_.clear();
  changed_.clear();
  ended_.clear();
  events_.clear();
  interrupted_.clear();
  delayed_.clear();
  ended_managers_.clear();
  last_numbers_.clear();
  new_numbers_.clear();
  bills_.clear();
  cost_numbers_.clear();
  unpriced_.clear();
  noted_unpriced_.clear();
  unfunded_.clear();
  holds_.clear();
  look_ = money_moved_ = holds_moved_ = ungoverned_ = true;
  SPELL_TRY(load_machines());
  if (alive_us_ == 0) {  // else of this process
    auto alive = writer_.note(costs_alive_note);
    if (!alive) return alive.error();
    alive_before_us_ = *alive;
  }
  SPELL_TRY(load_quotas());
  SPELL_TRY(load_budgets());
  std::vector<RunPointer> active;
  SPELL_TRY(writer_.each_active_run([&](RunRecord record) {
    if (runs_.size() >= options_.awake && may_sleep(record)) {
      queue_up(record);
      ++asleep_;
      return;
    }
    auto run = std::make_shared<RunRecord>(std::move(record));
    runs_[run->id] = run;
    numbers_[{run->owner, run->number}] = run;
    active.push_back(std::move(run));
  }));
  for (auto& run : active) {
    if (run->machine.empty())
      enqueue(run);
    else if (auto machine = machines_.find(run->machine); machine != machines_.end())
      assign(machine->second, *run);
    else if (auto own = std::find_if(machines_.begin(), machines_.end(),
                                     [](auto& entry) { return entry.second.embedded; });
             own != machines_.end()) {
      // Runs go with the machines that are renamed, and end with those that are removed: this one
      // is on this computer, which had another name when the service ran before.
      run->machine = own->first;
      SPELL_TRY(writer_.update_run(*run));
      assign(own->second, *run);
    }
    if (!run->machine.empty()) count(*run, 1);
    if (run->cost.allowed_ms >= 0) set_hold(run->id, hold_of(*run));
  }
  return ok();
}

Result<> State::load_quotas() {
  auto records = writer_.quotas();
  if (!records) return records.error();
  quotas_ = to_quotas(*records);
  look_ = true;
  return ok();
}

std::int64_t State::log_size(const RunRecord& run) const {
  return options_.log_size ? options_.log_size(run.id) : 0;
}

Result<RunPointer> State::find(const std::string& owner, std::int64_t number) {
  if (auto found = numbers_.find({owner, number}); found != numbers_.end()) return found->second;
  auto record = writer_.find_run(owner, number);
  if (!record) return record.error();
  if (!*record) return no_such_run(owner, number);
  auto run = std::make_shared<RunRecord>(std::move(**record));
  runs_[run->id] = run;
  numbers_[{owner, number}] = run;
  dirty_[run->id] = run;  // it is dropped from memory again
  if (queued_.contains({owner, number})) --asleep_;
  return run;
}

void State::touch(const RunPointer& run) {
  if (changed_.insert(run->id).second) ++run->version;
  dirty_[run->id] = run;
}

void State::note(const RunPointer& run, std::int64_t time_us, const std::string& text, bool step,
                 bool important, std::int64_t log_offset) {
  store::Event event;
  event.number = ++run->entries;
  event.time_us = time_us;
  event.status = run->status;
  event.text = text;
  event.step = step;
  event.important = important;
  event.log_offset = std::max<std::int64_t>(0, log_offset);
  events_.emplace_back(run->id, std::move(event));
  touch(run);
}

std::string State::key_difference(const RunRecord& existing,
                                  const model::RunRequest& request) const {
  auto before = model::to_json(existing.request), after = model::to_json(request);
  if (request.priority.empty()) before.erase("priority");  // it has its workflow's
  for (auto& [name, value] : after.items())
    if (!before.contains(name) || before[name] != value) return name;
  for (auto& [name, value] : before.items())
    if (!after.contains(name)) return name;
  return {};
}

Result<Submitted> State::submit(const Submission& s, std::int64_t now_us) {
  std::string key_here = stored_key(s);
  if (!s.key.empty()) {
    auto key = writer_.find_key(s.owner, key_here);
    if (!key) return key.error();
    if (*key) {
      auto found = runs_.find((*key)->run);
      Result<std::optional<RunRecord>> record =
          found != runs_.end() ? std::optional(*found->second) : writer_.find_run((*key)->run);
      if (!record) return record.error();
      if (!*record)
        return base::error("run_not_found", "the run that was made with key '" + s.key +
                                                "' has been removed; use another key");
      if ((*key)->body_hash != s.body_hash)
        if (auto field = key_difference(**record, s.request); !field.empty())
          return base::error("key_conflict", "key '" + s.key + "' belongs to run " +
                                                 std::to_string((*record)->number) +
                                                 ", which differs in '" + field +
                                                 "'; use another key");
      auto last = end_of_chain(s.owner, (*record)->number);
      if (!last) return last.error();
      return Submitted{**last, true};
    }
  }
  SPELL_TRY(check_workflow(s));
  std::string identity = identity_of(s.request, s.mounts);
  if (s.request.idempotent) {
    for (auto& [id, run] : runs_)
      if (run->owner == s.owner && run->identity == identity && !model::is_final(run->status) &&
          costs_no_more(*run, s.request))
        return Submitted{*run, true};
    auto same = writer_.find_same(s.owner, identity);
    if (!same) return same.error();
    if (*same && (model::is_final((*same)->status) || costs_no_more(**same, s.request)))
      return Submitted{**same, true};
  }
  if (!s.request.project.empty()) {
    auto project = writer_.find_project(s.owner, s.request.project);
    if (!project) return project.error();
    if (!*project)
      return base::error("project_not_found", "there is no project '" + s.request.project +
                                                  "'; `spell project create " + s.request.project +
                                                  "` makes it");
  }
  for (auto& [variable, name] : s.request.secrets) {
    auto secret = writer_.find_secret(s.owner, s.creator, name);
    if (!secret) return secret.error();
    if (!*secret) return no_such_secret(s.creator, name);
  }
  RunRecord asked;
  asked.owner = s.owner;
  asked.creator = s.creator;
  asked.project = s.request.project;
  asked.request = s.request;
  asked.manages = s.manages;
  if (s.request.workflow != 0) asked.name = s.key;
  asked.workflow = s.request.workflow;
  if (auto able = cluster_.check(wants_of(asked), s.request.machine_type); !able)
    return able.error();
  SPELL_TRY(check_max_cost(asked, s.request.machine_type));
  SPELL_TRY(check_budgets(asked, s.request.machine_type, now_us));
  std::vector<RunPointer> before;
  for (auto number : s.request.after) {
    auto other = end_of_chain(s.owner, number);
    if (!other) return other.error();
    if (has_ended(*other) && !((*other)->status == "complete" && (*other)->exit_code == 0))
      return base::error("dependency_failed",
                         "run " + std::to_string(number) +
                             " has not ended with exit code 0, so nothing can start after it");
    before.push_back(*other);
  }

  // One that has ended meanwhile is taken as it is, as if it had ended before.
  auto mounts = s.mounts;
  for (auto& mount : mounts) {
    if (mount.run == 0) continue;
    auto other = end_of_chain(s.owner, mount.run);
    if (!other) return other.error();
    if (has_ended(*other))
      if (auto taken = take_outputs(mount, **other); !taken) return taken.error();
  }

  auto number = last_number(s.owner);
  if (!number) return number.error();
  auto run = std::make_shared<RunRecord>();
  run->id = base::Id::make(now_us / 1000, base::random_bytes(16)).text();
  run->owner = s.owner;
  run->number = ++**number;
  run->creator = s.creator;
  run->created_us = now_us;
  run->request = s.request;
  if (run->request.priority.empty() && s.request.workflow != 0) {
    auto workflow = find_workflow(s.owner, s.request.workflow);
    if (!workflow) return workflow.error();
    if (workflow->run != 0)
      if (auto manager = find(s.owner, workflow->run))
        run->request.priority = (*manager)->request.priority;
  }
  run->mounts = model::write_mounts(mounts);
  run->project = s.request.project;
  run->labels = store::join_labels(s.request.labels);
  run->identity = identity;
  run->workflow = s.request.workflow;
  run->name = asked.name;
  run->manages = s.manages;
  run->version = 0;
  add(run);
  note(run, now_us,
       "Run created -- waiting for a " + shown_type(s.request.machine_type) + " machine.", true);
  for (auto& mount : mounts) {
    auto of = model::run_outputs(mount.resource);
    if (!of || of->of_chain) continue;
    auto meant = find(s.owner, of->run);
    if (!meant || (*meant)->status != "interrupted" || (*meant)->resumed_as == 0) continue;
    auto name = std::to_string(of->run);
    note(run, now_us,
         "It mounts what run " + name + " has saved, which was interrupted and went on as run " +
             std::to_string((*meant)->resumed_as) + "; runs/" + name +
             "+ means what its chain ends with",
         false, true);
  }
  if (!s.key.empty()) SPELL_TRY(writer_.put_key(s.owner, key_here, {run->id, s.body_hash, now_us}));
  if (s.request.code)
    SPELL_TRY(writer_.use_repository(s.owner, s.request.code->workspace, s.request.code->repository,
                                     now_us));
  enqueue(run);
  return Submitted{*run, false};
}

void State::add(const RunPointer& run) {
  new_numbers_.insert(run->owner);
  inserted_.insert(run->id);
  runs_[run->id] = run;
  numbers_[{run->owner, run->number}] = run;
}

void State::enqueue(const RunPointer& run) {
  if (run->not_before_us != 0) {
    delayed_.emplace(run->not_before_us, run->id);
    return;
  }
  bool waits = false;
  for (auto number : waits_for(*run)) {
    auto other = end_of_chain(run->owner, number);
    if (!other || has_ended(*other)) continue;
    // Looked at again when that one has ended.
    if (!std::exchange(waits, true)) dependents_[(*other)->id].insert(run->id);
    raise(*other, priority_of(*run));
  }
  if (!waits) queue_up(*run);
}

void State::leave_queue(const RunPointer& run) {
  take_out({run->owner, run->number});
  unfunded_.erase(order_of(*run));
  if (!run->request.after.empty() || model::mounts_anything(run->request))
    for (auto& [id, waiting] : dependents_) waiting.erase(run->id);
  delayed_.erase({run->not_before_us, run->id});
}

Result<bool> State::dependencies_met(const RunPointer& run, std::int64_t now_us) {
  for (auto number : waits_for(*run)) {
    auto other = end_of_chain(run->owner, number);
    if (!other && other.error().code() != "run_not_found") return other.error();
    if (other && !has_ended(*other)) return false;
    if (other && (*other)->status == "complete" && (*other)->exit_code == 0) continue;
    run->reason_code = "dependency_failed";
    run->reason =
        "run " + std::to_string(number) + (other ? " ended without success" : " has been removed");
    finish(run, "failed", now_us, 0);
    return false;
  }
  return resolve_mounts(run, now_us);
}

/// Gives a run what the runs have saved that it waited for. From then on it has it, whatever
/// becomes of them. False: the run has ended.
Result<bool> State::resolve_mounts(const RunPointer& run, std::int64_t now_us) {
  auto mounts = model::read_mounts(run->mounts);
  if (!mounts) return mounts.error();
  bool changed = false;
  for (auto& mount : *mounts) {
    if (mount.run == 0) continue;
    changed = true;
    auto other = end_of_chain(run->owner, mount.run);
    if (!other) return other.error();
    if (auto taken = take_outputs(mount, **other); !taken) {
      run->reason_code = "mount_failed";
      run->reason = taken.error().message();
      finish(run, "mount_failed", now_us, 0);
      return false;
    }
  }
  if (changed) {
    run->mounts = model::write_mounts(*mounts);
    touch(run);
  }
  return true;
}

Result<RunRecord> State::end(const std::string& owner, std::int64_t number, const std::string& how,
                             std::int64_t now_us) {
  SPELL_TRY(resume_interrupted(now_us));
  auto found = find(owner, number);
  if (!found) return found.error();
  if (auto& run = **found; late_.contains(run.id)) {
    order(machines_.at(run.machine), how, run, "user");
  } else if (is_late(run) && run.wanted != "kill") {
    // Told to its machine when that is back.
    run.wanted = how;
    touch(*found);
  }
  // A chain is ended where it is now.
  found = end_of_chain(owner, number);
  if (!found) return found.error();
  return end(*found, how, now_us);
}

Result<RunRecord> State::end(const RunPointer& run, const std::string& how, std::int64_t now_us,
                             const std::string& reason_code, const std::string& reason) {
  if (model::is_final(run->status)) return *run;
  if (run->machine.empty() || !machines_.contains(run->machine)) {
    leave_queue(run);
    run->reason_code = reason_code == "user" ? "killed_by_user" : reason_code;
    run->reason = !reason.empty() ? reason
                  : run->machine.empty()
                      ? "ended before it was started"
                      : "the service works without a worker of its own now, which had it";
    if (!run->machine.empty()) run->log_bytes = log_size(*run);
    finish(run, "killed", now_us, run->log_bytes);
    return *run;
  }
  if (run->wanted == "kill" || run->wanted == how) return *run;
  // A run whose command has not begun has nothing to save.
  run->wanted = run->started_us == 0 ? "kill" : how;
  if (std::string status = run->wanted == "kill" ? "killing" : "stopping";
      model::may_follow(run->status, status)) {
    run->status = status;
    note(run, now_us, run->wanted == "kill" ? "Killing the run" : "Stopping the run", true, false,
         log_size(*run));
  }
  touch(run);
  order(machines_.at(run->machine), run->wanted, *run, reason_code, reason);
  return *run;
}

Result<RunRecord> State::archive(const std::string& owner, std::int64_t number, bool archived) {
  auto run = find(owner, number);
  if (!run) return run.error();
  if (!model::is_final((*run)->status))
    return base::error("run_not_final", "run " + std::to_string(number) +
                                            " has not ended; `spell stop " +
                                            std::to_string(number) + "` ends it");
  if ((*run)->archived != archived) {
    (*run)->archived = archived;
    touch(*run);
  }
  return **run;
}

Result<RunRecord> State::label(const std::string& owner, std::int64_t number,
                               const std::vector<std::string>& add,
                               const std::vector<std::string>& remove) {
  auto run = find(owner, number);
  if (!run) return run.error();
  auto labels = store::split_labels((*run)->labels);
  for (auto& name : remove)
    labels.erase(std::remove(labels.begin(), labels.end(), name), labels.end());
  for (auto& name : add)
    if (std::find(labels.begin(), labels.end(), name) == labels.end()) labels.push_back(name);
  if (labels.size() > 50) return base::error("invalid_request", "a run has at most 50 labels");
  if (auto joined = store::join_labels(labels); joined != (*run)->labels) {
    (*run)->labels = joined;
    touch(*run);
  }
  return **run;
}

Result<RunRecord> State::find_run(const std::string& owner, std::int64_t number) {
  auto run = find(owner, number);
  if (!run) return run.error();
  return **run;
}

Result<RunRecord> State::remove(const std::string& owner, std::int64_t number) {
  auto found = find(owner, number);
  if (!found) return found.error();
  RunRecord run = **found;
  if (!model::is_final(run.status))
    return base::error("run_not_final", "run " + std::to_string(number) +
                                            " has not ended; `spell kill " +
                                            std::to_string(number) + "` ends it");
  SPELL_TRY(let_go_of(run.id));
  SPELL_TRY(leave_chain(run));
  SPELL_TRY(flush());  // its row may still be on the way
  SPELL_TRY(writer_.delete_run(run.id));
  runs_.erase(run.id);
  numbers_.erase({owner, number});
  changed_.insert(run.id);
  ended_.push_back({owner, number, run.workflow});
  return run;
}

void State::finish(const RunPointer& run, const std::string& status, std::int64_t now_us,
                   std::int64_t log_offset) {
  bool late = model::is_final(run->status);  // its end was told before
  bool goes_on = status == "interrupted" && !late && is_to_be_resumed(*run);
  if (!late) ended_.push_back({run->owner, run->number, run->workflow});
  run->status = status;
  if (!is_late(*run)) run->wanted.clear();  // else it is told to the machine when that is back
  if (!run->machine.empty() && !late) count(*run, -1);
  if (run->manages) ended_managers_.push_back(run);
  if (run->ended_us == 0) run->ended_us = now_us;
  auto until_us = billed_until(*run, late, now_us);
  bill(*run, until_us);
  settle(run);
  std::string number = std::to_string(run->number);
  if (auto& cost = run->cost; cost.allowed_ms >= 0 && cost.allowed_ms == cost.billed_ms)
    if (auto over = until_us - cost.leased_us - cost.allowed_ms * 1000; over >= 1'000'000)
      note(run, now_us,
           "Its end took " + seconds(over) +
               " more than was reserved for it: that is not billed to it",
           false, true, log_offset);
  if (run->placed_us > 0)
    note(run, now_us,
         "Total run time: " + seconds(std::max<std::int64_t>(0, run->ended_us - run->placed_us)),
         true, false, log_offset);
  std::string text = "Run " + number + " " + status;
  std::replace(text.begin(), text.end(), '_', ' ');
  if (status != "complete" && !run->reason.empty()) text += ": " + run->reason;
  note(run, now_us, text, true, true, log_offset);
  leave_machine(run);
  if (goes_on) {
    interrupted_.emplace_back(run->owner, run->number);
  } else {
    raised_.erase(run->id);
    wake_dependents(run, now_us);
  }
}

void State::wake_dependents(const RunPointer& run, std::int64_t now_us) {
  auto waiting = dependents_.extract(run->id);
  if (waiting.empty()) return;
  for (auto& id : waiting.mapped())
    if (auto other = runs_.find(id); other != runs_.end()) {
      auto met = dependencies_met(other->second, now_us);
      if ((met && *met) || !model::is_final(other->second->status)) enqueue(other->second);
    }
}

Result<> State::heard_of_numbers(const std::string& machine_id,
                                 const std::map<std::string, std::int64_t>& numbers) {
  constexpr std::int64_t belief = 1'000'000;  // runs between a backup and its restore
  auto* machine = machine_by_id(machine_id);
  for (auto& [owner, number] : numbers) {
    // Of others' runs it cannot have heard.
    if (!machine || !is_of(*machine, owner)) continue;
    auto last = last_number(owner);
    if (!last) return last.error();
    if (**last == 0 || number <= **last || number > **last + belief) continue;
    **last = number;
    new_numbers_.insert(owner);
  }
  return ok();
}

Result<std::int64_t*> State::last_number(const std::string& owner) {
  auto known = last_numbers_.find(owner);
  if (known == last_numbers_.end()) {
    auto last = writer_.last_number(owner);
    if (!last) return last.error();
    known = last_numbers_.emplace(owner, *last).first;
  }
  return &known->second;
}

Result<> State::schedule(std::int64_t now_us) {
  SPELL_TRY(see_to_budgets(now_us));
  SPELL_TRY(place_waiting(now_us));
  SPELL_TRY(see_to_pools(now_us));
  SPELL_TRY(place_waiting(now_us));  // of machines that went
  SPELL_TRY(see_to_budgets(now_us));
  SPELL_TRY(note_alive(now_us));
  return look_ ? place_waiting(now_us) : ok();
}

Result<> State::place_waiting(std::int64_t now_us) {
  SPELL_TRY(resume_interrupted(now_us));  // first: a workflow goes on with its managing run
  SPELL_TRY(end_managed(now_us));
  release_delayed(now_us);
  if (!std::exchange(look_, false)) return ok();
  SPELL_TRY(look_at_queue(now_us));
  SPELL_TRY(end_managed(now_us));
  // What ended because of what it was to come after may have let others in.
  return look_ ? place_waiting(now_us) : ok();
}

namespace {
/// What a run was to build of its environment, and has not, is the next one's to build.
Result<> give_up_layers(store::Writer& writer, const RunRecord& run) {
  if (run.status == "complete" || !run.request.has_environment()) return ok();
  auto layers = writer.layers(run.owner);
  if (!layers) return layers.error();
  for (auto& layer : *layers) {
    if (layer.builder != run.id) continue;
    layer.builder.clear();
    layer.builder_epoch = 0;
    SPELL_TRY(layer.node.empty() ? writer.delete_layer(layer.owner, layer.name)
                                 : writer.put_layer(layer));
  }
  return ok();
}
}  // namespace

Result<> State::flush() {
  for (auto& owner : new_numbers_) SPELL_TRY(writer_.set_last_number(owner, last_numbers_[owner]));
  new_numbers_.clear();
  for (auto& [id, run] : dirty_) {
    if (inserted_.contains(id))
      SPELL_TRY(writer_.insert_run(*run));
    else if (changed_.contains(id))
      SPELL_TRY(writer_.update_run(*run));
  }
  for (auto& [run, event] : events_) SPELL_TRY(writer_.add_event(run, event));
  SPELL_TRY(flush_costs());
  for (auto& [id, run] : dirty_) {
    if (!model::is_final(run->status)) {
      settled_.push_back(run);
      continue;
    }
    SPELL_TRY(give_up_layers(writer_, *run));
    numbers_.erase({run->owner, run->number});
    runs_.erase(id);
  }
  dirty_.clear();
  inserted_.clear();
  events_.clear();
  return ok();
}

void State::committed() {
  for (auto& name : changed_machines_)
    if (auto machine = machines_.find(name); machine != machines_.end())
      machine->second.durable_command = machine->second.last_command;
  for (auto& run : std::exchange(settled_, {})) {
    if (runs_.size() <= options_.awake) continue;
    if (!queued_.contains({run->owner, run->number}) || !may_sleep(*run)) continue;
    asleep_ += numbers_.erase({run->owner, run->number});
    runs_.erase(run->id);
  }
}

void State::announce_all() {
  for (auto& [id, run] : runs_) changed_.insert(id);
}

std::vector<std::string> State::take_changed() {
  std::vector<std::string> ids(changed_.begin(), changed_.end());
  changed_.clear();
  return ids;
}

}  // namespace spell::service
