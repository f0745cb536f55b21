#include "model/error_code.hpp"

#include "base/text.hpp"

namespace spell::model {

namespace {
constexpr ErrorRow error_table[] = {
    {"invalid_request", 400,
     "a field is unknown, missing, of the wrong type or out of range; the message names it"},
    {"invalid_json", 400,
     "the body is not JSON, or nested too deeply, or has a member twice; the message gives the "
     "place"},
    {"invalid_path", 400,
     "a path is absolute, has an empty, '.' or '..' component, or is not valid text"},
    {"bad_frame", 400, "a log frame is malformed"},
    {"invalid_metric", 400,
     "a metric's name or value is not what it may be; the message says which"},
    {"bad_pack", 400, "a pack is malformed or does not hold what it says"},
    {"unsupported_protocol", 400,
     "worker and service do not speak one protocol; the message says which is to be upgraded"},
    {"unauthorized", 401, "the request carries no valid token"},
    {"wrong_password", 401, "there is no such user, he is disabled, or this is not his password"},
    {"join_token_used", 401, "the join token has been used; the message says how to get another"},
    {"join_token_expired", 401,
     "the join token is older than an hour; the message says how to get another"},
    {"not_permitted", 403, "the caller may not do this"},
    {"quota_exceeded", 403, "the user keeps as much as he may; the message says how much that is"},
    {"budget_exhausted", 403,
     "a budget that the run would count against is used up; the message says which, and how much "
     "it "
     "is"},
    {"not_found", 404, "there is nothing of this name"},
    {"run_not_found", 404, "there is no run of this number"},
    {"workflow_not_found", 404, "there is no workflow of this number"},
    {"resource_not_found", 404, "there is no file or folder of this name"},
    {"project_not_found", 404, "there is no project of this name"},
    {"machine_not_found", 404, "there is no machine of this name"},
    {"machine_type_not_found", 404, "there is no machine type of this name"},
    {"owner_not_found", 404, "there is no owner of this name, or the caller does not belong to it"},
    {"user_not_found", 404, "there is no user of this name"},
    {"token_not_found", 404, "there is no token of this id"},
    {"secret_not_found", 404, "the user has no secret of this name"},
    {"environment_not_found", 404, "there is no environment of this name"},
    {"budget_not_found", 404, "there is no budget of this project, user or workflow"},
    {"stream_not_found", 404, "nobody waits for this stream any more"},
    {"route_not_found", 404, "the API has no such path"},
    {"method_not_allowed", 405, "the path exists, but not with this method"},
    {"request_timeout", 408, "the request did not arrive in time"},
    {"project_exists", 409, "a project of this name exists"},
    {"user_exists", 409, "a user of this name exists"},
    {"owner_exists", 409, "an owner of this name exists"},
    {"last_owner", 409, "the user would be left without an owner"},
    {"last_administrator", 409, "the service would be left without an administrator"},
    {"personal_service", 409,
     "a personal service has one user; `spelld init` makes a service for a team"},
    {"budget_too_low", 409,
     "more than that is spent, or reserved for runs that go on; the message says how much"},
    {"key_conflict", 409,
     "the submission's key was used with another body; the message names the first field that "
     "differs"},
    {"backup_running", 409, "another backup into this folder is going on"},
    {"not_a_backup", 409, "the folder holds no backup, or one of other data"},
    {"name_taken", 409, "the name belongs to something else; the message says to what"},
    {"run_not_final", 409, "the run has not ended; stop or kill it first"},
    {"workflow_ended", 409, "the workflow has ended or is ending: no more runs are made in it"},
    {"sdk_missing", 409, "the service has no SDK that programs could be built against"},
    {"workflow_not_final", 409, "the workflow or one of its runs has not ended; kill it first"},
    {"run_not_running", 409, "the run has not begun or has ended, so there is nothing inside it"},
    {"machine_in_use", 409,
     "runs or machines are there that would end, or could not be ended any more; the message says "
     "which"},
    {"machine_away", 409, "the run's machine is not connected, or did not answer in time"},
    {"not_available", 409,
     "no machine there can do this: the message says what they lack, or that their workers are "
     "older"},
    {"machine_taken", 409, "another worker with the same credential is connected as this machine"},
    {"environment_in_use", 409, "runs use this environment; the message says which"},
    {"stale_epoch", 409, "the run has been given to another machine since"},
    {"incarnation_changed", 409,
     "the service's data was restored since the worker last spoke to it"},
    {"commit_not_found", 409, "the service does not have the commit; send it first"},
    {"dependency_failed", 409,
     "a run that this one is to come after has failed, so this one can never start"},
    {"incomplete_pack", 409, "a pack names objects that neither it nor the service has"},
    {"too_large", 413, "the body, or a part of it, is longer than allowed"},
    {"range_not_satisfiable", 416, "the range lies outside the file"},
    {"unknown_machine_type", 422,
     "there is no such machine type; the message says which there are"},
    {"no_such_machine", 422, "there is no such machine; the message says which there are"},
    {"machine_not_allowed", 422,
     "the machines that could do it take runs of other users and projects only"},
    {"machine_too_small", 422,
     "no machine has as much as is asked for; the message says how much there is"},
    {"price_not_known", 422,
     "the price of the machine type is not known, so no cost can be kept; set it first"},
    {"cannot_build", 422, "no machine can build a program; the message says what each has not"},
    {"invalid_mount", 422,
     "what is to be mounted is not there, or cannot be where it is wanted; the message names it"},
    {"invalid_requirements", 422,
     "the requirements file is not in the commit, or asks for what an environment cannot have; the "
     "message names file and line"},
    {"unknown_commit_label", 422,
     "the workflow has no commit with this label; the message says which it has"},
    {"weak_password", 422, "a password has at least 10 characters, at most 1024"},
    {"too_many_attempts", 429, "too many wrong passwords; the message says when to try again"},
    {"stream_wanted", 426, "this path gives a two-way stream: ask for a WebSocket"},
    {"too_many_streams", 429, "too many two-way streams are open; close some"},
    {"headers_too_large", 431, "the request's header fields are longer than allowed"},
    {"internal", 500, "the service failed; its own log has the request's id"},
    {"io_error", 500,
     "the service could not read or write its files; its log has the request's id"},
    {"damaged", 500, "stored data is not what was written; the service's log has the request's id"},
    {"shutting_down", 503, "the service is ending; try again"},
    {"disk_low", 507, "little of the service's disk is free: it takes no new runs"},
    {"disk_full", 507, "the service's disk is full"},
};
}  // namespace

std::span<const ErrorRow> error_codes() { return error_table; }

int http_status(std::string_view code) {
  for (auto& row : error_table)
    if (row.code == code) return row.http_status;
  return 500;
}

std::string one_line(std::string_view text, std::size_t limit) {
  bool cut = text.size() > limit;
  if (cut) {
    while (limit > 0 && (static_cast<unsigned char>(text[limit]) & 0xC0) == 0x80) --limit;
    text = text.substr(0, limit);
  }
  std::string out;
  std::string valid = base::to_utf8(text);
  for (std::size_t i = 0; i < valid.size(); ++i) {
    auto c = static_cast<unsigned char>(valid[i]);
    // U+0080 to U+009F are control characters too.
    bool wide = c == 0xC2 && static_cast<unsigned char>(valid[i + 1]) < 0xA0;
    bool control = c < 0x20 || c == 0x7f || wide;
    out += control ? '?' : valid[i];
    if (wide) ++i;
  }
  return cut ? out + "…" : out;
}

}  // namespace spell::model
