#include "service/router.hpp"

#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/text.hpp"
#include "service/resource_path.hpp"

namespace spell::service {

namespace {

/// The parameters of a pattern, given by its parts, if the segments fit it.
std::optional<std::map<std::string, std::string>> match(const std::vector<std::string>& pattern,
                                                        const std::vector<std::string>& segments) {
  std::map<std::string, std::string> out;
  std::size_t at = 0;
  for (auto& part : pattern) {
    if (part == "{path...}") {
      out["path"] =
          base::join({segments.begin() + static_cast<std::ptrdiff_t>(std::min(at, segments.size())),
                      segments.end()},
                     "/");
      return out;
    }
    if (at == segments.size()) return std::nullopt;
    if (part.front() == '{')
      out[part.substr(1, part.size() - 2)] = segments[at];
    else if (part != segments[at])
      return std::nullopt;
    ++at;
  }
  if (at != segments.size()) return std::nullopt;
  return out;
}

struct Match {
  const model::RouteRow* row = nullptr;
  std::map<std::string, std::string> path;
  bool other_method = false;  ///< the path is known, the method is not
};

/// The table's patterns, cut once.
const std::vector<std::vector<std::string>>& patterns() {
  static const auto cut = [] {
    std::vector<std::vector<std::string>> all;
    for (auto& row : model::routes()) all.push_back(base::split(row.path.substr(1), '/'));
    return all;
  }();
  return cut;
}

Match find_route(const std::string& method, const std::vector<std::string>& segments) {
  Match result;
  for (auto& row : model::routes()) {
    auto path =
        match(patterns()[static_cast<std::size_t>(&row - model::routes().data())], segments);
    if (!path) continue;
    if (row.method != method) {
      result.other_method = true;
      continue;
    }
    result.row = &row;
    result.path = std::move(*path);
    return result;
  }
  return result;
}

/// Routes that bring new work or new bytes: refused while the disk is full. What ends runs, tells
/// of them or makes room is not.
bool needs_room(model::Route route) {
  using enum model::Route;
  return route == create_run || route == create_workflow || route == rerun || route == send_code ||
         route == send_objects || route == put_upload || route == machine_objects ||
         route == machine_log || route == machine_metrics;
}

bool brings_runs(model::Route route) {
  return route == model::Route::create_run || route == model::Route::create_workflow ||
         route == model::Route::rerun;
}

/// Whether the answer comes when something happens, not as soon as it can.
bool waits(const model::RouteRow& row, const net::Target& target) {
  return row.route == model::Route::machine_sync ||
         row.route == model::Route::machine_claim_layer || target.query.contains("wait_ms") ||
         target.query.contains("follow");
}

/// Routes by which the administrator fills `public/`; on a personal service that is its user.
bool writes_public(model::Route route) {
  using enum model::Route;
  return route == objects_missing || route == send_objects || route == put_upload ||
         route == delete_upload;
}

}  // namespace

HandlerFunction handler_of(model::Route route) {
  using enum model::Route;
  switch (route) {
    case openapi:
      return get_openapi;
    case health:
      return get_health;
    case install:
      return get_install;
    case model::Route::metrics:
      return get_metrics;
    case back_up:
      return back_up_service;
    case model::Route::list_quotas:
      return service::list_quotas;
    case model::Route::put_quota:
      return service::put_quota;
    case model::Route::list_budgets:
      return service::list_budgets;
    case model::Route::put_budget:
      return service::put_budget;
    case model::Route::delete_budget:
      return service::delete_budget;
    case model::Route::get_costs:
      return service::get_costs;
    case status:
      return get_status;
    case model::Route::stop_service:
      return service::stop_service;
    case model::Route::list_runs:
      return service::list_runs;
    case model::Route::create_run:
      return service::create_run;
    case model::Route::get_run:
      return service::get_run;
    case model::Route::delete_run:
      return service::delete_run;
    case model::Route::stop_run:
      return service::stop_run;
    case model::Route::kill_run:
      return service::kill_run;
    case model::Route::archive_run:
      return service::archive_run;
    case model::Route::label_run:
      return service::label_run;
    case model::Route::rerun:
      return service::rerun;
    case run_log:
      return get_log;
    case list_ends:
      return service::list_ends;
    case list_metrics:
      return service::list_metrics;
    case metric_points:
      return service::metric_points;
    case exec:
      return exec_in_run;
    case forward:
      return forward_to_run;
    case stats:
      return run_stats;
    case model::Route::list_resource:
      return service::list_resource;
    case model::Route::read_file:
      return service::read_file;
    case model::Route::objects_missing:
      return service::objects_missing;
    case model::Route::read_objects:
      return service::read_objects;
    case model::Route::send_objects:
      return service::send_objects;
    case model::Route::put_upload:
      return service::put_upload;
    case model::Route::delete_upload:
      return service::delete_upload;
    case collect:
      return collect_storage;
    case check:
      return check_storage;
    case usage:
      return get_usage;
    case model::Route::list_links:
      return service::list_links;
    case model::Route::put_link:
      return service::put_link;
    case model::Route::delete_link:
      return service::delete_link;
    case model::Route::list_secrets:
      return service::list_secrets;
    case model::Route::put_secret:
      return service::put_secret;
    case model::Route::delete_secret:
      return service::delete_secret;
    case model::Route::list_projects:
      return service::list_projects;
    case model::Route::create_project:
      return service::create_project;
    case model::Route::get_project:
      return service::get_project;
    case model::Route::edit_project:
      return service::edit_project;
    case project_runs:
      return change_project_runs;
    case model::Route::login:
      return service::log_in;
    case model::Route::logout:
      return service::log_out;
    case model::Route::get_user:
      return service::get_user;
    case model::Route::change_password:
      return service::change_password;
    case model::Route::list_users:
      return service::list_users;
    case model::Route::add_user:
      return service::add_user;
    case model::Route::edit_user:
      return service::edit_user;
    case model::Route::reset_user:
      return service::reset_user;
    case model::Route::list_tokens:
      return service::list_tokens;
    case model::Route::create_token:
      return service::create_token;
    case model::Route::revoke_token:
      return service::revoke_token;
    case model::Route::audit:
      return service::list_audit;
    case model::Route::list_owners:
      return service::list_owners;
    case model::Route::add_owner:
      return service::add_owner;
    case owner_members:
      return change_members;
    case model::Route::list_repositories:
      return service::list_repositories;
    case model::Route::code_missing:
      return service::code_missing;
    case model::Route::send_code:
      return service::send_code;
    case model::Route::list_workflows:
      return service::list_workflows;
    case model::Route::create_workflow:
      return service::create_workflow;
    case model::Route::get_workflow:
      return service::get_workflow;
    case model::Route::delete_workflow:
      return service::delete_workflow;
    case model::Route::stop_workflow:
      return service::stop_workflow;
    case model::Route::kill_workflow:
      return service::kill_workflow;
    case model::Route::finish_workflow:
      return service::finish_workflow;
    case model::Route::list_machines:
      return service::list_machines;
    case model::Route::create_machine:
      return service::create_machine;
    case model::Route::get_machine:
      return service::get_machine;
    case model::Route::edit_machine:
      return service::edit_machine;
    case model::Route::delete_machine:
      return service::delete_machine;
    case model::Route::interrupt_machine:
      return service::interrupt_machine;
    case model::Route::machine_token:
      return service::machine_token;
    case model::Route::list_machine_types:
      return service::list_machine_types;
    case model::Route::create_machine_type:
      return service::create_machine_type;
    case model::Route::edit_machine_type:
      return service::edit_machine_type;
    case model::Route::delete_machine_type:
      return service::delete_machine_type;
    case model::Route::machine_type_token:
      return service::machine_type_token;
    case model::Route::list_catalogue:
      return service::list_catalogue;
    case model::Route::put_price_list:
      return service::put_price_list;
    case model::Route::join:
      return service::join;
    case model::Route::machine_sync:
      return service::machine_sync;
    case model::Route::machine_log:
      return service::machine_log;
    case model::Route::machine_metrics:
      return service::machine_metrics;
    case model::Route::machine_objects:
      return service::machine_objects;
    case model::Route::machine_missing:
      return service::machine_missing;
    case model::Route::machine_code:
      return service::machine_code;
    case model::Route::machine_read:
      return service::machine_read;
    case model::Route::machine_stream:
      return service::machine_stream;
    case model::Route::list_environments:
      return service::list_environments;
    case model::Route::get_environment:
      return service::get_environment;
    case model::Route::delete_environment:
      return service::delete_environment;
    case model::Route::machine_claim_layer:
      return service::machine_claim_layer;
    case model::Route::machine_put_layer:
      return service::machine_put_layer;
  }
  return nullptr;
}

namespace {
net::BodyRule rule_of(model::Route route) {
  switch (route) {
    case model::Route::send_code:
    case model::Route::machine_objects:
    case model::Route::send_objects:
      return {std::int64_t{1} << 42, true};
    case model::Route::machine_sync:
      return {64 << 20, false};
    case model::Route::machine_log:
    case model::Route::machine_metrics:
      return {8 << 20, false};
    case model::Route::machine_missing:
    case model::Route::machine_read:
    case model::Route::objects_missing:
      return {8 << 20, false};
    case model::Route::code_missing:
    case model::Route::read_objects:
      return {4 << 20, false};
    default:
      return {};
  }
}

std::string machine_of(const Match& match) {
  auto found = match.path.find("machine");
  return found == match.path.end() ? std::string() : found->second;
}
}  // namespace

Result<Caller> Router::admit(const net::Request& request, const model::RouteRow& row,
                             const std::string& machine) {
  auto caller = callers_.identify(request);
  // Who has an old token may still log in.
  if (!caller && row.access == model::Access::anyone && caller.error().code() == "unauthorized")
    return Caller();
  if (!caller) return caller;
  SPELL_TRY(permit(*caller, row.access, machine));
  return caller;
}

Result<net::BodyRule> Router::body_rule(const net::Request& head) {
  constexpr std::int64_t unknown_limit = 64 << 10;  // of a body whose sender need not be known
  auto found = find_route(head.method, head.target.segments);
  if (!found.row) return net::BodyRule{unknown_limit, false};
  if (auto caller = admit(head, *found.row, machine_of(found)); !caller) return caller.error();
  if (found.row->access == model::Access::anyone) return net::BodyRule{unknown_limit, false};
  return rule_of(found.row->route);
}

void Router::observe(const net::Request& request, const net::Reply& reply,
                     const model::RouteRow* row, std::shared_ptr<std::string> user) {
  RequestLine line{
      request.id, {}, request.method, request.raw_target.substr(0, request.raw_target.find('?'))};
  bool news = row && waits(*row, request.target);
  bool of_worker = row && row->access == model::Access::machine;
  reply.on_answer([this, row, news, of_worker, line = std::move(line), user = std::move(user),
                   began_ns = base::boot_ns()](const net::Response& response) mutable {
    line.took = std::chrono::microseconds((base::boot_ns() - began_ns) / 1000);
    if (row)
      context_.metrics.answered(row->route, response.status, line.took, news);
    else
      context_.metrics.refused();
    bool failed = response.status >= 400;
    if (!context_.options.log_request || (!failed && (of_worker || line.method == "GET"))) return;
    line.status = response.status;
    line.user = *user;
    if (json body = failed ? json::parse(response.body, nullptr, false) : json();
        body.is_object() && body.contains("error")) {
      line.code = body["error"].value("code", "");
      line.message = body["error"].value("message", "");
    }
    context_.options.log_request(line);
  });
}

void Router::handle(net::Request request, net::Reply reply) {
  auto found = find_route(request.method, request.target.segments);
  auto user = std::make_shared<std::string>();
  observe(request, reply, found.row, user);
  if (!found.row) {
    Error e =
        found.other_method
            ? base::error(
                  "method_not_allowed",
                  request.method + " is not possible here; /v1/openapi.json lists the routes")
            : base::error("route_not_found", "there is no such route; /v1/openapi.json lists them");
    return reply.send(error_response(e, request.id));
  }
  // Again: a body takes its time to come, and a token may have ended meanwhile.
  auto caller = admit(request, *found.row, machine_of(found));
  if (!caller) return reply.send(error_response(caller.error(), request.id));
  reply.belongs_to(caller->token);
  *user = caller->name;
  if (found.row->access != model::Access::machine) on_call_();
  auto is_here = [&](const std::string& owner) {
    return caller->belongs_to(owner) || (owner == public_owner && writes_public(found.row->route) &&
                                         caller->role == model::Role::administrator);
  };
  if (auto owner = found.path.find("owner"); owner != found.path.end() && !is_here(owner->second))
    return reply.send(error_response(no_such_owner(*caller, owner->second), request.id));
  if (needs_room(found.row->route)) {
    context_.space.look();
    auto room = context_.space.check();
    if (room && brings_runs(found.row->route)) room = context_.space.check_runs();
    if (!room) return reply.send(error_response(room.error(), request.id));
  }
  handler_of(found.row->route)(
      context_, std::make_shared<CallData>(CallData{std::move(request), std::move(reply),
                                                    std::move(found.path), std::move(*caller)}));
}

net::Response Router::error(const Error& error, const std::string& request_id) {
  context_.metrics.refused();
  return error_response(error, request_id);
}

}  // namespace spell::service
