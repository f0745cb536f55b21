// Which https connections go through an HTTP proxy (CONNECT), as HTTPS_PROXY and NO_PROXY say it.
#pragma once
#include <string>

#include "spell/result.hpp"

namespace spell::net {

struct Proxy {
  std::string host{}, port{};  ///< "": none
  std::string credentials{};   ///< "user:password", a secret
  /// Hosts that are reached without it, separated by commas: names (with all below them),
  /// addresses, each with a port or without; "*": all.
  std::string except{};

  /// This computer itself is never reached through a proxy.
  bool serves(const std::string& host, const std::string& port) const;
};

/// `url`: "[http://][USER:PASSWORD@]HOST[:PORT]" (port 8080), or "". Error
/// `invalid_configuration`, which does not show the password.
Result<Proxy> parse_proxy(const std::string& url, const std::string& except);
/// HTTPS_PROXY or https_proxy, NO_PROXY or no_proxy. For programs: the library does not look.
Result<Proxy> proxy_from_environment();

}  // namespace spell::net
