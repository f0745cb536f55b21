#include "model/error_code.hpp"

#include "base/text.hpp"

namespace spell::model {

namespace {
constexpr ErrorRow table[] = {
    {"invalid_request", 400,
     "a field is unknown, missing, of the wrong type or out of range; the message names it"},
    {"invalid_json", 400,
     "the body is not JSON, or nested too deeply, or has a member twice; the message gives the "
     "place"},
    {"invalid_path", 400,
     "a path is absolute, has an empty, '.' or '..' component, or is not valid text"},
    {"bad_frame", 400, "a log frame is malformed"},
    {"bad_pack", 400, "a pack is malformed or does not hold what it says"},
    {"unauthorized", 401, "the request carries no valid token"},
    {"not_permitted", 403, "the caller may not do this"},
    {"not_found", 404, "there is nothing of this name"},
    {"run_not_found", 404, "there is no run of this number"},
    {"resource_not_found", 404, "there is no file or folder of this name"},
    {"project_not_found", 404, "there is no project of this name"},
    {"machine_not_found", 404, "there is no machine of this name"},
    {"owner_not_found", 404, "there is no owner of this name"},
    {"user_not_found", 404, "there is no user of this name"},
    {"token_not_found", 404, "there is no token of this id"},
    {"route_not_found", 404, "the API has no such path"},
    {"method_not_allowed", 405, "the path exists, but not with this method"},
    {"request_timeout", 408, "the request did not arrive in time"},
    {"project_exists", 409, "a project of this name exists"},
    {"user_exists", 409, "a user of this name exists"},
    {"last_administrator", 409, "the service would be left without an administrator"},
    {"personal_service", 409,
     "a personal service has one user; `spelld init` makes a service for a team"},
    {"key_conflict", 409,
     "the submission's key was used with another body; the message names the first field that "
     "differs"},
    {"name_taken", 409, "the name belongs to something else; the message says to what"},
    {"run_not_final", 409, "the run has not ended; stop or kill it first"},
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
    {"invalid_mount", 422,
     "what is to be mounted is not there, or cannot be where it is wanted; the message names it"},
    {"weak_password", 422, "a password has at least 10 characters, at most 1024"},
    {"too_many_attempts", 429, "too many wrong passwords; the message says when to try again"},
    {"headers_too_large", 431, "the request's header fields are longer than allowed"},
    {"internal", 500, "the service failed; its own log has the request's id"},
    {"io_error", 500,
     "the service could not read or write its files; its log has the request's id"},
    {"damaged", 500, "stored data is not what was written; the service's log has the request's id"},
    {"shutting_down", 503, "the service is ending; try again"},
    {"disk_full", 507, "the service's disk is full"},
};
}  // namespace

std::span<const ErrorRow> error_codes() { return table; }

int http_status(std::string_view code) {
  for (auto& row : table)
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
