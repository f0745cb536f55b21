#include "spell/project.hpp"

#include "client/connection.hpp"
#include "spell/json.hpp"

namespace spell {

namespace {

using namespace detail;
using model::Route;

Result<ProjectInfo> project_of(const Result<json>& answer) {
  if (!answer) return answer.error();
  return member<ProjectInfo>(*answer, "project");
}

}  // namespace

Result<ProjectInfo> Projects::create(const std::string& name, const std::string& description,
                                     CallOptions options) const {
  return project_of(connection_->call(
      {.route = Route::create_project, .body = {{"name", name}, {"description", description}}},
      options));
}

Result<std::vector<ProjectInfo>> Projects::list(bool with_archived, CallOptions options) const {
  Call call{.route = Route::list_projects};
  if (with_archived) call.query.emplace_back("archived", "1");
  auto answer = connection_->call(call, options);
  if (!answer) return answer.error();
  return member<std::vector<ProjectInfo>>(*answer, "projects");
}

Result<ProjectInfo> Projects::get(const std::string& name, CallOptions options) const {
  return project_of(connection_->call({.route = Route::get_project, .names = {name}}, options));
}

Result<ProjectInfo> Projects::edit(const std::string& name, const ProjectChange& change,
                                   CallOptions options) const {
  json body = json::object();
  if (change.name) body["name"] = *change.name;
  if (change.description) body["description"] = *change.description;
  if (change.archived) body["archived"] = *change.archived;
  if (change.keep_days) body["keep_days"] = *change.keep_days;
  if (change.keep_runs) body["keep_runs"] = *change.keep_runs;
  return project_of(
      connection_->call({.route = Route::edit_project, .names = {name}, .body = body}, options));
}

Result<ProjectInfo> Projects::add_runs(const std::string& name,
                                       const std::vector<std::int64_t>& runs,
                                       CallOptions options) const {
  return project_of(connection_->call(
      {.route = Route::project_runs, .names = {name}, .body = {{"add", runs}}}, options));
}

Result<ProjectInfo> Projects::remove_runs(const std::string& name,
                                          const std::vector<std::int64_t>& runs,
                                          CallOptions options) const {
  return project_of(connection_->call(
      {.route = Route::project_runs, .names = {name}, .body = {{"remove", runs}}}, options));
}

}  // namespace spell
