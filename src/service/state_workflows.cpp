// Workflows in the state: which runs are theirs, what ends them, and the credentials of the runs
// that manage them.
#include <algorithm>

#include "base/error.hpp"
#include "base/hash.hpp"
#include "base/id.hpp"
#include "model/status.hpp"
#include "model/workflow_request.hpp"
#include "service/caller.hpp"
#include "service/resource_path.hpp"
#include "service/state.hpp"

namespace spell::service {

namespace {

/// They take nothing of a machine that is counted, so something else has to bound them.
constexpr std::int64_t most_nested = 50;

std::string shown_name(const store::WorkflowRecord& workflow) {
  return "workflow " + std::to_string(workflow.number);
}

Error workflow_ended(const store::WorkflowRecord& workflow) {
  bool ending = workflow.ended_us == 0;
  return base::error("workflow_ended", shown_name(workflow) + (ending ? " is " : " has ended: ") +
                                           workflow.status + "; no more runs can be made in it");
}

}  // namespace

Error no_such_workflow(const std::string& owner, std::int64_t number) {
  return base::error("workflow_not_found", "there is no workflow " + std::to_string(number) +
                                               " of " + owner +
                                               "; `spell workflow list` shows them");
}

Result<> to_commit_of_label(const store::WorkflowRecord& workflow, model::RunRequest& request) {
  if (!request.code || request.code->label.empty()) return ok();
  auto commits = model::parse_commits(workflow.commits);
  if (!commits) return commits.error();
  auto found = commits->find(request.code->label);
  if (found != commits->end()) {
    request.code = found->second;
    return ok();
  }
  std::string known;
  for (auto& [label, code] : *commits) known += (known.empty() ? "" : ", ") + label;
  return base::error(
      "unknown_commit_label",
      shown_name(workflow) + " has no commit with the label '" + request.code->label + "'; " +
          (known.empty() ? "it has none; --repo LABEL=PATH gives it one" : "it has: " + known));
}

namespace {

std::string commits_text(const std::map<std::string, model::CodeRef>& commits) {
  return commits.empty() ? "" : model::to_json(commits).dump();
}

/// What is submitted as a managing run of a workflow.
Result<Submission> manager_of(const store::WorkflowRecord& workflow, const NewWorkflow& asked) {
  Submission out = *asked.run;
  out.request.workflow = workflow.number;
  out.manages = true;
  if (asked.within == 0) out.key.clear();
  SPELL_TRY(to_commit_of_label(workflow, out.request));
  auto mount = out.mounts.size() - asked.uploads.size();
  for (auto& upload : asked.uploads) {
    out.mounts[mount].resource = out.request.mounts[mount].resource =
        "uploads/" + workflow_upload(workflow.number, upload.name);
    ++mount;
  }
  return out;
}

}  // namespace

Result<store::WorkflowRecord> State::find_workflow(const std::string& owner, std::int64_t number) {
  auto found = writer_.find_workflow(owner, number);
  if (!found) return found.error();
  if (!*found) return no_such_workflow(owner, number);
  return std::move(**found);
}

Result<> State::check_workflow(const Submission& s) {
  if (s.request.workflow == 0) return ok();
  auto workflow = find_workflow(s.owner, s.request.workflow);
  if (!workflow) return workflow.error();
  if (workflow->status != "running") return workflow_ended(*workflow);
  return ok();
}

Result<MadeWorkflow> State::create_workflow(const NewWorkflow& asked, std::int64_t now_us) {
  if (!asked.key.empty() && asked.within == 0) {
    auto known = writer_.find_workflow_of_key(asked.owner, asked.key);
    if (!known) return known.error();
    if (*known) {
      if ((*known)->body_hash != asked.body_hash) {
        auto field = workflow_difference(**known, asked);
        if (!field) return field.error();
        if (!field->empty())
          return base::error("key_conflict", "key '" + asked.key + "' belongs to " +
                                                 shown_name(**known) + ", which differs in '" +
                                                 *field + "'; use another key");
      }
      MadeWorkflow made{std::move(**known), {}, true};
      if (made.workflow.run != 0) {
        auto run = find(asked.owner, made.workflow.run);
        if (run) made.run = **run;
        if (!run && run.error().code() != "run_not_found") return run.error();
      }
      return made;
    }
  }
  if (asked.within != 0) {
    auto workflow = find_workflow(asked.owner, asked.within);
    if (!workflow) return workflow.error();
    return add_manager(std::move(*workflow), asked, now_us);
  }
  auto number = writer_.next_workflow_number(asked.owner);
  if (!number) return number.error();
  store::WorkflowRecord workflow;
  workflow.id = base::Id::make(now_us / 1000, base::random_bytes(16)).text();
  workflow.owner = asked.owner;
  workflow.number = *number;
  workflow.description = asked.description;
  workflow.creator = asked.creator;
  workflow.commits = commits_text(asked.commits);
  workflow.key = asked.key;
  workflow.body_hash = asked.body_hash;
  workflow.created_us = now_us;
  SPELL_TRY(writer_.put_workflow(workflow));
  auto made = add_manager(workflow, asked, now_us);
  if (!made) {  // nothing is left of it but a number that nobody gets
    SPELL_TRY(writer_.delete_workflow(workflow.owner, workflow.number));
    return made;
  }
  for (auto& [label, code] : asked.commits)
    SPELL_TRY(writer_.use_repository(asked.owner, code.workspace, code.repository, now_us));
  return made;
}

Result<> State::check_nesting(const store::WorkflowRecord& workflow, const std::string& key) {
  auto known = writer_.find_key(workflow.owner, key);
  if (!known) return known.error();
  if (*known) return ok();
  auto nested = std::count_if(runs_.begin(), runs_.end(), [&](auto& entry) {
    auto& run = *entry.second;
    return run.nested() && run.owner == workflow.owner && run.workflow == workflow.number &&
           !model::is_final(run.status);
  });
  if (nested < most_nested) return ok();
  return base::error("quota_exceeded", shown_name(workflow) + " has " + std::to_string(nested) +
                                           " managing runs that have not ended, started by its "
                                           "own: no more are made until one has");
}

Result<std::string> State::workflow_difference(const store::WorkflowRecord& existing,
                                               const NewWorkflow& asked) {
  if (existing.description != asked.description) return std::string("description");
  if (existing.commits != commits_text(asked.commits)) return std::string("commits");
  if ((existing.run != 0) != asked.run.has_value()) return std::string("run");
  if (!asked.run) return std::string();
  for (auto& upload : asked.uploads) {
    auto name = workflow_upload(existing.number, upload.name);
    auto known = writer_.find_upload(asked.owner, name);
    if (!known) return known.error();
    if (!*known || (*known)->node != upload.node || (*known)->mode != upload.mode)
      return std::string(asked.run->request.build ? "build" : "program");
  }
  auto run = find(asked.owner, existing.run);
  if (!run && run.error().code() == "run_not_found") return std::string("run");
  if (!run) return run.error();
  auto submission = manager_of(existing, asked);
  if (!submission) return submission.error();
  auto field = key_difference(**run, submission->request);
  return field.empty() || field == "build" ? field : "run." + field;
}

Result<MadeWorkflow> State::add_manager(store::WorkflowRecord workflow, const NewWorkflow& asked,
                                        std::int64_t now_us) {
  MadeWorkflow made{std::move(workflow), {}, false};
  if (!asked.run) return made;
  auto number = made.workflow.number;
  auto submission = manager_of(made.workflow, asked);
  if (!submission) return submission.error();
  if (asked.within != 0) SPELL_TRY(check_nesting(made.workflow, stored_key(*submission)));
  auto uploads = asked.uploads;
  for (auto& upload : uploads) {
    upload.name = workflow_upload(number, upload.name);
    upload.created_us = now_us;
  }
  auto run = submit(*submission, now_us);
  if (!run) return run.error();
  made.existed = run->existed;
  if (!run->existed)
    for (auto& upload : uploads) SPELL_TRY(writer_.put_upload(upload));
  if (made.workflow.run == 0 && asked.within == 0) {
    made.workflow.run = run->run.number;
    SPELL_TRY(writer_.put_workflow(made.workflow));
  }
  made.run = std::move(run->run);
  return made;
}

Result<store::WorkflowRecord> State::end_workflow(const std::string& owner, std::int64_t number,
                                                  const std::string& how, std::int64_t now_us) {
  SPELL_TRY(resume_interrupted(now_us));
  auto workflow = find_workflow(owner, number);
  if (!workflow) return workflow;
  bool kill = how == "kill";
  if (workflow->ended_us == 0 && (workflow->status == "running" || kill)) {
    workflow->status = kill ? "killing" : "stopping";
    if (workflow->run == 0) {
      workflow->status = kill ? "killed" : "stopped";
      workflow->ended_us = now_us;
    }
    SPELL_TRY(writer_.put_workflow(*workflow));
  }
  std::vector<RunPointer> children;
  for (auto& [id, run] : runs_)
    if (run->owner == owner && run->workflow == number && !model::is_final(run->status))
      children.push_back(run);
  std::vector<std::int64_t> asleep;
  for (auto& [of, queued] : queued_)
    if (of.first == owner && queued.workflow == number && is_asleep(of))
      asleep.push_back(of.second);
  for (auto child : asleep) {
    auto run = find(owner, child);
    if (!run) return run.error();
    children.push_back(std::move(*run));
  }
  for (auto& run : children) {
    if (kill && run->manages) SPELL_TRY(drop_credentials(run->id));
    auto ended = end(owner, run->number, how, now_us);
    if (!ended) return ended.error();
  }
  SPELL_TRY(end_managed(now_us));
  return find_workflow(owner, number);
}

Result<store::WorkflowRecord> State::finish_workflow(const std::string& owner, std::int64_t number,
                                                     int exit_code, std::int64_t now_us) {
  auto workflow = find_workflow(owner, number);
  if (!workflow) return workflow;
  if (workflow->run != 0)
    return base::error("invalid_request", shown_name(*workflow) + " ends with its managing run " +
                                              std::to_string(workflow->run));
  if (workflow->ended_us != 0) return workflow;
  workflow->status = "complete";
  workflow->exit_code = exit_code;
  workflow->ended_us = now_us;
  SPELL_TRY(writer_.put_workflow(*workflow));
  return workflow;
}

Result<store::WorkflowRecord> State::remove_workflow(const std::string& owner,
                                                     std::int64_t number) {
  auto workflow = find_workflow(owner, number);
  if (!workflow) return workflow;
  auto refused = [&](const std::string& why) {
    return base::error("workflow_not_final", shown_name(*workflow) + why +
                                                 "; `spell workflow kill " +
                                                 std::to_string(number) + "` ends it");
  };
  if (workflow->ended_us == 0) return refused(" has not ended");
  for (auto& [id, run] : runs_)
    if (run->owner == owner && run->workflow == number && !model::is_final(run->status))
      return refused(" has runs that have not ended");
  for (auto& [of, queued] : queued_)
    if (of.first == owner && queued.workflow == number)
      return refused(" has runs that have not ended");
  SPELL_TRY(flush());  // their rows may still be on the way
  if (budgets_.contains({owner, "workflow", std::to_string(number)}))
    SPELL_TRY(remove_budget(owner, "workflow", std::to_string(number)));
  SPELL_TRY(writer_.delete_workflow(owner, number));
  return workflow;
}

Result<> State::end_managed(std::int64_t now_us) {
  for (auto& run : std::exchange(ended_managers_, {})) {
    SPELL_TRY(drop_credentials(run->id));
    auto workflow = writer_.find_workflow(run->owner, run->workflow);
    if (!workflow) return workflow.error();
    if (!*workflow || (*workflow)->run != run->number) continue;
    // One that was ended is so, though its program may have heard of it and ended by itself.
    auto& status = (*workflow)->status;
    bool by_itself = run->status == "complete";
    if (by_itself && status == "stopping")
      status = "stopped";
    else if (by_itself && status == "killing")
      status = "killed";
    else
      status = run->status;
    (*workflow)->exit_code = run->exit_code;
    if ((*workflow)->ended_us == 0) (*workflow)->ended_us = now_us;
    SPELL_TRY(writer_.put_workflow(**workflow));
  }
  return ok();
}

// ---- credentials

Result<> State::add_credentials(const RunRecord& run, model::StartCommand& start,
                                std::int64_t now_us) {
  auto made = make_token("spw_", now_us);
  made.record.kind = "workflow";
  made.record.user = run.creator;
  made.record.name = "workflow " + std::to_string(run.workflow);
  made.record.run = run.id;
  SPELL_TRY(writer_.put_token(made.record));
  tokens_[made.record.id] = made.record;
  tokens_changed_ = true;
  start.manages = true;
  start.secrets["SPELL_TOKEN"] = made.text;
  start.env["SPELL_OWNER"] = run.owner;
  start.env["SPELL_WORKFLOW_ID"] = std::to_string(run.workflow);
  return ok();
}

Result<> State::drop_credentials(const std::string& run) {
  auto dropped = std::erase_if(tokens_, [&](auto& entry) {
    return entry.second.kind == "workflow" && entry.second.run == run;
  });
  if (dropped > 0) tokens_changed_ = true;
  return writer_.delete_tokens_of_run(run);
}

}  // namespace spell::service
