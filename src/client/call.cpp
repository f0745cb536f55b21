#include "client/call.hpp"

#include "base/text.hpp"
#include "net/http.hpp"

namespace spell::detail {

namespace {

const model::RouteRow& row_of(model::Route route) {
  for (auto& row : model::routes())
    if (row.route == route) return row;
  return model::routes().front();
}

std::string encode_path(std::string_view path) {
  std::string out;
  for (auto& part : base::split(path, '/')) {
    if (!out.empty()) out += '/';
    out += net::percent_encode(part);
  }
  return out;
}

}  // namespace

bool needs_owner(const Call& call) {
  return call.owner.empty() && row_of(call.route).path.find("{owner}") != std::string_view::npos;
}

bool is_repeatable(model::Route route) {
  using enum model::Route;
  switch (route) {
    case create_run:  // carries an Idempotency-Key
    case create_workflow:
    case rerun:         // likewise
    case code_missing:  // a question
    case send_code:     // named by its content
    case stop_run:
    case kill_run:
    case stop_workflow:
    case kill_workflow:
    case finish_workflow:
    case archive_run:
    case label_run:
    case edit_project:
    case edit_user:
    case project_runs:
    case objects_missing:  // a question
    case read_objects:     // another
    case send_objects:     // named by their content
    case put_upload:
    case put_link:
    case put_secret:
    case put_quota:
      return true;
    case delete_run:  // the second one would find nothing
    case delete_workflow:
    case create_project:  // the second one would find it taken
    case delete_upload:   // likewise
    case delete_link:
    case delete_secret:
    case stop_service:  // might end the next service
      return false;
    default:
      return row_of(route).method == "GET";
  }
}

net::ClientRequest make_request(const Call& call, const std::string& owner) {
  auto& row = row_of(call.route);
  net::ClientRequest request;
  request.method = row.method;
  std::size_t used = 0;
  for (auto& part : base::split(row.path, '/')) {
    if (part.empty()) continue;
    if (part[0] != '{') {
      request.target += '/' + part;
    } else if (part == "{owner}") {
      request.target += '/' + net::percent_encode(call.owner.empty() ? owner : call.owner);
    } else if (std::string name = call.names.at(used++); part == "{path...}") {
      if (!name.empty()) request.target += '/' + encode_path(name);
    } else {
      request.target += '/' + net::percent_encode(name);
    }
  }
  char separator = '?';
  for (auto& [name, value] : call.query) {
    request.target += separator + name + '=' + net::percent_encode(value);
    separator = '&';
  }
  request.headers = call.headers;
  request.progress = call.progress;
  if (call.body_fd >= 0) {
    request.body_fd = call.body_fd;
    request.body_size = call.body_size;
  } else if (!call.body.is_null()) {
    request.body = call.body.dump(-1, ' ', false, json::error_handler_t::replace);
    request.headers.emplace_back("Content-Type", "application/json");
  }
  return request;
}

}  // namespace spell::detail
