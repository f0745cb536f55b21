#include "model/routes.hpp"

namespace spell::model {

namespace {
constexpr RouteRow route_table[] = {
    {Route::openapi, "GET", "/v1/openapi.json", "openapi", Access::anyone},
    {Route::health, "GET", "/healthz", "health", Access::anyone},
    {Route::install, "GET", "/install/{file}", "install", Access::anyone},
    {Route::metrics, "GET", "/metrics", "metrics", Access::viewer},
    {Route::status, "GET", "/v1/status", "status", Access::viewer},
    {Route::stop_service, "POST", "/v1/service/stop", "stop_service", Access::administrator},
    {Route::collect, "POST", "/v1/service/collect", "collect", Access::administrator},  // {"spare"}
    {Route::check, "POST", "/v1/service/check", "check", Access::administrator},
    {Route::back_up, "POST", "/v1/service/backup", "back_up", Access::administrator},
    {Route::list_runs, "GET", "/v1/owners/{owner}/runs", "list_runs", Access::workflow_viewer},
    {Route::create_run, "POST", "/v1/owners/{owner}/runs", "create_run", Access::workflow_member},
    {Route::get_run, "GET", "/v1/owners/{owner}/runs/{run}", "get_run", Access::workflow_viewer},
    {Route::delete_run, "DELETE", "/v1/owners/{owner}/runs/{run}", "delete_run", Access::member},
    {Route::stop_run, "POST", "/v1/owners/{owner}/runs/{run}/stop", "stop_run",
     Access::workflow_member},
    {Route::kill_run, "POST", "/v1/owners/{owner}/runs/{run}/kill", "kill_run",
     Access::workflow_member},
    {Route::archive_run, "POST", "/v1/owners/{owner}/runs/{run}/archive", "archive_run",
     Access::member},  // {"archived": bool}
    {Route::label_run, "POST", "/v1/owners/{owner}/runs/{run}/labels", "label_run",
     Access::workflow_member},  // {"add": […], "remove": […]}
    {Route::rerun, "POST", "/v1/owners/{owner}/runs/{run}/rerun", "rerun",
     Access::member},  // Idempotency-Key
    {Route::run_log, "GET", "/v1/owners/{owner}/runs/{run}/log", "run_log",
     Access::workflow_viewer},
    {Route::list_ends, "GET", "/v1/owners/{owner}/ends", "list_ends", Access::workflow_viewer},
    {Route::list_metrics, "GET", "/v1/owners/{owner}/runs/{run}/metrics", "list_metrics",
     Access::workflow_viewer},
    {Route::metric_points, "GET", "/v1/owners/{owner}/runs/{run}/metrics/points", "metric_points",
     Access::workflow_viewer},
    {Route::exec, "GET", "/v1/owners/{owner}/runs/{run}/exec", "exec", Access::member},
    {Route::forward, "GET", "/v1/owners/{owner}/runs/{run}/forward", "forward", Access::member},
    {Route::stats, "GET", "/v1/owners/{owner}/runs/{run}/stats", "stats", Access::viewer},
    {Route::list_resource, "GET", "/v1/owners/{owner}/resources/{path...}", "list_resource",
     Access::workflow_viewer},
    {Route::read_file, "GET", "/v1/owners/{owner}/files/{path...}", "read_file",
     Access::workflow_viewer},
    {Route::objects_missing, "POST", "/v1/owners/{owner}/objects/missing", "objects_missing",
     Access::workflow_member},
    {Route::read_objects, "POST", "/v1/owners/{owner}/objects/read", "read_objects",
     Access::workflow_viewer},
    {Route::send_objects, "POST", "/v1/owners/{owner}/objects", "send_objects",
     Access::workflow_member},
    {Route::put_upload, "PUT", "/v1/owners/{owner}/uploads/{path...}", "put_upload",
     Access::workflow_member},
    {Route::delete_upload, "DELETE", "/v1/owners/{owner}/uploads/{path...}", "delete_upload",
     Access::member},
    {Route::usage, "GET", "/v1/owners/{owner}/usage", "usage", Access::viewer},
    {Route::list_links, "GET", "/v1/owners/{owner}/links", "list_links", Access::viewer},
    {Route::put_link, "PUT", "/v1/owners/{owner}/links/{alias}", "put_link", Access::member},
    {Route::delete_link, "DELETE", "/v1/owners/{owner}/links/{alias}", "delete_link",
     Access::member},
    {Route::list_quotas, "GET", "/v1/owners/{owner}/quotas", "list_quotas", Access::viewer},
    {Route::put_quota, "PUT", "/v1/owners/{owner}/quotas/{user}", "put_quota",
     Access::administrator},
    {Route::list_budgets, "GET", "/v1/owners/{owner}/budgets", "list_budgets", Access::viewer},
    {Route::put_budget, "PUT", "/v1/owners/{owner}/budgets/{kind}/{name}", "put_budget",
     Access::administrator},  // {"amount", "monthly"}
    {Route::delete_budget, "DELETE", "/v1/owners/{owner}/budgets/{kind}/{name}", "delete_budget",
     Access::administrator},
    {Route::get_costs, "GET", "/v1/owners/{owner}/costs", "get_costs", Access::viewer},
    {Route::list_secrets, "GET", "/v1/owners/{owner}/secrets", "list_secrets", Access::member},
    {Route::put_secret, "PUT", "/v1/owners/{owner}/secrets/{name}", "put_secret", Access::member},
    {Route::delete_secret, "DELETE", "/v1/owners/{owner}/secrets/{name}", "delete_secret",
     Access::member},
    {Route::list_projects, "GET", "/v1/owners/{owner}/projects", "list_projects",
     Access::viewer},  // archived=1
    {Route::create_project, "POST", "/v1/owners/{owner}/projects", "create_project",
     Access::member},  // {"name", "description"}
    {Route::get_project, "GET", "/v1/owners/{owner}/projects/{name}", "get_project",
     Access::viewer},
    {Route::edit_project, "PATCH", "/v1/owners/{owner}/projects/{name}", "edit_project",
     Access::member},  // {"name", "description", "archived", "keep_days", "keep_runs"}
    {Route::project_runs, "POST", "/v1/owners/{owner}/projects/{name}/runs", "project_runs",
     Access::member},                                              // {"add": [n], "remove": [n]}
    {Route::login, "POST", "/v1/login", "login", Access::anyone},  // {"user", "password", "name"}
    {Route::logout, "POST", "/v1/logout", "logout", Access::viewer},
    {Route::get_user, "GET", "/v1/user", "get_user", Access::viewer},
    {Route::change_password, "POST", "/v1/user/password", "change_password",
     Access::viewer},  // {"old", "new"}
    {Route::list_users, "GET", "/v1/users", "list_users", Access::viewer},
    {Route::add_user, "POST", "/v1/users", "add_user",
     Access::administrator},  // {"name", "role", "password"}
    {Route::edit_user, "PATCH", "/v1/users/{name}", "edit_user",
     Access::administrator},  // {"role", "disabled"}
    {Route::reset_user, "POST", "/v1/users/{name}/reset", "reset_user",
     Access::administrator},                                                   // {"password"}
    {Route::list_tokens, "GET", "/v1/tokens", "list_tokens", Access::viewer},  // user
    {Route::create_token, "POST", "/v1/tokens", "create_token",
     Access::viewer},  // {"name", "days"}
    {Route::revoke_token, "DELETE", "/v1/tokens/{token}", "revoke_token", Access::viewer},
    {Route::audit, "GET", "/v1/audit", "audit", Access::administrator},
    {Route::list_owners, "GET", "/v1/owners", "list_owners", Access::viewer},
    {Route::add_owner, "POST", "/v1/owners", "add_owner",
     Access::administrator},  // {"name", "members"}
    {Route::owner_members, "POST", "/v1/owners/{owner}/members", "owner_members",
     Access::administrator},  // {"add": […], "remove": […]}
    {Route::list_repositories, "GET", "/v1/owners/{owner}/repositories", "list_repositories",
     Access::viewer},
    {Route::code_missing, "POST", "/v1/owners/{owner}/repositories/{name}/missing", "code_missing",
     Access::member},  // name: workspace
    {Route::send_code, "POST", "/v1/owners/{owner}/repositories/{name}/packs", "send_code",
     Access::member},
    {Route::list_workflows, "GET", "/v1/owners/{owner}/workflows", "list_workflows",
     Access::viewer},
    {Route::create_workflow, "POST", "/v1/owners/{owner}/workflows", "create_workflow",
     Access::workflow_member},  // Idempotency-Key
    {Route::get_workflow, "GET", "/v1/owners/{owner}/workflows/{workflow}", "get_workflow",
     Access::workflow_viewer},
    {Route::delete_workflow, "DELETE", "/v1/owners/{owner}/workflows/{workflow}", "delete_workflow",
     Access::member},
    {Route::stop_workflow, "POST", "/v1/owners/{owner}/workflows/{workflow}/stop", "stop_workflow",
     Access::member},
    {Route::kill_workflow, "POST", "/v1/owners/{owner}/workflows/{workflow}/kill", "kill_workflow",
     Access::member},
    {Route::finish_workflow, "POST", "/v1/owners/{owner}/workflows/{workflow}/finish",
     "finish_workflow", Access::member},  // {"exit_code"}
    {Route::list_machines, "GET", "/v1/owners/{owner}/machines", "list_machines", Access::viewer},
    {Route::create_machine, "POST", "/v1/owners/{owner}/machines", "create_machine",
     Access::administrator},
    {Route::get_machine, "GET", "/v1/owners/{owner}/machines/{name}", "get_machine",
     Access::viewer},
    {Route::edit_machine, "PATCH", "/v1/owners/{owner}/machines/{name}", "edit_machine",
     Access::administrator},
    {Route::delete_machine, "DELETE", "/v1/owners/{owner}/machines/{name}", "delete_machine",
     Access::administrator},
    {Route::interrupt_machine, "POST", "/v1/owners/{owner}/machines/{name}/interrupt",
     "interrupt_machine", Access::administrator},
    {Route::machine_token, "POST", "/v1/owners/{owner}/machines/{name}/token", "machine_token",
     Access::administrator},
    {Route::list_machine_types, "GET", "/v1/owners/{owner}/machine-types", "list_machine_types",
     Access::workflow_viewer},
    {Route::create_machine_type, "POST", "/v1/owners/{owner}/machine-types", "create_machine_type",
     Access::administrator},
    {Route::edit_machine_type, "PATCH", "/v1/owners/{owner}/machine-types/{name}",
     "edit_machine_type", Access::administrator},
    {Route::delete_machine_type, "DELETE", "/v1/owners/{owner}/machine-types/{name}",
     "delete_machine_type", Access::administrator},
    {Route::machine_type_token, "POST", "/v1/owners/{owner}/machine-types/{name}/token",
     "machine_type_token", Access::administrator},
    {Route::list_catalogue, "GET", "/v1/owners/{owner}/catalogue", "list_catalogue",
     Access::workflow_viewer},
    {Route::put_price_list, "PUT", "/v1/owners/{owner}/price-list", "put_price_list",
     Access::administrator},
    {Route::join, "POST", "/v1/join", "join", Access::joiner},
    {Route::machine_sync, "POST", "/v1/machines/{machine}/sync", "machine_sync", Access::machine},
    // query run, epoch, offset (output bytes before it); body: output frames of a spool, times of
    // CLOCK_BOOTTIME; query now_us: that clock when it was sent. -> {"bytes": output bytes that are
    // durable now}
    {Route::machine_log, "POST", "/v1/machines/{machine}/log", "machine_log", Access::machine},
    // the same for the run's metrics, see model/metric.hpp
    {Route::machine_metrics, "POST", "/v1/machines/{machine}/metrics", "machine_metrics",
     Access::machine},
    // query run, epoch; body: a SpellFS pack
    {Route::machine_objects, "POST", "/v1/machines/{machine}/objects", "machine_objects",
     Access::machine},
    // {"run", "epoch", "names": […]} -> {"names": [those that are missing]}
    {Route::machine_missing, "POST", "/v1/machines/{machine}/missing", "machine_missing",
     Access::machine},
    // query run, epoch, have (commits, separated by commas) -> a Git pack of the run's commit, as
    // against those
    {Route::machine_code, "GET", "/v1/machines/{machine}/code", "machine_code", Access::machine},
    // {"run", "epoch", "names": […]} -> a SpellFS pack without an owner of the first of them; only
    // what the run's owner has sent, or is in public/
    {Route::machine_read, "POST", "/v1/machines/{machine}/objects/read", "machine_read",
     Access::machine},
    {Route::machine_stream, "GET", "/v1/machines/{machine}/streams/{stream}", "machine_stream",
     Access::machine},
    {Route::list_environments, "GET", "/v1/owners/{owner}/environments", "list_environments",
     Access::viewer},
    {Route::get_environment, "GET", "/v1/owners/{owner}/environments/{name}", "get_environment",
     Access::viewer},
    {Route::delete_environment, "DELETE", "/v1/owners/{owner}/environments/{name}",
     "delete_environment", Access::member},
    // query run, epoch; body: model::LayerClaim -> model::LayerAnswer; with wait_ms when another
    // run's build has ended, or the time is up
    {Route::machine_claim_layer, "POST", "/v1/machines/{machine}/layers/claim",
     "machine_claim_layer", Access::machine},
    // query run, epoch; body: model::LayerBuilt -> model::LayerAnswer
    {Route::machine_put_layer, "POST", "/v1/machines/{machine}/layers", "machine_put_layer",
     Access::machine},
};
}  // namespace

std::span<const RouteRow> routes() { return route_table; }

}  // namespace spell::model
