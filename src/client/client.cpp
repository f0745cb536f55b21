#include "spell/client.hpp"

#include <stdlib.h>

#include <algorithm>

#include "base/error.hpp"
#include "base/hash.hpp"
#include "base/spell_dir.hpp"
#include "base/text.hpp"
#include "client/code_cache.hpp"
#include "client/connection.hpp"
#include "git/work_tree.hpp"
#include "spell/json.hpp"
#include "spell/known_services.hpp"

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
  options.service = variable("SPELL_BASE_URL");
  options.spell_dir = variable("SPELL_DIR");
  options.owner = variable("SPELL_OWNER");
  options.token = variable("SPELL_TOKEN");
  options.fingerprint = variable("SPELL_CERT_SHA256");
  options.workflow = base::parse_int(variable("SPELL_WORKFLOW_ID")).value_or(0);
  auto either = [&](const char* name, const char* other) {
    auto value = variable(name);
    return value.empty() ? variable(other) : value;
  };
  options.proxy = either("HTTPS_PROXY", "https_proxy");
  options.no_proxy = either("NO_PROXY", "no_proxy");
  return options;
}

namespace {
Result<net::Trust> trust_of(const std::string& fingerprint) {
  if (fingerprint.empty() || fingerprint == "system")
    return net::Trust{net::Trust::Kind::system, {}};
  base::Digest digest;
  std::string plain = fingerprint;
  for (auto& c : plain)
    if (c >= 'A' && c <= 'F') c = static_cast<char>(c + 32);
  if (!base::unhex(plain, digest.data(), digest.size()))
    return base::error("invalid_configuration",
                       "'" + fingerprint + "' is no fingerprint: it has 64 hex digits");
  return net::Trust{net::Trust::Kind::authority, plain};
}
}  // namespace

Result<Client> Client::from_environment() { return make(ClientOptions::from_environment()); }

Result<Client> Client::make(const ClientOptions& options) {
  // A managing run is told all it needs, and leaves nothing in whosever home it has.
  bool told = options.workflow != 0 && !options.token.empty() && !options.service.empty();
  auto dirs = told ? Result<base::SpellDirs>(base::error("not_found", "nothing is kept here"))
                   : base::resolve_spell_dirs(options.spell_dir, base::Environment::current());
  Connection::Parts parts;
  parts.owner = options.owner;
  parts.autostart = options.autostart;
  parts.workflow = options.workflow;
  if (dirs) parts.cache = dirs->config + "/cache";
  // What is known of services is looked at where it is needed: the folder may be none of ours.
  bool local = options.service == "local" || options.service.starts_with("unix:");
  KnownServices known;
  if (!local && dirs) {
    auto read = known_services(options.spell_dir);
    if (!read) return read.error();
    known = std::move(*read);
  }
  std::string named = options.service.empty() ? known.default_address : options.service;
  auto address = service_address(named.empty() ? "local" : named);
  if (!address) return address.error();
  HttpOptions http;
  if (*address == "local") {
    if (!dirs) return dirs.error();
    if (parts.owner.empty()) parts.owner = base::user_name();
    parts.endpoint = "unix:" + dirs->socket;
    parts.service = make_personal_service(std::move(*dirs), options.spelld);
  } else {
    parts.endpoint = *address;
    http.token = options.token;
    if (address->starts_with("https://")) {
      auto there = known.find(*address).value_or(KnownService());
      if (http.token.empty()) {
        http.token = there.token;
        if (parts.owner.empty()) parts.owner = there.owner;
      }
      auto trust = trust_of(options.fingerprint.empty() ? there.fingerprint : options.fingerprint);
      if (!trust) return trust.error();
      http.trust = *trust;
      auto proxy = net::parse_proxy(options.proxy, options.no_proxy);
      if (!proxy) return proxy.error();
      http.proxy = std::move(*proxy);
    }
  }
  parts.transport = make_http_transport(parts.endpoint, std::move(http));
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

Result<Run> Client::run(const RunSpec& spec, const std::string& key, CallOptions options) const {
  return runs().create(spec, key, options);
}

Result<std::vector<RankedMachineType>> Client::select(const MachineQuery& query,
                                                      CallOptions options) const {
  return machine_types().select(query, options);
}

std::string Client::owner() const { return connection_->owner(); }

Result<ServiceInfo> Client::status(CallOptions options) const {
  detail::Call call{.route = model::Route::status};
  if (auto owner = connection_->owner(); !owner.empty()) call.query.emplace_back("owner", owner);
  auto answer = connection_->call(call, options);
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
