#include "net/client.hpp"

#include <fcntl.h>
#include <netdb.h>
#include <openssl/evp.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <mutex>
#include <optional>

#include "base/error.hpp"
#include "base/hash.hpp"
#include "base/text.hpp"
#include "net/parser.hpp"
#include "net/socket.hpp"
#include "net/transport.hpp"
#include "net/wait.hpp"
#include "net/websocket.hpp"

namespace spell::net {

namespace {

constexpr std::string_view unix_scheme = "unix:", http_scheme = "http://",
                           https_scheme = "https://";
constexpr std::size_t header_limit = 64 * 1024;
constexpr std::size_t small_buffer = 16 * 1024, large_buffer = 256 * 1024;

Error unreachable(const std::string& endpoint, const std::string& why) {
  return base::error("service_unreachable", "cannot reach the service at " + endpoint + ": " + why);
}
Error lost_answer(const std::string& endpoint) {
  return base::error("connection_lost",
                     "the connection to the service at " + endpoint + " was lost");
}

Error malformed(const std::string& endpoint, const Error& error) {
  return base::error("connection_lost", "the service at " + endpoint + " sent " + error.message());
}

/// A connection, and what has come over it.
struct Channel {
  Transport transport;
  bool used = false;  ///< an answer has come over it
  std::unique_ptr<char[]> buffer;
  std::size_t capacity = 0, begin = 0, end = 0;  ///< received, not yet parsed: [begin, end)

  std::string_view received() const { return {buffer.get() + begin, end - begin}; }

  /// Makes room behind what has been received.
  void reserve(std::size_t size) {
    if (begin == end) begin = end = 0;
    if (capacity < size) {
      std::unique_ptr<char[]> larger(new char[size]);
      std::copy(buffer.get() + begin, buffer.get() + end, larger.get());
      buffer = std::move(larger);
      capacity = size;
    } else if (end == capacity) {
      std::memmove(buffer.get(), buffer.get() + begin, end - begin);
    } else {
      return;
    }
    end -= begin;
    begin = 0;
  }
};

/// "host:port" of "https://host:port/…".
std::string authority_of(const std::string& endpoint) {
  auto begin = endpoint.find("://") + 3;
  return endpoint.substr(begin, endpoint.find('/', begin) - begin);
}

/// What became of an exchange.
enum class Fate { answered, not_read, failed };

}  // namespace

struct HttpClient::Impl {
  Impl(std::string e, int limit, Trust t, Identity i, Proxy p, Dial d = {})
      : endpoint(std::move(e)),
        idle_limit(static_cast<std::size_t>(limit)),
        trust(std::move(t)),
        identity(std::move(i)),
        proxy(std::move(p)),
        dial(std::move(d)) {}

  Result<Channel> connect(Wait&);
  Result<Channel> connect_unix(const std::string& path, Wait&);
  Result<base::Fd> connect_tcp(const std::string& host, const std::string& port, Wait&);
  Result<base::Fd> connect_through_proxy(const std::string& host, const std::string& port, Wait&);
  Result<Channel> connect_tls(const std::string& host, base::Fd, Wait&);
  std::optional<Channel> take_idle();
  void put_back(Channel);

  /// Sends and reads until the answer's head is there.
  Result<std::pair<Channel, MessageParser>> exchange(const ClientRequest&, Wait&);
  Result<MessageParser> attempt(Channel&, const ClientRequest&, Wait&, Fate&);
  Result<> send_all(Channel&, const ClientRequest&, Wait&, bool& cut);
  Result<ClientResponse> finish(Channel, MessageParser, Wait&, std::int64_t answer_limit);
  std::string head_of(const ClientRequest&) const;

