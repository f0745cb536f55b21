// Blocking HTTP/1.1 client with a pool of kept-alive connections. Thread-safe: each call has a
// connection of its own. Deadlines and cancellation are exact: sockets are non-blocking, every wait
// is a poll() with the call's deadline and stop token. Nothing is retried here, except a request on
// a kept-alive connection that the server closed before it read a byte of it.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/fd.hpp"
#include "net/http.hpp"
#include "net/message_stream.hpp"
#include "net/proxy.hpp"
#include "net/tls.hpp"
#include "spell/options.hpp"

namespace spell::net {

struct ClientRequest {
  std::string method = "GET";
  std::string target{};
  Headers headers{};
  std::string body{};
  std::string_view lent{};  ///< instead of body: bytes that stay where they are until the answer
  int body_fd = -1;         ///< instead of both: `body_size` bytes from the file's `body_offset`
  std::int64_t body_size = 0, body_offset = 0;
  std::function<void(std::int64_t sent)> progress{};
};

struct ClientResponse {
  int status = 0;
  Headers headers{};
  std::string body{};
};

/// An answer whose body is read as it comes.
class ClientStream {
 public:
  struct Impl;
  explicit ClientStream(std::unique_ptr<Impl>);
  ClientStream(ClientStream&&) noexcept;
  ClientStream& operator=(ClientStream&&) noexcept;
  ~ClientStream();
  int status() const;
  const Headers& headers() const;
  /// At least one byte, at most `size`; 0 at the end. Blocks. Errors: `connection_lost` when the
  /// body is cut short, `canceled`, `timeout`.
  Result<std::size_t> read(char* buffer, std::size_t size, const CallOptions& = {});

 private:
  std::unique_ptr<Impl> impl_;
};

/// What came of asking for a stream: the stream, or the answer of a service that gives none.
struct Upgrade {
  std::optional<MessageStream> stream{};
  ClientResponse response{};  ///< status 101 with a stream
};

/// A connected socket to a service; see Server::take().
using Dial = std::function<Result<base::Fd>()>;

class HttpClient {
 public:
  /// "unix:PATH" (any length), "https://HOST[:PORT]" (443; `trust` says whom to believe, `identity`
  /// is shown to a service that asks, `proxy` is gone through), or, where nothing is secret,
  /// "http://127.0.0.1:PORT".
  explicit HttpClient(std::string endpoint, int idle_connections = 16, Trust trust = {},
                      Identity identity = {}, Proxy proxy = {});
  /// Connections come from `dial`; `endpoint` is a name for messages.
  HttpClient(std::string endpoint, Dial dial, int idle_connections = 16);
  ~HttpClient();
  /// Errors: `service_unreachable` (the service has not read the request), `untrusted_service` (it
  /// is not who it should be, and has been told nothing), `connection_lost` (it may have been
  /// carried out), `timeout`, `canceled`, `too_large` (answer beyond `answer_limit`).
  /// An HTTP error status is a success here.
  Result<ClientResponse> send(const ClientRequest&, const CallOptions& = {},
                              std::int64_t answer_limit = 64 << 20);
  Result<ClientStream> open(const ClientRequest&, const CallOptions& = {});
  /// Asks for a two-way stream. `options` is for the asking only. Errors as send().
  Result<Upgrade> upgrade(ClientRequest, const CallOptions& = {});
  /// The fingerprint (see certificate.hpp) of the authority that the service at this https address
  /// shows. Nobody is trusted for it, nothing is said. Errors: as send().
  static Result<std::string> find_authority(const std::string& endpoint, const CallOptions& = {},
                                            const Proxy& proxy = {});

  struct Impl;

 private:
  std::shared_ptr<Impl> impl_;
};

}  // namespace spell::net
