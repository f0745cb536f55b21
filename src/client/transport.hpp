// What the client needs of HTTP, as an interface: the real one is net's, tests put their own in its
// place. Nothing is retried on this level, and an HTTP error status is a success.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "net/client.hpp"

namespace spell::detail {

/// An answer whose body is read as it comes; see net::ClientStream.
struct Body {
  virtual ~Body() = default;
  virtual int status() const = 0;
  virtual const net::Headers& headers() const = 0;
  virtual Result<std::size_t> read(char* buffer, std::size_t size, const CallOptions&) = 0;
};

/// Thread-safe; see net::HttpClient for the errors.
struct Transport {
  virtual ~Transport() = default;
  virtual Result<net::ClientResponse> send(const net::ClientRequest&, const CallOptions&) = 0;
  virtual Result<std::unique_ptr<Body>> open(const net::ClientRequest&, const CallOptions&) = 0;
  virtual Result<net::Upgrade> upgrade(const net::ClientRequest&, const CallOptions&) = 0;
};

struct HttpOptions {
  net::Trust trust{};
  net::Proxy proxy{};
  std::string token{};  ///< shown with each request; "": none
};
std::unique_ptr<Transport> make_http_transport(const std::string& endpoint, HttpOptions = {});
/// Over connections that `dial` gives; `endpoint` is a name for messages.
std::unique_ptr<Transport> make_http_transport(const std::string& endpoint, net::Dial dial);

/// Answers longer than this are refused.
inline constexpr std::int64_t answer_limit = 64 << 20;

}  // namespace spell::detail
