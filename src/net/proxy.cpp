#include "net/proxy.hpp"

#include <stdlib.h>

#include "base/error.hpp"
#include "base/text.hpp"
#include "net/http.hpp"
#include "net/socket.hpp"

namespace spell::net {

namespace {

std::string lower(std::string_view text) {
  std::string out(text);
  for (auto& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  return out;
}

bool is_this_computer(const std::string& host) {
  return host == "localhost" || host.ends_with(".localhost") || host == "::1" ||
         host.starts_with("127.");
}

/// Addresses of IPv6 come with brackets where a port follows, and mostly without where none does.
std::pair<std::string, std::string> split_exception(std::string_view text) {
  if (!text.starts_with('[') && text.find(':') != text.rfind(':')) return {std::string(text), ""};
  return split_host(text, "");
}

std::string variable(const char* upper, const char* lower_case) {
  const char* value = ::getenv(upper);
  if (!value || !*value) value = ::getenv(lower_case);
  return value ? value : "";
}

}  // namespace

bool Proxy::serves(const std::string& to, const std::string& to_port) const {
  std::string wanted = lower(to);
  if (host.empty() || is_this_computer(wanted)) return false;
  for (auto& entry : base::split(except, ',')) {
    std::string_view text = base::trim(entry);
    if (text == "*") return false;
    auto [name, only_port] = split_exception(text);
    name = lower(name);
    if (name.starts_with("*.")) name.erase(0, 2);
    if (name.starts_with(".")) name.erase(0, 1);
    if (name.empty() || (!only_port.empty() && only_port != to_port)) continue;
    if (wanted == name || wanted.ends_with("." + name)) return false;
  }
  return true;
}

Result<Proxy> parse_proxy(const std::string& url, const std::string& except) {
  Proxy proxy;
  proxy.except = except;
  std::string_view rest = base::trim(url);
  if (rest.empty()) return proxy;
  constexpr std::string_view scheme = "http://";
  if (rest.starts_with(scheme))
    rest.remove_prefix(scheme.size());
  else if (auto other = rest.find("://"); other != rest.npos)
    return base::error("invalid_configuration", "the proxy in HTTPS_PROXY is spoken to by " +
                                                    std::string(rest.substr(0, other)) +
                                                    ": give http://HOST:PORT");
  rest = rest.substr(0, rest.find('/'));
  if (auto at = rest.rfind('@'); at != rest.npos) {
    // Percent-encoded, as everything in a URL.
    auto decoded = percent_decode(rest.substr(0, at));
    if (!decoded)
      return base::error("invalid_configuration",
                         "HTTPS_PROXY has something before its '@' that is not USER:PASSWORD");
    proxy.credentials = std::move(*decoded);
    rest.remove_prefix(at + 1);
  }
  std::tie(proxy.host, proxy.port) = split_host(rest, "8080");
  auto port = base::parse_int(proxy.port);
  bool plain = proxy.host.find_first_of(" \t\r\n?#@") == std::string::npos;
  if (proxy.host.empty() || !plain || !port || *port < 1 || *port > 65535)
    return base::error("invalid_configuration",
                       "HTTPS_PROXY names no proxy: give http://HOST:PORT");
  return proxy;
}

Result<Proxy> proxy_from_environment() {
  return parse_proxy(variable("HTTPS_PROXY", "https_proxy"), variable("NO_PROXY", "no_proxy"));
}

}  // namespace spell::net
