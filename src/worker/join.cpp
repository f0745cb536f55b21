#include "worker/join.hpp"

#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/text.hpp"
#include "net/client.hpp"
#include "worker/link.hpp"

namespace spell::worker {

namespace {

using model::json;

bool is_hex(std::string_view text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == text.npos;
}

/// What its holder can do about it.
Error explained(const Error& error, const JoinCall& call) {
  if (error.code() == "untrusted_service" && !call.token.fingerprint.empty())
    return base::error(error.code(),
                       error.message() +
                           "; the token names the key of the service that made it: check the "
                           "address, or have a new token made there");
  return error;
}

}  // namespace

Result<JoinToken> parse_join_token(const std::string& text) {
  std::string_view rest = base::trim(text);
  auto dot = rest.find('.');
  JoinToken out;
  out.token = rest.substr(0, dot);
  if (dot != rest.npos) out.fingerprint = rest.substr(dot + 1);
  constexpr std::string_view prefix = "spj_";
  bool fine = out.token.starts_with(prefix) && is_hex(std::string_view(out.token).substr(4)) &&
              (dot == rest.npos || is_hex(out.fingerprint));
  if (!fine)
    return base::error("invalid_token",
                       "that is no join token: `spell machine add NAME` or `spell machine "
                       "get-token NAME` prints one (spj_…)");
  return out;
}

Result<std::string> parse_service_url(const std::string& text) {
  std::string url(base::trim(text));
  while (url.size() > 1 && url.back() == '/') url.pop_back();
  constexpr std::string_view secure = "https://", local = "unix:";
  bool plain = url.find_first_of(" \t\r\n?#@") == std::string::npos;
  if (url.starts_with(local) && url.size() > local.size()) return url;
  if (plain && url.starts_with(secure) && url.size() > secure.size() &&
      url.find('/', secure.size()) == std::string::npos)
    return url;
  return base::error("invalid_request", "'" + base::to_utf8(text) +
                                            "' is no address of a service: https://HOST:PORT or "
                                            "unix:PATH");
}

Result<Joined> join(const JoinCall& call, const CallOptions& options) {
  Joined joined;
  joined.url = call.url;
  joined.fingerprint = call.token.fingerprint;
  model::JoinRequest request;
  request.name = call.name;
  request.version = call.hello.version;
  request.hello = call.hello;
  if (call.url.starts_with("https://")) {
    auto pair = net::make_key_pair();
    if (!pair) return pair.error();
    request.public_key = pair->public_key;
    joined.identity.key = pair->key;
  }
  net::HttpClient client(call.url, 0, joined.trust(), {}, call.proxy);
  net::ClientRequest http;
  http.method = "POST";
  http.target = "/v1/join";
  http.headers = {{"Authorization", "Bearer " + call.token.token},
                  {"Content-Type", "application/json"}};
  http.body = model::to_json(request).dump(-1, ' ', false, json::error_handler_t::replace);
  auto response = client.send(http, options);
  if (!response) return explained(response.error(), call);
  if (response->status >= 400) return refusal(*response);
  json body = json::parse(response->body, nullptr, false);
  auto answer = model::parse_join_answer(body.is_object() ? body : json::object());
  if (!answer)
    return base::error("invalid_answer", "the service at " + call.url +
                                             " answered what this worker does not understand: "
                                             "their versions differ too much");
  joined.machine = answer->machine;
  joined.name = answer->name.empty() ? answer->machine : answer->name;
  joined.token = answer->token;
  joined.identity.certificate = answer->certificate;
  if (joined.identity.certificate.empty()) joined.identity.key.clear();
  joined.proxy = call.proxy;
  joined.joined_us = base::unix_us();
  return joined;
}

}  // namespace spell::worker
