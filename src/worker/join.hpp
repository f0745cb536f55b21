// How a machine becomes one of a service's: it shows a join token, good once, and gets a token of
// its own, and on TLS a certificate for a key that never leaves it.
#pragma once
#include <optional>
#include <string>

#include "model/worker_protocol.hpp"
#include "net/proxy.hpp"
#include "spell/options.hpp"
#include "spell/result.hpp"
#include "worker/joined.hpp"

namespace spell::worker {

/// "spj_<64 hex>", and behind a dot the fingerprint of the authority that the service is believed
/// by. Error `invalid_token`, which does not show it.
struct JoinToken {
  std::string token{}, fingerprint{};
};
Result<JoinToken> parse_join_token(const std::string& text);
/// Without a '/' at its end. Error `invalid_request`: neither https://HOST[:PORT] nor unix:PATH.
Result<std::string> parse_service_url(const std::string& text);

struct JoinCall {
  std::string url{};  ///< see parse_service_url
  JoinToken token{};
  std::string name{};  ///< counts where the token names none
  net::Proxy proxy{};
  model::WorkerHello hello{};
};
/// Asks the service; changes nothing here. Errors: `untrusted_service`, `service_unreachable`,
/// those of the service (`unauthorized`: the token was used, is too old, or another service's).
Result<Joined> join(const JoinCall&, const CallOptions&);

}  // namespace spell::worker
