// HTTP/1.1 server on a Unix socket, on TCP inside TLS, or both (keep-alive, long polls, streamed
// answers, bodies into files).
//
// Threads: `threads` of its own; handlers are called on them and must not block for long: they
// answer later, from any thread, through the Reply they were given. A request whose client has gone
// is told through Reply::on_close.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "net/http.hpp"
#include "net/tls.hpp"

namespace spell::net {

struct Request {
  std::string method{};  ///< "GET", …
  std::string raw_target{};
  Target target{};
  Headers headers{};
  std::string body{};    ///< unless the route wanted a file
  base::Fd body_file{};  ///< of a body_to_file route: an unnamed file with the body, at offset 0
  std::int64_t body_size = 0;
  std::uint32_t peer_uid = 0;  ///< of the process at the other end; UINT32_MAX over TCP
  std::string peer_key{};      ///< of a client whose certificate the authority of `tls` vouches
                               ///< for: hex SHA-256 of its SubjectPublicKeyInfo; else ""
  std::string peer_address{};  ///< of the computer at the other end; "" on a Unix socket
  int peer_port = 0;           ///< at the other end; 0 on a Unix socket
  std::string door{};          ///< by which it came in, see Server::open_door()
  std::int64_t received_us = 0;
  std::string id{};           ///< request id, also sent as X-Request-Id
  bool wants_stream = false;  ///< it asks to go on as a two-way stream: Reply::upgrade()
};

struct Response {
  int status = 200;
  std::string content_type = "application/json";
  std::string body{};
  Headers headers{};
};

/// The body of a streamed answer, pulled piece by piece as the client takes it.
class BodySource {
 public:
  virtual ~BodySource() = default;
  /// Calls `done` once, from any thread, with the next piece; an empty piece is the end. Never
  /// called again before it has answered.
  virtual void pull(std::function<void(Result<std::string>)> done) = 0;
  /// The client has gone: an outstanding pull may be answered or dropped, nothing else will be
  /// pulled. Any thread.
  virtual void cancel() {}
};

/// The server's end of a two-way stream of messages (see websocket.hpp): a cheap, thread-safe
/// handle. One receive and one send are under way at a time; nothing is read before it is asked
/// for, which is what holds up an other end that sends more than is taken. Callbacks come on the
/// connection's thread, once each, also after the end; none comes when the server has stopped.
class Stream {
 public:
  struct Impl;
  explicit Stream(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
  /// The next message. Errors: `connection_lost` (in order or not), `invalid_stream`.
  void receive(std::function<void(Result<std::string>)> done) const;
  /// Done when the system has taken the message.
  void send(std::string message, std::function<void(Result<>)> done) const;
  /// Ends it after what is being sent; what is under way fails.
  void close() const;

 private:
  std::shared_ptr<Impl> impl_;
};

/// How a request is answered; copyable, thread-safe; the first answer counts. Dropped without an
/// answer: 500.
class Reply {
 public:
  struct Impl;
  explicit Reply(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
  void send(Response) const;
  /// With `size` a Content-Length, else chunked. The body field of `head` is ignored.
  void stream(Response head, std::shared_ptr<BodySource>,
              std::optional<std::int64_t> size = {}) const;
  /// Of a request that wants a stream: the connection goes on as one. The stream of a client that
  /// has gone, or of a request that was answered, is at its end.
  Stream upgrade() const;
  /// Called once, with what the client is answered, on the thread that answers. Only within
  /// Handler::handle, before the reply is handed on.
  void on_answer(std::function<void(const Response&)>) const;
  /// Called once, when the client goes before it was answered.
  void on_close(std::function<void()>) const;
  /// Within Handler::handle: whose connection this is from now on, for Server::close_of().
  void belongs_to(std::string whom) const;

 private:
  std::shared_ptr<Impl> impl_;
};

/// What the server must know before it reads a body.
struct BodyRule {
  std::int64_t limit = 1 << 20;  ///< more: 413 `too_large`, connection closed
  bool to_file = false;  ///< spool the body into an unnamed file in ServerOptions::spool_folder
};

struct Handler {
  virtual ~Handler() = default;
  /// Of a request whose head is there and whose body is not. An error is the answer, and the body
  /// is not taken: nobody's bytes are kept before it is known who he is.
  virtual Result<BodyRule> body_rule(const Request& head) = 0;
  virtual void handle(Request, Reply) = 0;
  /// An error that the server itself answers: `invalid_request`, `invalid_path`,
  /// `headers_too_large`, `too_large`, `request_timeout`, `internal`, or one of writing the spool.
  /// Status and body are the handler's.
  virtual Response error(const Error&, const std::string& request_id) = 0;
};

struct ServerOptions {
  std::string socket_path{};  ///< bound by the caller's folder rules; replaced if stale (the caller
                              ///< holds the lock)
  int socket_fd = -1;         ///< instead: a listening socket
  std::string listen{};       ///< "HOST:PORT", besides or instead; PORT 0: any
  std::shared_ptr<const Tls> tls{};  ///< of `listen`, which needs one
  std::string spool_folder{};
  int threads = 1;
  int connection_limit = 4000;
  int header_limit = 16 * 1024;
  int header_timeout_ms = 10'000;  ///< for a request's head, from its first byte
  int body_timeout_ms = 30'000;    ///< without a byte of a request's body
};

class Server {
 public:
  /// Listens and serves from here on. Socket paths longer than sun_path are bound by way of
  /// /proc/self/fd.
  static Result<std::unique_ptr<Server>> start(const ServerOptions&, Handler&);
  /// Closes everything, waits for the threads, removes the socket it has bound. Outstanding
  /// requests are dropped after `grace_ms` (their on_close is called). Not from a handler. Replies
  /// may outlive the server: they do nothing then.
  void stop(int grace_ms = 500);
  ~Server();
  int open_connections() const;
  /// Listens here too, in clear: requests that come in by it have its name. Any thread.
  void open_door(base::Fd listening, std::string name);
  /// Serves the other end of a connected socket, as if it had come in by the first door. Any
  /// thread.
  void take(base::Fd connected);
  /// Nobody comes in by it any more, and connections that came in by it are closed. Any thread.
  void close_door(const std::string& name);
  /// What connections that begin later show. Any thread.
  void set_tls(std::shared_ptr<const Tls>);
  /// Closes the connections that belong to one of these, whatever they are at: open streams and
  /// long polls end. Any thread.
  void close_of(std::vector<std::string> whom);
  /// Of `listen`: where it really listens.
  int port() const;

 private:
  struct Impl;
  explicit Server(std::unique_ptr<Impl>);
  std::unique_ptr<Impl> impl_;
};

}  // namespace spell::net
