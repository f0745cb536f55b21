#include <algorithm>

#include "command.hpp"
#include "follow_view.hpp"
#include "json_text.hpp"
#include "text.hpp"

namespace spell::cli {

namespace {

std::string duration_of(const RunInfo& run) {
  if (!run.started_at) return "";
  Time end = run.ended_at.value_or(std::chrono::system_clock::now());
  return format_duration(
      std::chrono::duration_cast<std::chrono::microseconds>(end - *run.started_at));
}

Table run_table(const std::vector<RunInfo>& runs, bool verbose) {
  Table table;
  table.header = {"ID", "REPOSITORY", "COMMAND", "STATUS", "CREATOR"};
  table.flexible = 2;
  if (verbose)
    table.header.insert(table.header.end(), {"MACHINE", "CREATED", "DURATION", "REASON"});
  for (const auto& run : runs) {
    std::string mark = run.status.is_final() ? "" : "*";
    std::vector<Cell> row{
        {std::to_string(run.id) + mark, mark.empty() ? Colour::none : Colour::bold},
        {run.repository},
        {run.command},
        {status_text(run), status_colour(run)},
        {run.creator}};
    if (verbose)
      row.insert(row.end(), {{run.machine.empty() ? run.machine_type : run.machine},
                             {format_time(run.created_at)},
                             {duration_of(run)},
                             {run.reason}});
    table.rows.push_back(std::move(row));
  }
  return table;
}

}  // namespace

Result<int> ps_command(Context& context) {
  Options options(
      "ps", "[OPTIONS]",
      "Lists runs, oldest first. Those that have not ended have a * after their number.");
  std::optional<std::string> limit, label, project, repository, workflow;
  bool no_truncation = false, verbose = false, archived = false;
  options.value("-n,--number", limit, "N", "the newest N (default 50)")
      .value("-l,--label", label, "LABEL", "only those with this label")
      .value("-p,--project", project, "NAME", "only those of this project")
      .value("-r,--repo", repository, "NAME", "only those of this repository")
      .value("-w,--workflow", workflow, "ID", "only those of this workflow")
      .flag("-a,--archived", archived, "archived ones too")
      .flag("--no-trunc", no_truncation, "do not cut long commands")
      .flag("-v,--verbose", verbose, "also machine, times, and why a run waits or failed");
  if (auto done = context.parse(options)) return *done;
  RunFilter filter;
  if (limit) {
    auto number = parse_int(*limit);
    if (!number || *number < 1 || *number > 1'000'000)
      return usage_error("-n " + shell_quote(*limit) + ": give a number of runs");
    filter.limit = static_cast<int>(*number);
  }
  if (workflow) {
    auto number = parse_int(*workflow);
    if (!number || *number < 1)
      return usage_error("--workflow " + shell_quote(*workflow) + ": give a workflow's number");
    filter.workflow = *number;
  }
  filter.label = label.value_or("");
  filter.project = project.value_or("");
  filter.repository = repository.value_or("");
  filter.with_archived = archived;
  auto client = context.client();
  if (!client) return client.error();
  auto runs = client->runs().list(filter).all();
  if (!runs) return runs.error();
  std::reverse(runs->begin(), runs->end());
  if (context.out.json()) {
    context.out.json_line(json_text("runs", *runs));
    return 0;
  }
  if (context.out.quiet()) {
    for (const auto& run : *runs) context.out.line(std::to_string(run.id));
    return 0;
  }
  context.out.table(run_table(*runs, verbose), !no_truncation);
  return 0;
}

}  // namespace spell::cli
