#include "spell/client.hpp"

#include <stdlib.h>

#include <algorithm>

#include "base/error.hpp"
#include "base/spell_dir.hpp"
#include "client/code_cache.hpp"
#include "client/connection.hpp"
#include "git/work_tree.hpp"
#include "spell/json.hpp"

namespace spell {

using namespace detail;

Result<CodeInfo> inspect(const Code& code) {
  if (code.kind() == Code::Kind::none || code.kind() == Code::Kind::url)
    return base::error("invalid_request", "only a repository on this computer can be inspected");
  return git::inspect(code.location(), code.ref());
}

ClientOptions ClientOptions::from_environment() {
  auto variable = [](const char* name) {
    const char* value = ::getenv(name);
    return std::string(value ? value : "");
  };
  ClientOptions options;
  if (auto service = variable("SPELL_BASE_URL"); !service.empty()) options.service = service;
  options.spell_dir = variable("SPELL_DIR");
  options.owner = variable("SPELL_OWNER");
  return options;
}

Result<Client> Client::from_environment() { return make(ClientOptions::from_environment()); }

Result<Client> Client::make(const ClientOptions& options) {
  auto dirs = base::resolve_spell_dirs(options.spell_dir, base::Environment::current());
  Connection::Parts parts;
  parts.owner = options.owner.empty() ? base::user_name() : options.owner;
  parts.autostart = options.autostart;
  if (dirs) parts.cache = dirs->config + "/cache";
  if (options.service == "local") {
    if (!dirs) return dirs.error();
    parts.endpoint = "unix:" + dirs->socket;
    parts.service = make_personal_service(std::move(*dirs), options.spelld);
  } else if (options.service.starts_with("unix:") && options.service.size() > 5) {
    parts.endpoint = options.service;
  } else {
    return base::error("invalid_configuration",
                       "the service address '" + options.service +
                           "' is not supported by this version; it knows local and unix:PATH");
  }
  parts.transport = make_http_transport(parts.endpoint);
  return Client(std::make_shared<Connection>(std::move(parts)));
}

Result<CodeInfo> Client::inspect(const Code& code) const {
  if (code.kind() == Code::Kind::none || code.kind() == Code::Kind::url)
    return spell::inspect(code);
  return git::inspect(code.location(), code.ref(), make_cache(*connection_, "stat").value_or(""));
}

Result<std::vector<RepositoryInfo>> Client::repositories(CallOptions options) const {
  auto answer = connection_->call({.route = model::Route::list_repositories}, options);
  if (!answer) return answer.error();
  return member<std::vector<RepositoryInfo>>(*answer, "repositories");
}

Result<ServiceInfo> Client::status(CallOptions options) const {
  auto answer = connection_->call({.route = model::Route::status}, options);
  if (!answer) return answer.error();
  auto info = member<ServiceInfo>(*answer, "service");
  if (info && info->location.empty()) info->location = connection_->endpoint();
  return info;
}

Result<> Client::stop_service(CallOptions options) const {
  return connection_->stop_service(false, Limit(options, connection_->waiter()));
}

std::string Client::service_log() const { return connection_->log(); }

Result<std::string> Client::request(const std::string& method, const std::string& path,
                                    const std::string& body, CallOptions options) const {
  // What a request is made of must not be able to become another one.
  auto printable = [](std::string_view text) {
    return std::all_of(text.begin(), text.end(),
                       [](unsigned char c) { return c > ' ' && c < 0x7f; });
  };
  if (method.empty() || !printable(method) || path.empty() || path[0] != '/' || !printable(path))
    return base::error("invalid_request",
                       "a request has a method and a path that begins with '/', percent-encoded");
  net::ClientRequest request;
  request.method = method;
  request.target = path;
  request.body = body;
  if (!body.empty()) request.headers.emplace_back("Content-Type", "application/json");
  return connection_->request(request, Limit(options, connection_->waiter()));
}

}  // namespace spell
