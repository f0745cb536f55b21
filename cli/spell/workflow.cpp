#include "workflow.hpp"

#include <algorithm>
#include <functional>

#include "exit_status.hpp"
#include "follow_view.hpp"
#include "json_text.hpp"
#include "text.hpp"

namespace spell::cli {

namespace {

/// A status as a list of runs shows it.
RunInfo as_run(const RunStatus& status, const std::optional<int>& exit_code) {
  RunInfo run;
  run.status = status;
  run.user_exit_code = exit_code;
  return run;
}

Cell status_cell(const RunStatus& status, const std::optional<int>& exit_code) {
  auto run = as_run(status, exit_code);
  return {status_text(run), status_colour(run)};
}

std::string runs_of(const WorkflowInfo& workflow) {
  std::vector<std::string> parts;
  for (const auto& [status, number] : workflow.runs_by_status)
    parts.push_back(std::to_string(number) + " " + status);
  return join(parts, ", ");
}

Result<int> list_workflow(Context& context) {
  Options options("workflow list", "[OPTIONS]", "Lists workflows, oldest first.");
  std::optional<std::string> limit;
  options.value("-n,--number", limit, "N", "the newest N (default 50)");
  if (auto done = context.parse(options)) return *done;
  auto number = limit ? parse_int(*limit) : 50;
  if (!number || *number < 1 || *number > 1'000'000)
    return usage_error("-n " + shell_quote(*limit) + ": give a number of workflows");
  auto client = context.client();
  if (!client) return client.error();
  auto workflows = client->workflows().list(static_cast<int>(*number));
  if (!workflows) return workflows.error();
  if (context.out.json()) return context.out.json_line(json_text("workflows", *workflows)), 0;
  Table table;
  table.header = {"ID", "STATUS", "RUN", "RUNS", "CREATED", "CREATOR", "DESCRIPTION"};
  table.flexible = 6;
  for (const auto& workflow : *workflows) {
    bool active = !workflow.status.is_final();
    table.rows.push_back(
        {{std::to_string(workflow.id) + (active ? "*" : ""), active ? Colour::bold : Colour::none},
         status_cell(workflow.status, workflow.user_exit_code),
         {workflow.run ? std::to_string(*workflow.run) : ""},
         {runs_of(workflow)},
         {format_time(workflow.created_at)},
         {workflow.creator},
         {workflow.description}});
  }
  if (context.out.quiet())
    for (auto& workflow : *workflows) context.out.line(std::to_string(workflow.id));
  else
    context.out.table(table);
  return 0;
}

void show_workflow(Output& out, const WorkflowInfo& workflow) {
  Table table;
  auto add = [&](std::string name, Cell cell) {
    if (!cell.text.empty()) table.rows.push_back({{std::move(name), Colour::dim}, std::move(cell)});
  };
  add("Workflow", {std::to_string(workflow.id)});
  add("Status", status_cell(workflow.status, workflow.user_exit_code));
  add("Managed by",
      {workflow.run ? "run " + std::to_string(*workflow.run) : "a program elsewhere"});
  add("Description", {workflow.description});
  add("Creator", {workflow.creator});
  for (const auto& [label, commit] : workflow.commits)
    add("Commit " + label, {commit.commit + " of " + commit.repository});
  add("Created", {format_time(workflow.created_at)});
  add("Ended", {format_time(workflow.ended_at)});
  out.table(table, false);
  if (workflow.runs.empty()) return;
  out.line("");
  Table graph;
  graph.header = {"RUN", "NAME", "STATUS", "MOUNTS OUTPUTS OF"};
  for (const auto& run : workflow.runs)
    graph.rows.push_back({{std::to_string(run.id)},
                          {run.manages ? "(manages the workflow)" : run.key},
                          status_cell(run.status, run.user_exit_code),
                          {join_numbers(run.mounts)}});
  out.table(graph, false);
}

Result<std::int64_t> parse_id(const std::string& text) {
  auto number = parse_int(text);
  if (number && *number > 0) return *number;
  return usage_error(shell_quote(text) + " is no number of a workflow");
}

Result<int> info_workflow(Context& context) {
  Options options("workflow info", "[OPTIONS] ID",
                  "Shows a workflow, and which of its runs mounts whose outputs.");
  Words id;
  options.words(id, "the number of a workflow", 1, 1);
  if (auto done = context.parse(options)) return *done;
  auto number = parse_id(id[0]);
  if (!number) return number.error();
  auto client = context.client();
  if (!client) return client.error();
  auto workflow = client->workflows().get(*number);
  if (!workflow) return workflow.error();
  auto found = workflow->info();
  if (!found) return found.error();
  if (context.out.json())
    context.out.json_line(json_text("workflow", *found));
  else if (context.out.quiet())
    context.out.line(std::to_string(found->id));
  else
    show_workflow(context.out, *found);
  return 0;
}

/// Each is done, whatever becomes of the others; the exit status is the first that is not 0.
Result<int> each(Context& context, const Words& ids,
                 const std::function<Result<>(const Workflow&)>& action) {
  std::vector<std::int64_t> all;
  for (const auto& text : ids) {
    auto number = parse_id(text);
    if (!number) return number.error();
    all.push_back(*number);
  }
  auto client = context.client();
  if (!client) return client.error();
  int status = 0;
  for (auto number : all) {
    auto workflow = client->workflows().get(number);
    Result<> done = workflow ? action(*workflow) : Result<>(workflow.error());
    if (done) continue;
    context.out.error(done.error());
    if (status == 0) status = exit_status(done.error());
  }
  return status;
}

/// Of one that has ended, runs that it has left behind may still be there to end.
bool is_over(const WorkflowInfo& workflow) {
  return workflow.status.is_final() &&
         std::all_of(workflow.runs_by_status.begin(), workflow.runs_by_status.end(),
                     [](auto& entry) { return RunStatus(entry.first).is_final(); });
}

using End = Result<WorkflowInfo> (Workflow::*)(CallOptions) const;

Result<int> end(Context& context, Options& options, End how, const std::string& doing) {
  Words ids;
  options.words(ids, "the numbers of workflows", 1);
  if (auto done = context.parse(options)) return *done;
  return each(context, ids, [&](const Workflow& workflow) -> Result<> {
    auto ended = (workflow.*how)({});
    if (!ended) return ended.error();
    std::string id = std::to_string(ended->id);
    if (context.out.json())
      context.out.json_line(json_text("workflow", *ended));
    else
      context.out.line(context.out.quiet() ? id
                       : is_over(*ended)   ? "Workflow " + id + " has ended"
                                           : doing + " workflow " + id);
    return ok();
  });
}

Result<int> stop(Context& context) {
  Options options(
      "workflow stop", "[OPTIONS] IDS...",
      "Ends the runs of workflows, also those that wait, and saves the outputs of those "
      "that run.");
  return end(context, options, &Workflow::stop, "Stopping");
}

Result<int> kill(Context& context) {
  Options options("workflow kill", "[OPTIONS] IDS...",
                  "Ends the runs of workflows at once; nothing is saved. The credentials of their "
                  "managing runs are void.");
  return end(context, options, &Workflow::kill, "Killing");
}

Result<int> remove_workflow(Context& context) {
  Options options("workflow rm", "[OPTIONS] IDS...",
                  "Forgets workflows that have ended, and what was uploaded for them. Their runs "
                  "stay, with logs and outputs. Asks first.");
  Words ids;
  bool force = false;
  options.words(ids, "the numbers of workflows", 1).flag("-f,--force", force, "do not ask");
  if (auto done = context.parse(options)) return *done;
  if (!force && !context.out.terminal().can_ask)
    return usage_error(
        "spell workflow rm asks before it deletes, and there is no terminal; -f deletes without "
        "asking");
  if (!force && !context.ask("Delete workflow " + join(ids, ", ") + " for good?")) return 1;
  return each(context, ids, [&](const Workflow& workflow) -> Result<> {
    auto removed = workflow.remove();
    if (!removed) return removed;
    std::string id = std::to_string(workflow.id());
    if (context.out.json())
      context.out.json_line(json_text("removed", workflow.id()));
    else
      context.out.line(context.out.quiet() ? id : "Workflow " + id + " deleted");
    return ok();
  });
}

constexpr CommandRow workflow_commands[] = {
    {"create", "start a workflow", create_workflow},
    {"list", "list the workflows", list_workflow},
    {"info", "show a workflow and how its runs hang together", info_workflow},
    {"stop", "end workflows, and save what their runs have made", stop},
    {"kill", "end workflows at once, nothing is saved", kill},
    {"rm", "forget workflows that have ended", remove_workflow},
};

/// Whether this is `spell workflow [OPTIONS] COMMAND`, as it was before there was `create`.
bool is_older_form(const Words& arguments) {
  auto word = std::find_if(arguments.begin(), arguments.end(), [](const std::string& argument) {
    return argument != "--json" && argument != "-q" && argument != "--quiet" &&
           !argument.starts_with("--service=");
  });
  if (word != arguments.end() && *word == "--service")
    std::advance(word, std::min<std::ptrdiff_t>(2, arguments.end() - word));
  if (word == arguments.end() || *word == "--help" || *word == "-h") return false;
  std::vector<std::string> names;
  for (const auto& row : workflow_commands) {
    if (row.name == *word) return false;
    names.emplace_back(row.name);
  }
  // A slip of the pen starts nothing.
  bool alone = std::next(word) == arguments.end() || parse_int(*std::next(word));
  return !(alone && !nearest(*word, names).empty());
}

}  // namespace

Result<int> workflow_command(Context& context) {
  if (is_older_form(context.arguments())) return create_workflow(context);
  return run_subcommand(context, "workflow", "Programs whose runs belong together.",
                        workflow_commands);
}

}  // namespace spell::cli
