// The API's routes: the one table. The router dispatches by it, the tests walk it,
// src/share/openapi.json describes each. {owner} {run} {name} {machine} stand for one path segment,
// {path...} for the rest.
//
// Answers are JSON objects with one member that names what it is ({"run": …}, {"runs": […]});
// errors are
// {"error": {"code", "message", "request_id"}}. Lists are {"runs": […], "next": cursor or null}.
//
// run_log: query `format` (frames | text | jsonl | sse), `cursor` ("B.S", see model/log.hpp),
// `follow` (1: until the run is final
//   and all is read), `tail` (N lines, counted in the whole log; `cursor` wins), `output_only` (1).
//   frames: application/vnd.spell.log; a frame's header carries what a cursor needs.
// get_run: query `version` + `wait_ms` (at most 60000): answers when the run's version is above it,
// or it is final, or time is up. list_runs: query `limit` (1…1000, default 50), `cursor`, `label`,
// `project`, `repository`, `workflow`, `active`, `archived` (1). The newest
//   first on a page; `next` goes back in time.
// create_run: body model::RunRequest, header Idempotency-Key (1…200 characters); 201, or 200 with
// "already_existed": true. code_missing: body {"commit", "trees": […]} -> {"has_commit": bool,
// "trees": [those that are there]}. send_code: body the pack (application/vnd.git.pack), query
// `commit`, `repository` (name) -> {"commit"}. list_resource: query `after`, `limit` ->
// {"resource": {...}, "entries":
// [{"path","type":"file|folder|link","size","mode","modified_at","link_target"}], "next"}.
// Of non-UTF-8 names `next` is no name: it is opaque.
// list_ends: query `from` (a cursor; "": now), `wait_ms` (for a run that ends) -> {"runs": [those
// that have ended or were removed since], "next", "complete": false: others may have, too}.
// list_metrics -> {"metrics": [{"name", "points", "last": {…}, "least", "most"}]}. metric_points:
// query `name` ("": all), `first`, `last` (of the index), `from` (a cursor), `limit`, `wait_ms`
// (for a point, or the run's end) -> {"metrics": [{"name", "time", "index", "number" | "text"}],
// "next", "final": nothing will come after these}; NaN and infinities are "NaN", "Infinity",
// "-Infinity". read_file: bytes; Range (one range), If-Range, ETag, If-None-Match. objects_missing:
// {"names": […]} -> {"names": [those this owner has not sent]}. send_objects: body a SpellFS pack
// -> {"bytes"}. read_objects: {"path", "names": […]} (at most 4096) -> a SpellFS pack of the first
// of them that fit 4 MiB; query `tree`: the version they are of, kept while it is read. put_upload:
// {"type": "file|folder", "node" ("": an empty file), "size", "files", "mode", "modified_at"} ->
// {"upload": {…}}; what is named must have been sent by this owner. Uploads of the owner `public`
// are everybody's `public/NAME`. collect: {"spare": seconds} (what arrived later stays; without it,
// what is on its way) ->
// {"collected": {"objects", "bytes", "log_bytes"}}. check -> {"check": {…, "damaged", "hurt"}}.
// usage: query `path` -> {"usage": {"path", "bytes", "stored_bytes", "files"}}; `by` (run | kind),
// `after`, `limit` -> {"usage": [{"name", …}], "next"}.
// put_link: {"resource"} -> {"link": {"alias", "resource", "created_at"}}.
// install: worker.sh (a script for a machine, for the address by which it was asked), SHA256SUMS
// (what packages there are), or one of the packages. login: {"user", "password", "name": what the
// token is for} -> 201 {"login": {"secret", "token", "user", "owner"}}. get_user -> {"identity":
// {"user", "owner", "owners"}}. add_user, reset_user: without a password one is made -> {"user",
// "password"
// ("": it was given)}. edit_user: disabled ends his tokens at once. create_token -> {"token",
// "secret"}; `days` 0: it does not end. audit: query `limit`, `cursor`, `user`, `action`
// ("user.add", or "user" for all of them), the newest first. back_up: {"folder"} -> {"backup":
// {"folder", "time", "files", "bytes", "new_files", "new_bytes"}}; only over the service's own
// socket. metrics: text for Prometheus. put_quota: {"runs", "bytes", "log_bytes"} (null: none; user
// `*`: everybody who has none of his own)
// -> {"quota": {"user", …}}. list_quotas -> {"quotas": […]}.
// list_budgets -> {"budgets": [{"kind" (project | user | workflow), "name", "amount", "monthly",
// "spent", "reserved"}]}; put_budget: {"amount", "monthly"}; delete_budget -> {"budget"}.
// get_costs: query `by` (run | workflow | project | user | machine | type | day), `since`, `until`
// (times), `limit` (of lines) -> {"costs": {"lines", "total", "machine_time", …}}.
// list_secrets -> {"secrets": [{"name", "created_at"}]}: of the caller, never with values.
// put_secret: {"value"} -> {"secret"}.
// list_owners -> {"owners": [those that the caller belongs to]}. add_owner, owner_members ->
// {"owner": {"name", "own", "last_run", "members"}}; administrators belong to every owner. status:
// query `owner`.
// create_workflow: {"description", "commits": {LABEL: code}, "run": a body of create_run or null,
// "program": null, or a body of put_upload with "name" besides, which `run` finds as
// .spell-program/NAME} -> 201 {"workflow": {…}, "run": the managing run or null}; 200 where the key
// is known. With a workflow's own credential the run becomes another managing run of that workflow.
// get_workflow holds the graph of its runs. finish_workflow: only without a managing run.
// create_run with "workflow", or with a workflow's credential: the key is the run's name in it.
// create_machine: {"name", "serves", "serves_cpu", "cpus", "memory", "gpus", "allow", "lost_after"}
// -> 201 {"join": {"url", "token", "machine", "expires_at"}}; machine_token, machine_type_token ->
// {"join": …}. The token is told this once.
// edit_machine: {"name", "drained"}. interrupt_machine: {"in": seconds}: it will be taken away
// then; its runs are told, and end `interrupted` -> {"machine"}. create_machine_type,
// edit_machine_type: {"name", "spot", "default_auto_resume", "cpus", "memory", "gpus",
// "lost_after", and what launches its machines: "pool", "pool_options", "min_machines",
// "max_machines", "idle_timeout", "launch_timeout"; "price", "spot_price": dollars an hour, and
// "max_unused": dollars a month, "": none}. list_catalogue: what is sold, with the owner's prices
// -> {"catalogue": […]}. put_price_list: {"csv"} -> {"prices": how many}; empty: none any more.
// list_environments -> {"environments": [{"name", "method", "base", "made_of", "packages", "size",
// "files", "state", "runs", "created_at", "used_at"}]}; get_environment and delete_environment:
// {name} may be the beginning of a name -> {"environment": {…}}.
// join: model::JoinRequest with a join token -> 201 model::JoinAnswer.
// stop_service: body {"handover": bool} -> 202 {"pid": N}; personal services only.
// exec, forward, stats, machine_stream: the request asks for a WebSocket; what is said over it is
// in model/stream.hpp. stop_service: body {"handover": bool} -> 202 {"pid": N}; personal services
// only.
#pragma once
#include <span>
#include <string_view>

