#include "spell/workflow.hpp"

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/id.hpp"
#include "base/text.hpp"
#include "client/connection.hpp"
#include "client/program.hpp"
#include "client/submission.hpp"
#include "model/workflow_request.hpp"
#include "spell/json.hpp"

namespace spell {

namespace {

using namespace detail;
using model::Route;

constexpr std::int64_t largest_program = std::int64_t{2} << 30;

Result<WorkflowInfo> workflow_of(const Result<json>& answer) {
  if (!answer) return answer.error();
  return member<WorkflowInfo>(*answer, "workflow");
}

/// Whether the machines that may carry the managing run can execute this program.
Result<> check_creation(Connection& connection, const std::string& path,
                        const CallOptions& options) {
  auto bytes = base::read_file(path, largest_program);
  if (!bytes)
    return bytes.error().code() == "not_found"
               ? base::error("invalid_program", "there is no program " + base::to_utf8(path))
               : bytes.error();
  auto needs = read_program(*bytes);
  if (!needs)
    return Error(needs.error().code(), base::to_utf8(path) + " " + needs.error().message());
  // A managing run may not ask for this, and has been carried here itself.
  if (connection.workflow() != 0) return ok();
  auto answer = connection.call({.route = Route::list_machines}, options);
  if (!answer) return answer.error();
  auto machines = member<std::vector<MachineInfo>>(*answer, "machines");
  if (!machines) return machines.error();
  for (auto& machine : *machines) {
    // That of the service itself, which is reached by a socket of this computer.
    bool here = connection.endpoint().starts_with("unix:") && !machine.joined_at;
    for (auto& type : machine.serves)
      if (base::lower(type) == "cpu")
        SPELL_TRY(check_program(base::to_utf8(path), *needs, machine, here));
  }
  return ok();
}

/// Whether this is a project; that a machine can build it the service sees to.
Result<> check_creation(const WorkflowBuild& build) {
  if (base::exists(build.folder + "/CMakeLists.txt")) return ok();
  std::string folder = base::to_utf8(build.folder);
  return base::error("invalid_program",
                     folder + " is no CMake project: there is no " + folder + "/CMakeLists.txt");
}

std::string quoted(const std::string& word) {
  std::string out = "'";
  for (char c : word) out += c == '\'' ? "'\\''" : std::string(1, c);
  return out + "'";
}

std::string program_name(const std::string& path) {
  std::string name;
  for (char c : path.substr(path.rfind('/') + 1))
    name += base::valid_name(std::string("a") + c) ? c : '_';
  while (!name.empty() && !base::valid_name(name)) name.erase(0, 1);
  return name.empty() ? "program" : name.substr(0, 64);
}

}  // namespace

Workflows Client::workflows() const { return Workflows(connection_); }

Result<WorkflowInfo> Workflows::create(const WorkflowSpec& spec, const std::string& key,
                                       const SubmitProgress& progress, CallOptions options) const {
  Limit limit(options, connection_->waiter());
  if ((spec.program || spec.build) && !spec.run)
    return base::error("invalid_request", "a program needs a managing run that executes it");
  if (spec.program && spec.build)
    return base::error("invalid_request",
                       "a managing run executes one program: send it, or have it built");
  if (spec.run) SPELL_TRY(check_available(*spec.run));
  if (auto within = connection_->workflow(); within != 0 && !spec.repositories.empty())
    return base::error(
        "invalid_request",
        "workflow " + std::to_string(within) +
            " has its repositories already, those that it was created with: name one of them by "
            "its label (--commit-label LABEL), or create it with these too");
  json body{{"description", spec.description}};
  std::optional<RunSpec> run = spec.run;
  if (spec.program) {
    SPELL_TRY(check_creation(*connection_, spec.program->path, options));
    auto sent = send_file(*connection_, spec.program->path, limit);
    if (!sent) return sent.error();
    std::string name = program_name(spec.program->path);
    (*sent)["name"] = name;
    (*sent)["mode"] = 0755;
    body["program"] = std::move(*sent);
    run->command = "./" + std::string(model::program_folder) + name;
    for (auto& argument : spec.program->arguments) run->command += " " + quoted(argument);
  }
  if (spec.build) {
    SPELL_TRY(check_creation(*spec.build));
    auto sent = send_project(*connection_, spec.build->folder, limit);
    if (!sent) return sent.error();
    (*sent)["target"] = spec.build->target;
    body["build"] = std::move(*sent);
    run->command = "exec \"$SPELL_PROGRAM\"";
    for (auto& argument : spec.build->arguments) run->command += " " + quoted(argument);
  }
  std::map<std::string, model::CodeRef> commits;
  for (auto& [label, code] : spec.repositories) {
    std::string folder;
    auto commit = send_repository(*connection_, code, progress, {}, limit, folder);
    if (!commit) return Error(commit.error().code(), label + ": " + commit.error().message());
    commits[label] = std::move(*commit);
  }
  if (!commits.empty()) body["commits"] = model::to_json(commits);
  if (run) {
    auto request = prepare(*connection_, *run, 0, progress, {}, limit);
    if (!request) return request.error();
    body["run"] = model::to_json(*request);
  }
  auto answer = connection_->call(
      {.route = Route::create_workflow,
       .body = std::move(body),
       .headers = {{"Idempotency-Key", key.empty() ? base::Id::make().text() : key}}},
      limit);
  auto made = workflow_of(answer);
  if (!made || !run) return made;
  // Within a workflow it is not the one that the workflow began with.
  auto manager = member<RunInfo>(*answer, "run");
  if (!manager) return manager.error();
  made->run = manager->id;
  return made;
}

Result<Workflow> Workflows::get(std::int64_t id, CallOptions options) const {
  Workflow workflow(connection_, id);
  if (auto info = workflow.info(options); !info) return info.error();
  return workflow;
}

Result<std::vector<WorkflowInfo>> Workflows::list(int limit, CallOptions options) const {
  constexpr int page = 1000;
  Limit within(options, connection_->waiter());
  std::vector<WorkflowInfo> all;
  std::string cursor;
  while (static_cast<int>(all.size()) < limit) {
    Call call{.route = Route::list_workflows};
    call.query.emplace_back("limit",
                            std::to_string(std::min(page, limit - static_cast<int>(all.size()))));
    if (!cursor.empty()) call.query.emplace_back("cursor", cursor);
    auto answer = connection_->call(call, within);
    if (!answer) return answer.error();
    auto got = member<std::vector<WorkflowInfo>>(*answer, "workflows");
    if (!got) return got.error();
    all.insert(all.end(), std::make_move_iterator(got->begin()),
               std::make_move_iterator(got->end()));
    auto next = member<std::string>(*answer, "next");
    if (!next || got->empty()) break;
    cursor = *next;
  }
  // Pages begin with the newest.
  return std::vector<WorkflowInfo>(std::make_move_iterator(all.rbegin()),
                                   std::make_move_iterator(all.rend()));
}

Result<Workflow> Workflow::current_or_create(const Client& client, const WorkflowSpec& spec,
                                             CallOptions options) {
  return client.workflows().current_or_create(spec, options);
}

Result<Workflow> Workflows::current_or_create(const WorkflowSpec& spec, CallOptions options) const {
  if (auto current = connection_->workflow(); current != 0) return get(current, options);
  auto made = create(spec, {}, {}, options);
  if (!made) return made.error();
  return Workflow(connection_, made->id);
}

Result<WorkflowInfo> Workflow::info(CallOptions options) const {
  return workflow_of(
      connection_->call({.route = Route::get_workflow, .names = number(id_)}, options));
}

Result<Run> Workflow::run(const std::string& key, const RunSpec& spec, CallOptions options) const {
  auto info = submit(*connection_, spec, id_, key, {}, {}, Limit(options, connection_->waiter()));
  if (!info) return info.error();
  return Run(connection_, info->id);
}

Result<std::vector<RunInfo>> Workflow::runs(CallOptions options) const {
  RunFilter filter;
  filter.limit = 0;
  filter.workflow = id_;
  filter.with_archived = true;
  auto runs = Runs(connection_).list(filter, options).all();
  if (runs) std::reverse(runs->begin(), runs->end());
  return runs;
}

Result<WorkflowInfo> Workflow::stop(CallOptions options) const {
  return workflow_of(
      connection_->call({.route = Route::stop_workflow, .names = number(id_)}, options));
}

Result<WorkflowInfo> Workflow::kill(CallOptions options) const {
  return workflow_of(
      connection_->call({.route = Route::kill_workflow, .names = number(id_)}, options));
}

Result<WorkflowInfo> Workflow::finish(int exit_code, CallOptions options) const {
  return workflow_of(connection_->call(
      {.route = Route::finish_workflow, .names = number(id_), .body = {{"exit_code", exit_code}}},
      options));
}

Result<> Workflow::remove(CallOptions options) const {
  auto answer = connection_->call({.route = Route::delete_workflow, .names = number(id_)}, options);
  if (!answer) return answer.error();
  return ok();
}

}  // namespace spell