  const std::string endpoint;
  const std::size_t idle_limit;
  const Trust trust;
  const Identity identity;
  const Proxy proxy;
  const Dial dial;  ///< none: `endpoint` says where to connect
  std::mutex mutex;
  std::vector<Channel> idle;
  std::shared_ptr<const Tls> tls;  ///< made by the first that needs it
};

namespace {

/// Reads what is there into the connection's buffer; 0 at its end.
Result<std::size_t> receive(Channel& channel, Wait& wait, std::size_t capacity,
                            const std::string& endpoint) {
  channel.reserve(capacity);
  for (;;) {
    auto got =
        channel.transport.read(channel.buffer.get() + channel.end, channel.capacity - channel.end);
    if (got.state == Transport::State::done) return channel.end += got.size, got.size;
    if (got.state == Transport::State::closed && channel.transport.error().empty())
      return std::size_t(0);
    if (got.state != Transport::State::blocked) return lost_answer(endpoint);
    SPELL_TRY(wait.until(channel.transport.fd(), channel.transport.wait_for()));
  }
}

/// The next piece of the answer's body, in the channel's buffer; empty at its end.
Result<std::string_view> next_piece(Channel& channel, MessageParser& parser, Wait& wait,
                                    const std::string& endpoint) {
  while (!parser.done()) {
    if (channel.begin != channel.end) {
      auto step = parser.feed(channel.received());
      if (!step) return malformed(endpoint, step.error());
      channel.begin += step->used;
      if (!step->body.empty()) return step->body;
      if (step->used != 0) continue;
    }
    auto size = receive(channel, wait, large_buffer, endpoint);
    if (!size) return size.error();
    if (*size == 0 && !parser.finish()) return lost_answer(endpoint);
  }
  return std::string_view();
}

}  // namespace

HttpClient::HttpClient(std::string endpoint, int idle_connections, Trust trust, Identity identity,
                       Proxy proxy)
    : impl_(std::make_shared<Impl>(std::move(endpoint), std::max(0, idle_connections),
                                   std::move(trust), std::move(identity), std::move(proxy))) {}
HttpClient::HttpClient(std::string endpoint, Dial dial, int idle_connections)
    : impl_(std::make_shared<Impl>(std::move(endpoint), std::max(0, idle_connections), Trust{},
                                   Identity{}, Proxy{}, std::move(dial))) {}
HttpClient::~HttpClient() = default;

// ---- connections

Result<Channel> HttpClient::Impl::connect(Wait& wait) {
  if (dial) {
    auto fd = dial();
    if (!fd) return unreachable(endpoint, fd.error().message());
    Channel channel;
    channel.transport = Transport(std::move(*fd));
    return channel;
  }
  if (endpoint.starts_with(unix_scheme))
    return connect_unix(endpoint.substr(unix_scheme.size()), wait);
  bool secure = endpoint.starts_with(https_scheme);
  if (!secure && !endpoint.starts_with(http_scheme))
    return base::error("service_unreachable",
                       "the address " + endpoint + " is neither unix:PATH nor https://HOST:PORT");
  auto [host, port] = split_host(authority_of(endpoint), secure ? "443" : "80");
  auto fd = secure && proxy.serves(host, port) ? connect_through_proxy(host, port, wait)
                                               : connect_tcp(host, port, wait);
  if (!fd) return fd.error();
  if (secure) return connect_tls(host, std::move(*fd), wait);
  Channel channel;
  channel.transport = Transport(std::move(*fd));
  return channel;
}

Result<Channel> HttpClient::Impl::connect_unix(const std::string& path, Wait& wait) {
  auto address = unix_address(path);
  if (!address) return unreachable(endpoint, address.error().message());
  auto fd = make_socket(AF_UNIX);
  if (!fd) return fd.error();
  for (int pause_ms = 1;; pause_ms = std::min(20, 2 * pause_ms)) {
    if (::connect(fd->get(), reinterpret_cast<sockaddr*>(&address->address), address->size) == 0)
      break;
    // The queue of waiting connections is full, and nothing tells when it is not.
    if (errno != EAGAIN && errno != EINTR) return unreachable(endpoint, std::strerror(errno));
    SPELL_TRY(wait.pause(std::chrono::milliseconds(pause_ms)));
  }
  Channel channel;
  channel.transport = Transport(std::move(*fd));
  return channel;
}

Result<Channel> HttpClient::Impl::connect_tls(const std::string& host, base::Fd fd, Wait& wait) {
  {
    std::lock_guard lock(mutex);
    if (!tls) {
      auto made = Tls::client(trust, identity);
      if (!made) return made.error();
      tls = std::move(*made);
    }
  }
  auto transport = Transport::make(std::move(fd), tls, host);
  if (!transport) return transport.error();
  for (;;) {
    auto shaken = transport->handshake();
    if (shaken.state == Transport::State::done) break;
    if (transport->untrusted())
      return base::error("untrusted_service", "the service at " + endpoint +
                                                  " is not to be trusted: " + transport->error());
    if (shaken.state != Transport::State::blocked) return unreachable(endpoint, transport->error());
    SPELL_TRY(wait.until(transport->fd(), transport->wait_for()));
  }
  Channel channel;
  channel.transport = std::move(*transport);
  return channel;
}

Result<base::Fd> HttpClient::Impl::connect_tcp(const std::string& host, const std::string& port,
                                               Wait& wait) {
  addrinfo hints{}, *found = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  if (int failure = ::getaddrinfo(host.c_str(), port.c_str(), &hints, &found); failure != 0)
    return unreachable(endpoint, ::gai_strerror(failure));
  std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> addresses(found, ::freeaddrinfo);
  int failure = 0;
  for (addrinfo* at = found; at; at = at->ai_next) {
    auto fd = make_socket(at->ai_family);
    if (!fd) return fd.error();
    failure = ::connect(fd->get(), at->ai_addr, at->ai_addrlen) == 0 ? 0 : errno;
    if (failure == EINPROGRESS) {
      SPELL_TRY(wait.until(fd->get(), POLLOUT));
      socklen_t size = sizeof failure;
      ::getsockopt(fd->get(), SOL_SOCKET, SO_ERROR, &failure, &size);
    }
    if (failure != 0) continue;
    no_delay(fd->get());
    keep_watch(fd->get());
    limit_unanswered(fd->get(), true);
    return fd;
  }
  return unreachable(endpoint, std::strerror(failure));
}

Result<base::Fd> HttpClient::Impl::connect_through_proxy(const std::string& host,
                                                         const std::string& port, Wait& wait) {
  std::string name = "the proxy " + proxy.host + ":" + proxy.port;
  auto failed = [&](const std::string& why) { return unreachable(endpoint, name + " " + why); };
  auto fd = connect_tcp(proxy.host, proxy.port, wait);
  if (!fd)
    return fd.error().code() == "service_unreachable" ? failed("cannot be reached") : fd.error();
  Channel channel;
  channel.transport = Transport(std::move(*fd));
  std::string to = (host.find(':') == std::string::npos ? host : "[" + host + "]") + ":" + port,
              head = "CONNECT " + to + " HTTP/1.1\r\nHost: " + to + "\r\n";
  if (!proxy.credentials.empty())
    head += "Proxy-Authorization: Basic " + base::base64(proxy.credentials) + "\r\n";
  head += "\r\n";
  for (std::array<std::string_view, 1> rest{head}; !rest[0].empty();) {
    auto put = channel.transport.write(rest);
    if (put.state == Transport::State::blocked)
      SPELL_TRY(wait.until(channel.transport.fd(), channel.transport.wait_for()));
    else if (put.state != Transport::State::done)
      return failed("closed the connection");
    else
      rest[0].remove_prefix(put.size);
  }
  // Nothing can follow the head before the service has heard from us.
  MessageParser parser(MessageParser::Kind::response_to_head, header_limit);
  while (!parser.head_done()) {
    auto size = receive(channel, wait, small_buffer, endpoint);
    bool closed = size ? *size == 0 : size.error().code() == "connection_lost";
    if (closed) return failed("closed the connection");
    if (!size) return size.error();
    auto step = parser.feed(channel.received());
    if (!step) return failed("sent " + step.error().message());
    channel.begin += step->used;
  }
  int status = parser.head().status;
  if (status / 100 != 2)
    return failed("answered " + std::to_string(status) + " " + std::string(reason_phrase(status)));
  return channel.transport.release();
}

std::optional<Channel> HttpClient::Impl::take_idle() {
  for (;;) {
    std::unique_lock lock(mutex);
    if (idle.empty()) return std::nullopt;
    Channel channel = std::move(idle.back());
    idle.pop_back();
    lock.unlock();
    // Closed by the service meanwhile, or it says something unasked: of no use.
    if (!channel.transport.heard()) return channel;
  }
}

void HttpClient::Impl::put_back(Channel channel) {
  channel.used = true;
  if (channel.capacity > small_buffer) channel.buffer.reset(), channel.capacity = 0;
  channel.begin = channel.end = 0;
  std::lock_guard lock(mutex);
  if (idle.size() < idle_limit) idle.push_back(std::move(channel));
}

// ---- one exchange

namespace {
/// Of one that has no file.
std::string_view body_of(const ClientRequest& request) {
  return request.lent.empty() ? std::string_view(request.body) : request.lent;
}
}  // namespace

std::string HttpClient::Impl::head_of(const ClientRequest& request) const {
  std::string head = request.method + " " + request.target + " HTTP/1.1\r\nHost: ";
  head += endpoint.starts_with(unix_scheme) ? "localhost" : authority_of(endpoint);
  head += "\r\n";
  for (auto& [name, value] : request.headers)
    head.append(name).append(": ").append(value).append("\r\n");
  std::int64_t size =
      request.body_fd >= 0 ? request.body_size : static_cast<std::int64_t>(body_of(request).size());
  if (size > 0 || (request.method != "GET" && request.method != "HEAD"))
    head += "Content-Length: " + std::to_string(size) + "\r\n";
  return head += "\r\n";
}

/// `cut` is set when the service no longer takes the request: its answer may be there already.
Result<> HttpClient::Impl::send_all(Channel& channel, const ClientRequest& request, Wait& wait,
                                    bool& cut) {
  std::string head = head_of(request);
  std::string file_piece;
  std::string_view body = body_of(request);
  std::int64_t from_file = request.body_fd >= 0 ? request.body_size : 0,
               offset = request.body_offset;
  if (request.body_fd >= 0) body = {};
  std::array<std::string_view, 2> parts{head, {}};
  std::int64_t sent = -static_cast<std::int64_t>(head.size());
  for (;;) {
    if (body.empty() && from_file > 0) {
      file_piece.resize(static_cast<std::size_t>(std::min<std::int64_t>(from_file, large_buffer)));
      auto size = base::pread_full(request.body_fd, file_piece.data(), file_piece.size(), offset);
      if (!size) return size.error();
      if (*size < file_piece.size())
        return base::error("io_error", "a file became shorter while it was being sent");
      body = file_piece;
      from_file -= static_cast<std::int64_t>(*size);
      offset += static_cast<std::int64_t>(*size);
    }
    parts[1] = body;
    if (parts[0].empty() && body.empty()) return ok();
    auto put = channel.transport.write(parts);
    if (put.state == Transport::State::blocked) {
      short ready = 0, needed = channel.transport.wait_for();
      SPELL_TRY(wait.until(channel.transport.fd(), static_cast<short>(POLLIN | needed), &ready));
      if ((ready & POLLIN) != 0 && channel.transport.heard())
        return cut = true, ok();  // an answer before the end: it won't read the rest
      continue;
    }
    if (put.state != Transport::State::done) return cut = true, ok();
    sent += static_cast<std::int64_t>(put.size);
    std::size_t of_head = std::min(put.size, parts[0].size());
    parts[0].remove_prefix(of_head);
    body.remove_prefix(put.size - of_head);
    if (sent > 0 && request.progress) request.progress(sent);
  }
}

Result<MessageParser> HttpClient::Impl::attempt(Channel& channel, const ClientRequest& request,
                                                Wait& wait, Fate& fate) {
  fate = Fate::failed;
  bool cut = false, answering = false, need_more = true;
  SPELL_TRY(send_all(channel, request, wait, cut));
  auto kind = request.method == "HEAD" ? MessageParser::Kind::response_to_head
                                       : MessageParser::Kind::response;
  MessageParser parser(kind, header_limit);
  while (!parser.head_done()) {
    if (need_more) {
      auto size = receive(channel, wait, small_buffer, endpoint);
      // A Unix socket that is closed before it was read to its end resets the other end, or refuses
      // what was still to be sent: either way nobody had the whole request.
      bool reset = !size && size.error().code() == "connection_lost";
      bool refused = size && *size == 0 && cut;
      if ((reset || refused) && !answering && endpoint.starts_with(unix_scheme))
        fate = Fate::not_read;
      if (!size) return size.error();
      if (*size == 0) return lost_answer(endpoint);
      answering = true;
    }
    auto step = parser.feed(channel.received());
    if (!step) return malformed(endpoint, step.error());
    channel.begin += step->used;
    need_more = step->used == 0 || channel.begin == channel.end;
    if (!parser.head_done()) continue;
    int status = parser.head().status;
    if (status >= 100 && status < 200 && status != 101) parser = MessageParser(kind, header_limit);
  }
  if (cut) parser.head().keep_alive = false;
  fate = Fate::answered;
  return parser;
}

Result<std::pair<Channel, MessageParser>> HttpClient::Impl::exchange(const ClientRequest& request,
                                                                     Wait& wait) {
  for (auto text : {std::string_view(request.method), std::string_view(request.target)})
    if (text.empty() || text.find_first_of(std::string_view(" \r\n\0", 4)) != text.npos)
      return base::error("invalid_path", "the request's path is not a URL path");
  for (auto& [name, value] : request.headers)
    if (name.find_first_of(std::string_view(" :\r\n\0", 5)) != name.npos ||
        value.find_first_of(std::string_view("\r\n\0", 3)) != value.npos)
      return base::error("invalid_request",
                         "the header field " + base::to_utf8(name) + " has a line break in it");
  for (;;) {
    auto channel = take_idle();
    if (!channel) {
      auto fresh = connect(wait);
      if (!fresh) return fresh.error();
      channel = std::move(*fresh);
    }
    Fate fate;
    auto parser = attempt(*channel, request, wait, fate);
    if (parser) return std::pair(std::move(*channel), std::move(*parser));
    if (fate != Fate::not_read) return parser.error();
    if (!channel->used) return unreachable(endpoint, "it closed the connection");
  }
}

/// The rest of an answer, body and all.
Result<ClientResponse> HttpClient::Impl::finish(Channel channel, MessageParser parser, Wait& wait,
                                                std::int64_t answer_limit) {
  ClientResponse response;
  for (;;) {
    auto piece = next_piece(channel, parser, wait, endpoint);
    if (!piece) return piece.error();
    if (piece->empty()) break;
    if (static_cast<std::int64_t>(response.body.size() + piece->size()) > answer_limit)
      return base::error("too_large",
                         "the answer is longer than " + std::to_string(answer_limit) + " bytes");
    response.body.append(*piece);
  }
  response.status = parser.head().status;
  response.headers = std::move(parser.head().headers);
  if (parser.head().keep_alive && channel.begin == channel.end) put_back(std::move(channel));
  return response;
}

Result<ClientResponse> HttpClient::send(const ClientRequest& request, const CallOptions& options,
                                        std::int64_t answer_limit) {
  Wait wait(options);
  auto exchanged = impl_->exchange(request, wait);
  if (!exchanged) return exchanged.error();
  return impl_->finish(std::move(exchanged->first), std::move(exchanged->second), wait,
                       answer_limit);
}

Result<Upgrade> HttpClient::upgrade(ClientRequest request, const CallOptions& options) {
  std::string key = make_upgrade_key();
  for (auto& field : upgrade_request(key)) request.headers.push_back(std::move(field));
  Wait wait(options);
  auto exchanged = impl_->exchange(request, wait);
  if (!exchanged) return exchanged.error();
  auto& [channel, parser] = *exchanged;
  Upgrade upgrade;
  if (parser.head().status != 101) {
    auto refused = impl_->finish(std::move(channel), std::move(parser), wait, 1 << 20);
    if (!refused) return refused.error();
    upgrade.response = std::move(*refused);
    return upgrade;
  }
  upgrade.response.status = 101;
  upgrade.response.headers = std::move(parser.head().headers);
  if (find_header(upgrade.response.headers, "Sec-WebSocket-Accept") != upgrade_accept(key))
    return base::error("connection_lost", "the service at " + impl_->endpoint +
                                              " answers as if it had been asked something else");
  limit_unanswered(channel.transport.fd(), false);  // whoever reads it may pause
  upgrade.stream.emplace(std::move(channel.transport), channel.received());
  return upgrade;
}

Result<std::string> HttpClient::find_authority(const std::string& endpoint,
                                               const CallOptions& options, const Proxy& proxy) {
  Impl look(endpoint, 0, {Trust::Kind::anybody, {}}, {}, proxy);
  if (!endpoint.starts_with(https_scheme))
    return base::error("invalid_request", endpoint + " is no https:// address");
  Wait wait(options);
  auto channel = look.connect(wait);
  if (!channel) return channel.error();
  std::string found = channel->transport.peer_authority();
  if (found.empty()) return unreachable(endpoint, "it shows no certificate");
  return found;
}

// ---- streams

struct ClientStream::Impl {
  std::shared_ptr<HttpClient::Impl> client;
  std::optional<Channel> channel;
  MessageParser parser;
  std::string_view piece;  ///< in the connection's buffer
};

Result<ClientStream> HttpClient::open(const ClientRequest& request, const CallOptions& options) {
  Wait wait(options);
  auto exchanged = impl_->exchange(request, wait);
  if (!exchanged) return exchanged.error();
  return ClientStream(std::unique_ptr<ClientStream::Impl>(new ClientStream::Impl{
      impl_, std::move(exchanged->first), std::move(exchanged->second), {}}));
}

ClientStream::ClientStream(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ClientStream::ClientStream(ClientStream&&) noexcept = default;
ClientStream& ClientStream::operator=(ClientStream&&) noexcept = default;
ClientStream::~ClientStream() = default;
int ClientStream::status() const { return impl_->parser.head().status; }
const Headers& ClientStream::headers() const { return impl_->parser.head().headers; }

Result<std::size_t> ClientStream::read(char* buffer, std::size_t size, const CallOptions& options) {
  if (impl_->piece.empty()) {
    if (!impl_->channel) {
      if (impl_->parser.done()) return std::size_t(0);
      return lost_answer(impl_->client->endpoint);
    }
    Wait wait(options);
    auto piece = next_piece(*impl_->channel, impl_->parser, wait, impl_->client->endpoint);
    if (!piece) {
      // Time-outs and cancellation leave the stream where it is: it can be read on.
      if (piece.error().code() == "connection_lost") impl_->channel.reset();
      return piece.error();
    }
    impl_->piece = *piece;
    if (piece->empty()) {
      auto channel = std::exchange(impl_->channel, std::nullopt);
      if (impl_->parser.head().keep_alive && channel->begin == channel->end)
        impl_->client->put_back(std::move(*channel));
      return std::size_t(0);
    }
  }
  std::size_t n = std::min(size, impl_->piece.size());
  std::memcpy(buffer, impl_->piece.data(), n);
  impl_->piece.remove_prefix(n);
  return n;
}

}  // namespace spell::net
