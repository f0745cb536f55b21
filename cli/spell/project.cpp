#include "command.hpp"
#include "json_text.hpp"
#include "text.hpp"

namespace spell::cli {

namespace {

void show_project(Output& out, const ProjectInfo& project) {
  if (out.json()) return out.json_line(json_text("project", project));
  if (out.quiet()) return out.line(project.name);
  Table table;
  table.rows = {{{"Project", Colour::dim}, {project.name}},
                {{"Description", Colour::dim}, {project.description}},
                {{"Runs", Colour::dim}, {std::to_string(project.runs)}}};
  if (project.created_at)
    table.rows.push_back({{"Created", Colour::dim}, {format_time(*project.created_at)}});
  if (project.keep_days > 0)
    table.rows.push_back({{"Keeps", Colour::dim}, {"runs of " + count(project.keep_days, "day")}});
  if (project.keep_runs > 0)
    table.rows.push_back(
        {{"Keeps", Colour::dim}, {"the newest " + count(project.keep_runs, "run")}});
  if (project.archived) table.rows.push_back({{"Archived", Colour::dim}, {"yes"}});
  out.table(table);
}

Result<int> show_project(Context& context, const Result<ProjectInfo>& project) {
  if (!project) return project.error();
  show_project(context.out, *project);
  return 0;
}

Result<int> create_project(Context& context) {
  Options options("project create", "[OPTIONS] NAME", "Makes a project.");
  Words name;
  std::optional<std::string> description;
  options.words(name, "a NAME", 1, 1)
      .value("-d,--description", description, "TEXT", "what it is about");
  if (auto done = context.parse(options)) return *done;
  auto client = context.client();
  if (!client) return client.error();
  return show_project(context, client->projects().create(name[0], description.value_or("")));
}

Result<int> list_project(Context& context) {
  Options options("project list", "[OPTIONS]", "Lists the projects.");
  bool archived = false;
  options.flag("-a,--archived", archived, "archived ones too");
  if (auto done = context.parse(options)) return *done;
  auto client = context.client();
  if (!client) return client.error();
  auto projects = client->projects().list(archived);
  if (!projects) return projects.error();
  if (context.out.json()) {
    context.out.json_line(json_text("projects", *projects));
    return 0;
  }
  Table table;
  table.header = {"PROJECT", "RUNS", "CREATED", "DESCRIPTION"};
  table.right = {1};
  table.flexible = 3;
  for (const auto& project : *projects)
    table.rows.push_back({{project.name, project.archived ? Colour::dim : Colour::none},
                          {std::to_string(project.runs)},
                          {format_time(project.created_at)},
                          {project.description}});
  context.out.table(table);
  return 0;
}

Result<int> get(Context& context) {
  Options options("project get", "[OPTIONS] NAME",
                  "Shows a project. spell ps -p NAME lists its runs.");
  Words name;
  options.words(name, "a NAME", 1, 1);
  if (auto done = context.parse(options)) return *done;
  auto client = context.client();
  if (!client) return client.error();
  return show_project(context, client->projects().get(name[0]));
}

/// "30"; nothing where it was not given.
Result<std::optional<std::int64_t>> number_of(const std::optional<std::string>& text,
                                              const char* option) {
  if (!text) return std::optional<std::int64_t>();
  auto number = parse_int(*text);
  if (!number || *number < 0)
    return usage_error(std::string(option) + " is a whole number, 0 for no limit, not " +
                       shell_quote(*text));
  return number;
}

Result<int> edit_project(Context& context) {
  Options options("project edit", "[OPTIONS] NAME",
                  "Changes a project's name or description, or how long it keeps its runs. Runs "
                  "with a label are always kept.");
  Words name;
  ProjectChange change;
  std::optional<std::string> days, runs;
  options.words(name, "a NAME", 1, 1)
      .value("--name", change.name, "NEW", "its new name")
      .value("-d,--description", change.description, "TEXT", "what it is about")
      .value("--keep-days", days, "N", "delete runs that ended longer ago (0: keep all)")
      .value("--keep-runs", runs, "N", "delete runs beyond the newest N (0: keep all)");
  if (auto done = context.parse(options)) return *done;
  auto keep_days = number_of(days, "--keep-days"), keep_runs = number_of(runs, "--keep-runs");
  if (!keep_days) return keep_days.error();
  if (!keep_runs) return keep_runs.error();
  change.keep_days = *keep_days;
  change.keep_runs = *keep_runs;
  if (!change.name && !change.description && !days && !runs)
    return usage_error("nothing to change: give --name, --description, --keep-days or --keep-runs");
  auto client = context.client();
  if (!client) return client.error();
  return show_project(context, client->projects().edit(name[0], change));
}

Result<int> archive(Context& context) {
  Options options("project archive", "[OPTIONS] NAME",
                  "Hides a project from lists; nothing is deleted.");
  Words name;
  bool undo = false;
  options.words(name, "a NAME", 1, 1).flag("--undo", undo, "show it again");
  if (auto done = context.parse(options)) return *done;
  auto client = context.client();
  if (!client) return client.error();
  ProjectChange change;
  change.archived = !undo;
  return show_project(context, client->projects().edit(name[0], change));
}

using ChangeRuns = Result<ProjectInfo> (Projects::*)(const std::string&,
                                                     const std::vector<std::int64_t>&,
                                                     CallOptions) const;

Result<int> change_runs(Context& context, Options& options, ChangeRuns change) {
  Words words;
  options.words(words, "a project's NAME and the numbers of runs", 2);
  if (auto done = context.parse(options)) return *done;
  auto ids = parse_run_ids(Words(words.begin() + 1, words.end()));
  if (!ids) return ids.error();
  auto client = context.client();
  if (!client) return client.error();
  return show_project(context, (client->projects().*change)(words[0], *ids, {}));
}

Result<int> add_runs(Context& context) {
  Options options("project add-runs", "[OPTIONS] NAME IDS...", "Puts runs in a project.");
  return change_runs(context, options, &Projects::add_runs);
}

Result<int> take_out_runs(Context& context) {
  Options options("project remove-runs", "[OPTIONS] NAME IDS...", "Takes runs out of a project.");
  return change_runs(context, options, &Projects::remove_runs);
}

constexpr CommandRow project_commands[] = {
    {"create", "make a project", create_project},
    {"list", "list the projects", list_project},
    {"get", "show a project", get},
    {"edit", "change its name, description, or how long it keeps runs", edit_project},
    {"add-runs", "put runs in a project", add_runs},
    {"remove-runs", "take runs out of a project", take_out_runs},
    {"archive", "hide a project from lists", archive},
};

}  // namespace

Result<int> project_command(Context& context) {
  return run_subcommand(context, "project", "Groups runs in projects.", project_commands);
}

}  // namespace spell::cli