#include "model/access.hpp"

namespace spell::model {

enum class Route {
  openapi,
  health,
  install,
  metrics,
  status,
  stop_service,
  collect,
  check,
  back_up,
  list_runs,
  create_run,
  get_run,
  delete_run,
  stop_run,
  kill_run,
  archive_run,
  label_run,
  rerun,
  run_log,
  list_ends,
  list_metrics,
  metric_points,
  exec,
  forward,
  stats,
  list_resource,
  read_file,
  objects_missing,
  read_objects,
  send_objects,
  put_upload,
  delete_upload,
  usage,
  list_links,
  put_link,
  delete_link,
  list_quotas,
  put_quota,
  list_budgets,
  put_budget,
  delete_budget,
  get_costs,
  list_secrets,
  put_secret,
  delete_secret,
  list_projects,
  create_project,
  get_project,
  edit_project,
  project_runs,
  login,
  logout,
  get_user,
  change_password,
  list_users,
  add_user,
  edit_user,
  reset_user,
  list_tokens,
  create_token,
  revoke_token,
  audit,
  list_owners,
  add_owner,
  owner_members,
  list_repositories,
  code_missing,
  send_code,
  list_workflows,
  create_workflow,
  get_workflow,
  delete_workflow,
  stop_workflow,
  kill_workflow,
  finish_workflow,
  list_machines,
  create_machine,
  get_machine,
  edit_machine,
  delete_machine,
  interrupt_machine,
  machine_token,
  list_machine_types,
  create_machine_type,
  edit_machine_type,
  delete_machine_type,
  machine_type_token,
  list_catalogue,
  put_price_list,
  join,
  machine_sync,
  machine_log,
  machine_metrics,
  machine_objects,
  machine_missing,
  machine_code,
  machine_read,
  machine_stream,
  list_environments,
  get_environment,
  delete_environment,
  machine_claim_layer,
  machine_put_layer,
};

struct RouteRow {
  Route route;
  std::string_view method, path, operation;
  Access access;
};
std::span<const RouteRow> routes();

}  // namespace spell::model
