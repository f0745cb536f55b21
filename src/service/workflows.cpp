// Workflows: make, list, look, end, forget.
#include <algorithm>

#include "base/error.hpp"
#include "base/hash.hpp"
#include "base/text.hpp"
#include "model/fields.hpp"
#include "model/workflow_request.hpp"
#include "service/api.hpp"
#include "service/mounts.hpp"
#include "service/resource_path.hpp"
#include "service/sdk.hpp"
#include "spell/json.hpp"

namespace spell::service {

namespace {

Result<WorkflowInfo> to_workflow_info(store::Reader& reader, const store::WorkflowRecord& record) {
  WorkflowInfo info;
  info.id = record.number;
  info.status = RunStatus(record.status);
  info.description = record.description;
  info.creator = record.creator;
  if (record.run != 0) info.run = record.run;
  info.user_exit_code = record.exit_code;
  info.created_at = time_of(record.created_us);
  info.ended_at = time_of(record.ended_us);
  auto commits = model::parse_commits(record.commits);
  if (!commits) return commits.error();
  for (auto& [label, code] : *commits)
    info.commits[label] = {code.workspace, code.commit, code.repository, code.message,
                           code.github_url};
  auto statuses = reader.workflow_statuses(record.owner, record.number);
  if (!statuses) return statuses.error();
  info.runs_by_status = std::move(*statuses);
  return info;
}

Result<std::int64_t> workflow_number(const Call& call) {
  auto& text = call->path.at("workflow");
  auto number = base::parse_int(text);
  if (!number || *number < 1)
    return base::error("workflow_not_found",
                       "there is no workflow '" + text + "'; workflows are numbers: 1, 2, 3");
  return *number;
}

/// What a change answers: the workflow as it is when the change is durable.
void answer_workflow(Context& context, const Call& call, const store::WorkflowRecord& record) {
  auto info =
      context.readers.with([&](store::Reader& reader) { return to_workflow_info(reader, record); });
  if (!info) return refuse(call, info.error());
  answer(call, {{"workflow", json(*info)}});
}

/// Posts a change of the path's workflow, if it is the caller's to change, and notes that he did.
void change_workflow(
    Context& context, Call call, const std::string& action,
    std::function<Result<store::WorkflowRecord>(State&, std::int64_t number, std::int64_t now_us)>
        command) {
  auto number = workflow_number(call);
  if (!number) return refuse(call, number.error());
  context.reactor.post(
      [&context, call = std::move(call), number = *number, action, command = std::move(command)](
          State& state, std::int64_t now) -> Reactor::Answer {
        auto change = [&]() -> Result<store::WorkflowRecord> {
          auto workflow = state.find_workflow(call->owner(), number);
          if (!workflow) return workflow;
          std::string name = "workflow " + std::to_string(number);
          SPELL_TRY(may_change(call, workflow->creator, name));
          auto done = command(state, number, now);
          if (done)
            SPELL_TRY(audit(state, now, call, action, "workflows/" + std::to_string(number),
                            "by " + workflow->creator));
          return done;
        };
        auto done = change();
        return [&context, call, done = std::move(done)](const Result<>& committed) {
          if (!done) return refuse(call, done.error());
          if (!committed) return refuse(call, committed.error());
          answer_workflow(context, call, *done);
        };
      });
}

/// What keeps what a new workflow names until it is durable.
struct Pins {
  std::shared_ptr<void> mounts;
  std::vector<std::shared_ptr<void>> uploads, commits;
};

/// One more mount of the managing run: of what comes along with it.
void mount_upload(NewWorkflow& workflow, Pins& pins, CheckedUpload upload, const std::string& at) {
  Mount mount{"uploads/" + upload.record.name, at};
  model::ResolvedMount resolved;
  resolved.at = at;
  describe(resolved, root_of(upload.record));
  workflow.run->request.mounts.push_back(std::move(mount));
  workflow.run->mounts.push_back(std::move(resolved));
  workflow.uploads.push_back(std::move(upload.record));
  pins.uploads.push_back(std::move(upload.pin));
}

/// Looks up all that the managing run names. Blocks.
Result<Pins> look_up(Context& context, const Call& call, model::WorkflowRequest& request,
                     NewWorkflow& out) {
  Pins pins;
  for (auto& [label, code] : request.commits) {
    auto held = hold_commit(context, out.owner, code);
    if (!held)
      return Error(held.error().code(), "commit '" + label + "': " + held.error().message());
    pins.commits.push_back(std::move(*held));
  }
  if (!out.run) return pins;
  auto& run = *out.run;
  if (auto& code = run.request.code; code && code->label.empty()) {
    auto held = hold_commit(context, out.owner, *code);
    if (!held) return held.error();
    pins.commits.push_back(std::move(*held));
  }
  auto mounts = resolve_mounts(context, run);
  if (!mounts) return mounts.error();
  run.mounts = std::move(mounts->list);
  pins.mounts = mounts->pins;
  if (!request.program_name.empty()) {
    auto program = check_upload(context, call, request.program_name, request.program);
    if (!program) return program.error();
    auto at = model::mount_target({"", std::string(model::program_folder) + request.program_name},
                                  run.request.folder);
    if (!at) return at.error();
    mount_upload(out, pins, std::move(*program), *at);
    SPELL_TRY(model::mount_targets(run.request));
    SPELL_TRY(model::check_nesting(run.mounts));
  }
  if (request.build_target) {
    auto source = check_upload(context, call, "source", request.build);
    if (!source) return source.error();
    auto sdk = context.sdk.give(context, call);
    if (!sdk) return sdk.error();
    run.request.build = request.build_target;
    mount_upload(out, pins, std::move(*source), std::string(model::build_source));
    mount_upload(out, pins, std::move(*sdk), std::string(model::build_sdk));
  }
  // What is stored and sent to workers is read with this limit.
  if (run.request.mounts.size() > model::max_mounts)
    return base::error(
        "invalid_request",
        "'run.mounts' has too many entries: with those of its program there may be " +
            std::to_string(model::max_mounts));
  return pins;
}

void submit_workflow(Context& context, Call call, NewWorkflow asked, Pins pins) {
  context.reactor.post([&context, call = std::move(call), asked = std::move(asked), pins](
                           State& state, std::int64_t now) -> Reactor::Answer {
    auto made = state.create_workflow(asked, now);
    Result<> noted = made && !asked.uploads.empty() ? Collector::note_named(state) : ok();
    return [&context, call, made = std::move(made), noted, pins](const Result<>& committed) {
      if (!made) return refuse(call, made.error());
      if (!noted) return refuse(call, noted.error());
      if (!committed) return refuse(call, committed.error());
      if (!pins.uploads.empty()) context.collector.arrival_is_noted(false);
      auto info = context.readers.with(
          [&](store::Reader& reader) { return to_workflow_info(reader, made->workflow); });
      if (!info) return refuse(call, info.error());
      answer(call,
             {{"workflow", json(*info)},
              {"run", made->run ? run_json(context, *made->run, made->existed) : json()}},
             made->existed ? 200 : 201);
    };
  });
}

}  // namespace

Result<> into_workflow(Context& context, const Call& call, model::RunRequest& request,
                       const std::string& key) {
  if (auto own = call->caller.workflow; own != 0) {
    if (request.workflow != 0 && request.workflow != own)
      return base::error("not_permitted", "the credentials of workflow " + std::to_string(own) +
                                              " make no runs of another");
    request.workflow = own;
  }
  if (request.workflow == 0) {
    if (request.code && !request.code->label.empty())
      return base::error("unknown_commit_label",
                         "there is no commit with the label '" + request.code->label +
                             "': workflows have such, and this run is of none");
    return ok();
  }
  if (key.empty())
    return base::error("invalid_request",
                       "a run of a workflow has a name in it: send it as its Idempotency-Key");
  auto workflow = context.readers.with(
      [&](store::Reader& reader) { return reader.find_workflow(call->owner(), request.workflow); });
  if (!workflow) return workflow.error();
  if (!*workflow) return no_such_workflow(call->owner(), request.workflow);
  SPELL_TRY(may_change(call, (*workflow)->creator, "workflow " + std::to_string(request.workflow)));
  return to_commit_of_label(**workflow, request);
}

void create_workflow(Context& context, Call call) {
  auto body = body_object(call);
  if (!body) return refuse(call, body.error());
  auto request = model::parse_workflow_request(*body);
  if (!request) return refuse(call, request.error());
  auto key = key_of(call);
  if (!key) return refuse(call, key.error());
  auto wrong = [&](const std::string& what) { refuse(call, base::error("invalid_request", what)); };
  NewWorkflow asked;
  asked.owner = call->owner();
  asked.creator = call->caller.name;
  asked.key = *key;
  asked.body_hash = base::hex(base::sha256(call->request.body));
  asked.description = request->description;
  asked.commits = request->commits;
  asked.within = call->caller.workflow;
  if (asked.within != 0 && !request->run)
    return wrong("'run' is missing: within a workflow no other is made");
  if (asked.within != 0 && !request->commits.empty())
    return wrong("'commits': within a workflow there are those that it has");
  if (asked.within != 0 && key->empty())
    return wrong("a run of a workflow has a name in it: send it as its Idempotency-Key");
  if (request->run) {
    if (auto able = check_priority(call, *request->run); !able) return refuse(call, able.error());
    if (auto& type = request->run->machine_type; !type.empty() && base::lower(type) != "cpu")
      return wrong("'run.machine_type': a managing run is always on CPU");
    if (request->run->has_environment() || request->run->has_pins())
      return wrong("'run': a managing run has no environment; its runs may have one");
    asked.run =
        Submission{asked.owner, asked.creator, *key, asked.body_hash, std::move(*request->run), {}};
  }
  if (!request->program_name.empty()) {
    if (auto form = check_upload_form(request->program); !form) return refuse(call, form.error());
    if (request->program["type"] != "file") return wrong("'program.type' must be file");
  }
  if (request->build_target) {
    if (auto form = check_upload_form(request->build); !form) return refuse(call, form.error());
    if (request->build["type"] != "folder") return wrong("'build.type' must be folder");
  }
  if (auto room = check_bytes(context, call); !room) return refuse(call, room.error());
  bool builds = request->build_target.has_value();
  std::function<void()> go_on = [&context, call = std::move(call), request = std::move(*request),
                                 asked = std::move(asked)]() mutable {
    auto pins = look_up(context, call, request, asked);
    if (!pins) return refuse(call, pins.error());
    submit_workflow(context, std::move(call), std::move(asked), std::move(*pins));
  };
  if (!builds) return context.jobs.post(std::move(go_on));
  // Whether a machine can build it is known when it has said what it has.
  context.machines.when_settled(
      [&context, go_on = std::move(go_on)]() mutable { context.jobs.post(std::move(go_on)); });
}

void list_workflows(Context& context, Call call) {
  auto limit = call->number("limit", 50, 1, 1000);
  if (!limit) return refuse(call, limit.error());
  auto below = call->number("cursor", INT64_MAX, 1, INT64_MAX);
  if (!below) return refuse(call, below.error());
  json list = json::array(), next;
  auto read = context.readers.with([&](store::Reader& reader) -> Result<> {
    auto records = reader.workflows(call->owner(), *below, static_cast<int>(*limit) + 1);
    if (!records) return records.error();
    if (static_cast<std::int64_t>(records->size()) > *limit) {
      records->pop_back();
      next = std::to_string(records->back().number);
    }
    for (auto& record : *records) {
      auto info = to_workflow_info(reader, record);
      if (!info) return info.error();
      list.push_back(*info);
    }
    return ok();
  });
  if (!read) return refuse(call, read.error());
  answer(call, {{"workflows", std::move(list)}, {"next", next}});
}

void get_workflow(Context& context, Call call) {
  auto number = workflow_number(call);
  if (!number) return refuse(call, number.error());
  if (auto own = call->caller.workflow; own != 0 && own != *number)
    return refuse(
        call, base::error("not_permitted", "the credentials of workflow " + std::to_string(own) +
                                               " show no other one"));
  auto info = context.readers.with([&](store::Reader& reader) -> Result<WorkflowInfo> {
    auto record = reader.find_workflow(call->owner(), *number);
    if (!record) return record.error();
    if (!*record) return no_such_workflow(call->owner(), *number);
    auto shown = to_workflow_info(reader, **record);
    if (!shown) return shown;
    auto graph = reader.workflow_graph(call->owner(), *number);
    if (!graph) return graph.error();
    for (auto& node : *graph)
      shown->runs.push_back({node.run, node.name, RunStatus(node.status), node.exit_code,
                             node.manages, std::move(node.mounts)});
    return shown;
  });
  if (!info) return refuse(call, info.error());
  answer(call, {{"workflow", json(*info)}});
}

void stop_workflow(Context& context, Call call) {
  change_workflow(context, call, "workflow.stop",
                  [owner = call->owner()](State& state, std::int64_t number, std::int64_t now) {
                    return state.end_workflow(owner, number, "stop", now);
                  });
}

void kill_workflow(Context& context, Call call) {
  change_workflow(context, call, "workflow.kill",
                  [owner = call->owner()](State& state, std::int64_t number, std::int64_t now) {
                    return state.end_workflow(owner, number, "kill", now);
                  });
}

void finish_workflow(Context& context, Call call) {
  auto body = body_object(call);
  if (!body) return refuse(call, body.error());
  std::int64_t code = -1;
  auto given = body->find("exit_code");
  if (body->size() != 1 || given == body->end() || model::read_int(*given, code, 0, 255))
    return refuse(call, base::error("invalid_request",
                                    "the body must be {\"exit_code\": a number from 0 to 255}"));
  change_workflow(
      context, call, "workflow.finish",
      [owner = call->owner(), code](State& state, std::int64_t number, std::int64_t now) {
        return state.finish_workflow(owner, number, static_cast<int>(code), now);
      });
}

void delete_workflow(Context& context, Call call) {
  change_workflow(
      context, call, "workflow.delete",
      [&context, owner = call->owner()](State& state, std::int64_t number,
                                        std::int64_t now) -> Result<store::WorkflowRecord> {
        auto removed = state.remove_workflow(owner, number);
        if (removed) SPELL_TRY(Collector::note_removal(state, now));
        if (removed) context.collector.removed();
        return removed;
      });
}

}  // namespace spell::service
