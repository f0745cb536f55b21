#include "model/routes.hpp"

namespace spell::model {

namespace {
constexpr RouteRow table[] = {
    {Route::openapi, "GET", "/v1/openapi.json", "openapi"},
    {Route::health, "GET", "/healthz", "health"},
    {Route::status, "GET", "/v1/status", "status"},
    {Route::stop_service, "POST", "/v1/service/stop", "stop_service"},
    {Route::collect, "POST", "/v1/service/collect", "collect"},  // {"spare"}
    {Route::check, "POST", "/v1/service/check", "check"},
    {Route::list_runs, "GET", "/v1/owners/{owner}/runs", "list_runs"},
    {Route::create_run, "POST", "/v1/owners/{owner}/runs", "create_run"},
    {Route::get_run, "GET", "/v1/owners/{owner}/runs/{run}", "get_run"},
    {Route::delete_run, "DELETE", "/v1/owners/{owner}/runs/{run}", "delete_run"},
    {Route::stop_run, "POST", "/v1/owners/{owner}/runs/{run}/stop", "stop_run"},
    {Route::kill_run, "POST", "/v1/owners/{owner}/runs/{run}/kill", "kill_run"},
    {Route::archive_run, "POST", "/v1/owners/{owner}/runs/{run}/archive",
     "archive_run"},  // {"archived": bool}
    {Route::label_run, "POST", "/v1/owners/{owner}/runs/{run}/labels",
     "label_run"},  // {"add": […], "remove": […]}
    {Route::rerun, "POST", "/v1/owners/{owner}/runs/{run}/rerun", "rerun"},  // Idempotency-Key
    {Route::run_log, "GET", "/v1/owners/{owner}/runs/{run}/log", "run_log"},
    {Route::list_resource, "GET", "/v1/owners/{owner}/resources/{path...}", "list_resource"},
    {Route::read_file, "GET", "/v1/owners/{owner}/files/{path...}", "read_file"},
    {Route::objects_missing, "POST", "/v1/owners/{owner}/objects/missing", "objects_missing"},
    {Route::send_objects, "POST", "/v1/owners/{owner}/objects", "send_objects"},
    {Route::put_upload, "PUT", "/v1/owners/{owner}/uploads/{name}", "put_upload"},
    {Route::delete_upload, "DELETE", "/v1/owners/{owner}/uploads/{name}", "delete_upload"},
    {Route::usage, "GET", "/v1/owners/{owner}/usage", "usage"},
    {Route::list_links, "GET", "/v1/owners/{owner}/links", "list_links"},
    {Route::put_link, "PUT", "/v1/owners/{owner}/links/{alias}", "put_link"},
    {Route::delete_link, "DELETE", "/v1/owners/{owner}/links/{alias}", "delete_link"},
    {Route::list_projects, "GET", "/v1/owners/{owner}/projects", "list_projects"},  // archived=1
    {Route::create_project, "POST", "/v1/owners/{owner}/projects",
     "create_project"},  // {"name", "description"}
    {Route::get_project, "GET", "/v1/owners/{owner}/projects/{name}", "get_project"},
    {Route::edit_project, "PATCH", "/v1/owners/{owner}/projects/{name}",
     "edit_project"},  // {"name", "description", "archived", "keep_days", "keep_runs"}
    {Route::project_runs, "POST", "/v1/owners/{owner}/projects/{name}/runs",
     "project_runs"},  // {"add": [n], "remove": [n]}
    {Route::list_repositories, "GET", "/v1/owners/{owner}/repositories", "list_repositories"},
    {Route::code_missing, "POST", "/v1/owners/{owner}/repositories/{name}/missing",
     "code_missing"},  // name: workspace
    {Route::send_code, "POST", "/v1/owners/{owner}/repositories/{name}/packs", "send_code"},
    {Route::list_machines, "GET", "/v1/owners/{owner}/machines", "list_machines"},
    {Route::machine_sync, "POST", "/v1/machines/{machine}/sync", "machine_sync"},
    // query run, epoch, offset (output bytes before it); body: output frames of a spool, times of
    // CLOCK_BOOTTIME; query now_us: that clock when it was sent. -> {"bytes": output bytes that are
    // durable now}
    {Route::machine_log, "POST", "/v1/machines/{machine}/log", "machine_log"},
    // query run, epoch; body: a SpellFS pack
    {Route::machine_objects, "POST", "/v1/machines/{machine}/objects", "machine_objects"},
    // {"run", "epoch", "names": […]} -> {"names": [those that are missing]}
    {Route::machine_missing, "POST", "/v1/machines/{machine}/missing", "machine_missing"},
};
}  // namespace

std::span<const RouteRow> routes() { return table; }

}  // namespace spell::model
