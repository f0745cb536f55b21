#include "command.hpp"
#include "follow_view.hpp"
#include "json_text.hpp"
#include "money.hpp"
#include "text.hpp"

namespace spell::cli {

namespace {

std::string cost_text(const RunInfo& run) {
  if (!run.price) return "price not known";
  return (run.cost ? format_dollars(*run.cost) + (run.status.is_final() ? "" : " until now")
                   : std::string("not known")) +
         ", at " + format_hourly(run.price);
}

Table details(const RunInfo& run) {
  Table table;
  auto add = [&](std::string name, std::string text, Colour colour = Colour::none) {
    if (!text.empty())
      table.rows.push_back({{std::move(name), Colour::dim}, {std::move(text), colour}});
  };
  add("Run", std::to_string(run.id));
  add("Status", status_text(run), status_colour(run));
  add("Reason", run.reason);
  add("Command", run.command);
  add("Description", run.description);
  add("Repository", run.repository);
  add("Workspace", run.workspace);
  add("Code from", run.github_url);
  if (run.git_base_commit.empty()) {
    add("Commit", run.git_commit);
  } else {
    add("Commit", run.git_base_commit + " with uncommitted changes");
    add("Snapshot", run.git_commit);
  }
  add("Folder", run.folder);
  add("Machine type", run.machine_type);
  add("Machine", run.machine);
  add("Project", run.project);
  if (run.workflow)
    add("Workflow", std::to_string(*run.workflow) + (run.manages       ? ", which it manages"
                                                     : run.key.empty() ? ""
                                                                       : " as " + run.key));
  add("Labels", join(run.labels, ", "));
  add("Creator", run.creator);
  add("After", join_numbers(run.after));
  for (const auto& mount : run.mounts) add("Mount", mount.resource + " on " + mount.at);
  add("Image", run.image);
  for (const auto& package : run.apt) add("Apt", package);
  add("Conda file", run.conda_file);
  for (const auto& package : run.pip) add("Pip", package);
  add("Requirements", run.requirements);
  add("Setup", run.setup);
  for (const auto& layer : run.environment) {
    add("Environment", layer.name.substr(0, 12) + " (" + layer.method + ")");
    for (const auto& package : layer.packages) add("Package", package);
  }
  if (run.auto_resume) add("Auto-resume", *run.auto_resume ? "yes" : "no");
  if (run.exclusive) add("Exclusive", "yes");
  add("Growing files", join(run.append, ", "));
  add("Notice signal", run.notice_signal);
  if (run.priority != "normal") add("Priority", run.priority);
  if (run.max_cost) add("Costs at most", format_dollars(*run.max_cost));
  if (run.timeout) add("Timeout", format_duration(*run.timeout));
  for (const auto& [name, value] : run.env) add("Variable", name + "=" + value);
  for (const auto& [name, value] : run.params) add("Parameter", name + "=" + value);
  for (const auto& [variable, name] : run.secrets) add("Secret", name + " as " + variable);
  add("Created", format_time(run.created_at));
  add("Started", format_time(run.started_at));
  add("Ended", format_time(run.ended_at));
  if (run.started_at && run.ended_at)
    add("Duration", format_duration(std::chrono::duration_cast<std::chrono::microseconds>(
                        *run.ended_at - *run.started_at)));
  if (!run.machine.empty() && !run.manages) add("Cost", cost_text(run));
  add("Log", format_size(run.log_bytes));
  if (run.output_files > 0)
    add("Outputs", count(run.output_files, "file") + ", " + format_size(run.output_bytes) +
                       " in runs/" + std::to_string(run.id));
  if (run.backlog && run.backlog->files > 0)
    add("Not safe yet", count(run.backlog->files, "file") + ", " + format_size(run.backlog->bytes) +
                            ", the oldest for " + format_duration(run.backlog->age));
  if (run.resumed_from_run) add("Resumed from", std::to_string(*run.resumed_from_run));
  if (run.resumed_as_run) add("Resumed as", std::to_string(*run.resumed_as_run));
  if (run.archived) add("Archived", "yes");
  return table;
}

}  // namespace

Result<int> info_command(Context& context) {
  Options options("info", "[OPTIONS] ID", "Shows all about a run.");
  Words id;
  options.words(id, "the number of a run", 1, 1);
  if (auto done = context.parse(options)) return *done;
  auto run = context.run(id[0]);
  if (!run) return run.error();
  auto info = run->info();
  if (!info) return info.error();
  if (context.out.json())
    context.out.json_line(json_text("run", *info));
  else if (context.out.quiet())
    context.out.line(std::to_string(info->id));
  else
    context.out.table(details(*info), false);
  return 0;
}

}  // namespace spell::cli
