#include "model/routes.hpp"

namespace spell::model {

namespace {
constexpr RouteRow table[] = {
    {Route::openapi, "GET", "/v1/openapi.json", "openapi", Access::anyone},
    {Route::health, "GET", "/healthz", "health", Access::anyone},
    {Route::status, "GET", "/v1/status", "status", Access::viewer},
    {Route::stop_service, "POST", "/v1/service/stop", "stop_service", Access::administrator},
    {Route::collect, "POST", "/v1/service/collect", "collect", Access::administrator},  // {"spare"}
    {Route::check, "POST", "/v1/service/check", "check", Access::administrator},
    {Route::list_runs, "GET", "/v1/owners/{owner}/runs", "list_runs", Access::viewer},
    {Route::create_run, "POST", "/v1/owners/{owner}/runs", "create_run", Access::member},
    {Route::get_run, "GET", "/v1/owners/{owner}/runs/{run}", "get_run", Access::viewer},
    {Route::delete_run, "DELETE", "/v1/owners/{owner}/runs/{run}", "delete_run", Access::member},
    {Route::stop_run, "POST", "/v1/owners/{owner}/runs/{run}/stop", "stop_run", Access::member},
    {Route::kill_run, "POST", "/v1/owners/{owner}/runs/{run}/kill", "kill_run", Access::member},
    {Route::archive_run, "POST", "/v1/owners/{owner}/runs/{run}/archive", "archive_run",
     Access::member},  // {"archived": bool}
    {Route::label_run, "POST", "/v1/owners/{owner}/runs/{run}/labels", "label_run",
     Access::member},  // {"add": […], "remove": […]}
    {Route::rerun, "POST", "/v1/owners/{owner}/runs/{run}/rerun", "rerun",
     Access::member},  // Idempotency-Key
    {Route::run_log, "GET", "/v1/owners/{owner}/runs/{run}/log", "run_log", Access::viewer},
    {Route::list_resource, "GET", "/v1/owners/{owner}/resources/{path...}", "list_resource",
     Access::viewer},
    {Route::read_file, "GET", "/v1/owners/{owner}/files/{path...}", "read_file", Access::viewer},
    {Route::objects_missing, "POST", "/v1/owners/{owner}/objects/missing", "objects_missing",
     Access::member},
    {Route::send_objects, "POST", "/v1/owners/{owner}/objects", "send_objects", Access::member},
    {Route::put_upload, "PUT", "/v1/owners/{owner}/uploads/{name}", "put_upload", Access::member},
    {Route::delete_upload, "DELETE", "/v1/owners/{owner}/uploads/{name}", "delete_upload",
     Access::member},
    {Route::usage, "GET", "/v1/owners/{owner}/usage", "usage", Access::viewer},
    {Route::list_links, "GET", "/v1/owners/{owner}/links", "list_links", Access::viewer},
    {Route::put_link, "PUT", "/v1/owners/{owner}/links/{alias}", "put_link", Access::member},
    {Route::delete_link, "DELETE", "/v1/owners/{owner}/links/{alias}", "delete_link",
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
     Access::member},  // {"add": [n], "remove": [n]}
    {Route::list_repositories, "GET", "/v1/owners/{owner}/repositories", "list_repositories",
     Access::viewer},
    {Route::code_missing, "POST", "/v1/owners/{owner}/repositories/{name}/missing", "code_missing",
     Access::member},  // name: workspace
    {Route::send_code, "POST", "/v1/owners/{owner}/repositories/{name}/packs", "send_code",
     Access::member},
    {Route::list_machines, "GET", "/v1/owners/{owner}/machines", "list_machines", Access::viewer},
    {Route::machine_sync, "POST", "/v1/machines/{machine}/sync", "machine_sync", Access::machine},
    // query run, epoch, offset (output bytes before it); body: output frames of a spool, times of
    // CLOCK_BOOTTIME; query now_us: that clock when it was sent. -> {"bytes": output bytes that are
    // durable now}
    {Route::machine_log, "POST", "/v1/machines/{machine}/log", "machine_log", Access::machine},
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
};
}  // namespace

std::span<const RouteRow> routes() { return table; }

}  // namespace spell::model
