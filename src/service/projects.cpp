// Projects: named groups of runs.
#include "base/error.hpp"
#include "base/text.hpp"
#include "model/fields.hpp"
#include "service/api.hpp"
#include "spell/json.hpp"

namespace spell::service {

namespace {

json project_json(const store::ProjectRecord& project) {
  ProjectInfo info;
  info.name = project.name;
  info.description = project.description;
  info.archived = project.archived;
  info.runs = project.runs;
  info.keep_days = project.keep_days;
  info.keep_runs = project.keep_runs;
  info.created_at = Time(std::chrono::microseconds(project.created_us));
  return info;
}

Error no_such_project(const std::string& name) {
  return base::error("project_not_found",
                     "there is no project '" + name + "'; `spell project list` shows them");
}

/// Posts a change of projects, and answers with the project of the name that it returns. `action`,
/// `detail`: see audit().
void change_project(Context& context, Call call, int status, const std::string& action,
                    const std::string& detail,
                    std::function<Result<std::string>(State&, std::int64_t)> command) {
  context.reactor.post([&context, call, status, action, detail, command = std::move(command)](
                           State& state, std::int64_t now) -> Reactor::Answer {
    auto name = command(state, now);
    if (name) {
      auto known = call->path.find("name");
      auto noted = audit(state, now, call, action,
                         known == call->path.end() ? *name : known->second, detail);
      if (!noted) name = noted.error();
    }
    return [&context, call, status, name](const Result<>& committed) {
      if (!name) return refuse(call, name.error());
      if (!committed) return refuse(call, committed.error());
      auto project = context.readers.with(
          [&](store::Reader& reader) { return reader.find_project(call->owner(), *name); });
      if (!project) return refuse(call, project.error());
      if (!*project) return refuse(call, no_such_project(*name));
      if ((*project)->keep_days > 0 || (*project)->keep_runs > 0)
        context.collector.projects_changed();
      answer(call, {{"project", project_json(**project)}}, status);
    };
  });
}

struct ProjectChange {
  std::optional<std::string> name, description;
  std::optional<bool> archived;
  std::optional<std::int64_t> keep_days, keep_runs;
};

/// "name new, keep_days 30".
std::string text_of_change(const ProjectChange& change) {
  std::vector<std::string> parts;
  if (change.name) parts.push_back("name " + *change.name);
  if (change.description) parts.push_back("description");
  if (change.archived) parts.push_back(*change.archived ? "archived" : "not archived");
  if (change.keep_days) parts.push_back("keep_days " + std::to_string(*change.keep_days));
  if (change.keep_runs) parts.push_back("keep_runs " + std::to_string(*change.keep_runs));
  return base::join(parts, ", ");
}

/// Days, or runs, that a project may be told to keep.
constexpr std::int64_t most_kept = 1'000'000;

/// `edited`: of a project that is there more may be changed.
Result<ProjectChange> parse_change(const Call& call, bool edited) {
  auto body = body_object(call);
  if (!body) return body.error();
  ProjectChange change;
  for (auto& [field, value] : body->items()) {
    if (edited && (field == "keep_days" || field == "keep_runs")) {
      auto& kept = field == "keep_days" ? change.keep_days : change.keep_runs;
      if (auto problem = model::read_int(value, kept.emplace(), 0, most_kept))
        return base::error("invalid_request", field + " " + problem.text);
    } else if (field == "archived" && edited) {
      if (!value.is_boolean())
        return base::error("invalid_request", "'archived' must be true or false");
      change.archived = value;
    } else if (field == "name" || field == "description") {
      if (!value.is_string()) return base::error("invalid_request", "'" + field + "' must be text");
      (field == "name" ? change.name : change.description) = value.get<std::string>();
    } else {
      return base::error("invalid_request", "'" + field + "' is not a known field");
    }
  }
  if (change.name && !base::valid_name(*change.name))
    return base::error("invalid_request",
                       "'name' must be 1 to 64 letters, digits, '.', '_' and '-'");
  if (change.description &&
      (change.description->size() > 10'240 || !base::valid_text(*change.description)))
    return base::error("invalid_request",
                       "'description' must be UTF-8 without NUL, at most 10 KiB");
  return change;
}

}  // namespace

void list_projects(Context& context, Call call) {
  auto projects = context.readers.with([&](store::Reader& reader) {
    return reader.projects(call->owner(), call->flag("archived"));
  });
  if (!projects) return refuse(call, projects.error());
  json list = json::array();
  for (auto& project : *projects) list.push_back(project_json(project));
  answer(call, {{"projects", std::move(list)}});
}

void create_project(Context& context, Call call) {
  auto asked = parse_change(call, false);
  if (!asked) return refuse(call, asked.error());
  if (!asked->name) return refuse(call, base::error("invalid_request", "'name' is missing"));
  change_project(context, call, 201, "project.create", "",
                 [owner = call->owner(), creator = call->caller.name, asked = *asked](
                     State& state, std::int64_t now) -> Result<std::string> {
                   auto there = state.writer().find_project(owner, *asked.name);
                   if (!there) return there.error();
                   if (*there)
                     return base::error("project_exists",
                                        "there is a project '" + *asked.name + "' already");
                   store::ProjectRecord project;
                   project.description = asked.description.value_or("");
                   project.created_us = now;
                   project.creator = creator;
                   SPELL_TRY(state.writer().put_project(owner, *asked.name, project));
                   return *asked.name;
                 });
}

void get_project(Context& context, Call call) {
  auto& name = call->path.at("name");
  auto project = context.readers.with(
      [&](store::Reader& reader) { return reader.find_project(call->owner(), name); });
  if (!project) return refuse(call, project.error());
  if (!*project) return refuse(call, no_such_project(name));
  answer(call, {{"project", project_json(**project)}});
}

void edit_project(Context& context, Call call) {
  auto asked = parse_change(call, true);
  if (!asked) return refuse(call, asked.error());
  change_project(context, call, 200, "project.edit", text_of_change(*asked),
                 [call, owner = call->owner(), name = call->path.at("name"), asked = *asked](
                     State& state, std::int64_t) -> Result<std::string> {
                   auto project = state.writer().find_project(owner, name);
                   if (!project) return project.error();
                   if (!*project) return no_such_project(name);
                   SPELL_TRY(may_change(call, (*project)->creator, "the project " + name));
                   if (asked.description) (*project)->description = *asked.description;
                   if (asked.archived) (*project)->archived = *asked.archived;
                   if (asked.keep_days) (*project)->keep_days = *asked.keep_days;
                   if (asked.keep_runs) (*project)->keep_runs = *asked.keep_runs;
                   SPELL_TRY(state.writer().put_project(owner, name, **project));
                   if (!asked.name || *asked.name == name) return name;
                   auto other = state.writer().find_project(owner, *asked.name);
                   if (!other) return other.error();
                   if (*other)
                     return base::error("project_exists",
                                        "there is a project '" + *asked.name + "' already");
                   SPELL_TRY(state.rename_project(owner, name, *asked.name));
                   return *asked.name;
                 });
}

void change_project_runs(Context& context, Call call) {
  auto body = body_object(call);
  if (!body) return refuse(call, body.error());
  std::vector<std::int64_t> add, remove;
  for (auto& [field, value] : body->items()) {
    if (field != "add" && field != "remove")
      return refuse(call, base::error("invalid_request", "'" + field + "' is not a known field"));
    if (!value.is_array())
      return refuse(
          call, base::error("invalid_request", "'" + field + "' must be a list of run numbers"));
    for (auto& number : value) {
      if (!number.is_number_integer() || number.get<std::int64_t>() < 1 ||
          number.get<std::int64_t>() >= std::int64_t{1} << 53)
        return refuse(
            call, base::error("invalid_request", "'" + field + "' must be a list of run numbers"));
      (field == "add" ? add : remove).push_back(number);
    }
  }
  std::string detail =
      std::to_string(add.size()) + " added, " + std::to_string(remove.size()) + " removed";
  change_project(context, call, 200, "project.runs", detail,
                 [call, owner = call->owner(), name = call->path.at("name"), add, remove](
                     State& state, std::int64_t now) -> Result<std::string> {
                   auto project = state.writer().find_project(owner, name);
                   if (!project) return project.error();
                   if (!*project) return no_such_project(name);
                   // All or nothing: every run is looked up before one is changed.
                   for (auto* numbers : {&add, &remove})
                     for (auto number : *numbers) {
                       auto run = state.find_run(owner, number);
                       if (!run) return run.error();
                       SPELL_TRY(may_change(call, run->creator, "run " + std::to_string(number)));
                     }
                   for (auto number : add)
                     if (auto run = state.set_project(owner, number, name, now); !run)
                       return run.error();
                   for (auto number : remove) {
                     auto run = state.find_run(owner, number);
                     if (run && run->project == name)
                       if (auto done = state.set_project(owner, number, "", now); !done)
                         return done.error();
                   }
                   return name;
                 });
}

}  // namespace spell::service
