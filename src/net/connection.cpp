#include "net/connection.hpp"

#include <unistd.h>

#include <algorithm>
#include <charconv>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "net/socket.hpp"
#include "net/spool.hpp"

namespace spell::net {

namespace asio = boost::asio;
using boost::system::error_code;
using Waiter = asio::posix::stream_descriptor;
using State = Transport::State;

namespace {

constexpr std::size_t keep_capacity = 8 * 1024;  // of a buffer, while a connection is idle

void append_number(std::string& out, std::uint64_t number, int base = 10) {
  char digits[24];
  auto [end, ec] = std::to_chars(digits, digits + sizeof digits, number, base);
  out.append(digits, end);
}

/// A field that cannot end its line: values may come from users.
void append_field(std::string& out, std::string_view name, std::string_view value) {
  out.append(name).append(": ");
  for (char c : value) out += static_cast<unsigned char>(c) < ' ' || c == 127 ? ' ' : c;
  out += "\r\n";
}

void release(std::string& buffer) {
  if (buffer.capacity() > keep_capacity)
    buffer = {};
  else
    buffer.clear();
}

}  // namespace

Connection::Connection(std::shared_ptr<Loop> loop, std::shared_ptr<ServerShared> shared,
                       Transport transport, std::string door)
    : loop_(std::move(loop)),
      shared_(std::move(shared)),
      transport_(std::move(transport)),
      waiter_(loop_->io),
      timer_(loop_->io),
      peer_uid_(peer_uid(transport_.fd())),
      peer_address_(peer_address(transport_.fd())),
      door_(std::move(door)),
      peer_port_(peer_port(transport_.fd())) {
  error_code failure;
  waiter_.assign(transport_.fd(), failure);
}

void Connection::start() {
  if (!waiter_.is_open()) return close();
  // Inside TLS nothing can be answered before the client has said who it wants to speak to.
  if (transport_.secure()) {
    set_deadline(shared_->options.header_timeout_ms);
    wait_deadline();
  }
  arm();
}

void Connection::finish() {
  finishing_ = true;
  if ((phase_ == Phase::receiving && !parser_) || phase_ == Phase::streaming) close();
}

void Connection::close() {
  if (phase_ == Phase::closed) return;
  phase_ = Phase::closed;
  auto self = shared_from_this();
  if (waiter_.is_open()) waiter_.release();
  transport_.close();
  timer_.cancel();
  pending_ = {};
  parser_.reset();
  request_ = {};
  next_.reset();
  auto source = std::move(source_);
  auto on_close = std::move(on_close_);
  source_ = {};
  on_close_ = {};
  auto stream = std::move(stream_);
  loop_->connections.erase(this);
  shared_->released();
  if (source) source->cancel();
  if (on_close) on_close();
  if (!stream) return;
  Error lost = base::error("connection_lost", "the stream's other end is gone");
  if (stream->receiver) stream->receiver(lost);
  if (stream->sender) stream->sender(lost);
}

// ---- the request

void Connection::arm() {
  if (armed_) return;
  armed_ = true;
  auto ready = transport_.wait_for() == POLLOUT && phase_ == Phase::receiving ? Waiter::wait_write
                                                                              : Waiter::wait_read;
  waiter_.async_wait(ready, [self = shared_from_this()](error_code failure) {
    self->armed_ = false;
    if (!failure) self->readable();
  });
}

void Connection::readable() {
  switch (phase_) {
    case Phase::receiving:
      return receive();
    case Phase::draining:
      return drain();
    case Phase::streaming:
      return stream_readable();
    case Phase::handling:
    case Phase::answering:
      // Bytes of a next request wait in the socket; it is armed again after the answer.
      if (transport_.gone()) close();
      return;
    case Phase::closed:
      return;
  }
}

void Connection::receive() {
  auto self = shared_from_this();
  do {
    auto got = transport_.read(loop_->buffer.get(), Loop::buffer_size);
    if (got.state == State::blocked) break;
    if (got.state != State::done) return close();
    take({loop_->buffer.get(), got.size});
  } while (phase_ == Phase::receiving && transport_.buffered());
  if (phase_ == Phase::receiving) arm();
}

void Connection::drain() {
  auto got = transport_.read(loop_->buffer.get(), Loop::buffer_size);
  if (got.state != State::done && got.state != State::blocked) return close();
  arm();
}

void Connection::take(std::string_view bytes) {
  bool joined = !pending_.empty();
  if (joined) {
    pending_.append(bytes);
    bytes = pending_;
  }
  std::size_t rest = parse(bytes).size();
  if (phase_ == Phase::closed) return;
  if (joined)
    pending_.erase(0, pending_.size() - rest);
  else
    pending_.assign(bytes.substr(bytes.size() - rest));
  if (phase_ != Phase::receiving || !parser_) return;
  if (parser_->head_done()) set_deadline(shared_->options.body_timeout_ms);
  if (!timing_) wait_deadline();
}

/// Returns what it has not used.
std::string_view Connection::parse(std::string_view bytes) {
  while (phase_ == Phase::receiving) {
    if (!parser_) {
      if (bytes.empty()) break;
      parser_.emplace(MessageParser::Kind::request,
                      static_cast<std::size_t>(shared_->options.header_limit));
      request_ = {};
      request_.received_us = base::unix_us();
      request_.id = shared_->id_prefix;
      append_number(request_.id, shared_->next_id++, 36);
      begun_ = no_body_ = http_1_0_ = false;
      ++number_;
      set_deadline(shared_->options.header_timeout_ms);
    }
    auto step = parser_->feed(bytes);
    if (!step) {
      fail(step.error());
      break;
    }
    bytes.remove_prefix(step->used);
    if (parser_->head_done() && !begun_ && !begin_request(bytes)) break;
    if (!step->body.empty() && !add_body(step->body)) break;
    if (parser_->done())
      dispatch();
    else if (step->used == 0)
      break;
  }
  return bytes;
}

/// The head is there: decides on the body. False: the request has been answered.
bool Connection::begin_request(std::string_view rest) {
  begun_ = true;
  MessageHead& head = parser_->head();
  http_1_0_ = head.http_1_0;
  no_body_ = head.method == "HEAD";
  keep_alive_ = head.keep_alive;
  auto target = parse_target(head.target);
  if (!target) return fail(target.error()), false;
  request_.target = std::move(*target);
  request_.method = std::move(head.method);
  request_.raw_target = std::move(head.target);
  request_.headers = std::move(head.headers);
  request_.peer_uid = peer_uid_;
  if (!peer_key_) peer_key_ = transport_.peer_key();
  request_.peer_key = *peer_key_;
  request_.peer_address = peer_address_;
  request_.peer_port = peer_port_;
  request_.door = door_;
  auto rule = shared_->handler->body_rule(request_);
  if (!rule) return fail(rule.error()), false;
  rule_ = *rule;
  std::int64_t length = head.content_length.value_or(0);
  if (length > rule_.limit)
    return fail(base::error("too_large", "the body of " + std::to_string(length) +
                                             " bytes is longer than " +
                                             std::to_string(rule_.limit))),
           false;
  if (rule_.to_file) {
    auto file = unnamed_file(shared_->options.spool_folder);
    if (!file) return fail(file.error()), false;
    request_.body_file = std::move(*file);
  } else if (length <= 64 * 1024) {
    request_.body.reserve(static_cast<std::size_t>(length));
  }
  if ((length > 0 || head.chunked) && rest.empty() &&
      find_header(request_.headers, "Expect") == "100-continue") {
    constexpr std::string_view go_on = "HTTP/1.1 100 Continue\r\n\r\n";
    // The socket's buffer is empty: every earlier answer was read before this request was sent.
    if (transport_.write({{go_on}}).size != go_on.size()) return close(), false;
  }
  return true;
}

bool Connection::add_body(std::string_view piece) {
  request_.body_size += static_cast<std::int64_t>(piece.size());
  if (request_.body_size > rule_.limit)
    return fail(base::error("too_large",
                            "the body is longer than " + std::to_string(rule_.limit) + " bytes")),
           false;
  if (!rule_.to_file) {
    request_.body.append(piece);
  } else if (auto written = base::write_all(request_.body_file.get(), piece); !written) {
    return fail(written.error()), false;
  }
  return true;
}

/// An answer from any thread, once. Dropped, it says so.
struct Reply::Impl {
  Impl(std::shared_ptr<Connection> c, std::uint64_t n) : connection(std::move(c)), number(n) {}
  ~Impl() {
    if (!answered.exchange(true)) connection->answer_dropped(number);
  }
  std::shared_ptr<Connection> connection;
  std::uint64_t number;
  std::atomic<bool> answered = false;
  std::function<void(const Response&)> on_answer{};
};

void Reply::send(Response response) const {
  if (impl_->answered.exchange(true)) return;
  if (impl_->on_answer) impl_->on_answer(response);
  impl_->connection->answer(impl_->number, std::move(response));
}

void Reply::stream(Response head, std::shared_ptr<BodySource> source,
                   std::optional<std::int64_t> size) const {
  if (impl_->answered.exchange(true)) return;
  if (impl_->on_answer) impl_->on_answer(head);
  impl_->connection->answer(impl_->number, std::move(head), std::move(source), size);
}

void Reply::on_answer(std::function<void(const Response&)> function) const {
  impl_->on_answer = std::move(function);
}

void Reply::on_close(std::function<void()> function) const {
  if (!impl_->answered) impl_->connection->call_on_close(impl_->number, std::move(function));
}

void Reply::belongs_to(std::string whom) const { impl_->connection->set_owner(std::move(whom)); }

Stream Reply::upgrade() const {
  if (!impl_->answered.exchange(true)) {
    if (impl_->on_answer) impl_->on_answer({101});
    impl_->connection->upgrade(impl_->number);
  }
  return Stream(std::make_shared<Stream::Impl>(impl_->connection));
}

void Connection::dispatch() {
  upgrade_key_ = http_1_0_ || no_body_ ? std::string() : upgrade_key(request_.headers);
  request_.wants_stream = !upgrade_key_.empty();
  if (request_.body_file) ::lseek(request_.body_file.get(), 0, SEEK_SET);
  if (timing_) timer_.cancel();
  phase_ = Phase::handling;
  std::string id = request_.id;
  Request request = std::exchange(request_, {});
  request_.id = std::move(id);
  parser_.reset();
  Reply reply(std::make_shared<Reply::Impl>(shared_from_this(), number_));
  try {
    shared_->handler->handle(std::move(request), reply);
  } catch (const std::exception&) {
    // The reply is dropped: if nothing else holds it, the client gets `internal`.
  }
}

void Connection::fail(const Error& error) {
  keep_alive_ = false;
  begin_answer(shared_->handler->error(error, request_.id), {}, {});
}

void Connection::set_deadline(int ms) {
  deadline_ = std::chrono::steady_clock::now() + std::chrono::milliseconds(ms);
}

/// One wait serves all deadlines of a request: a later one is looked at when the earlier has
/// passed.
void Connection::wait_deadline() {
  timing_ = true;
  timer_.expires_at(deadline_);
  timer_.async_wait([self = shared_from_this()](error_code failure) {
    self->timing_ = false;
    bool shaking = self->phase_ == Phase::receiving && !self->transport_.ready();
    bool ending = self->phase_ == Phase::draining || (self->stream_ && self->stream_->ending);
    bool waiting = shaking || ending || (self->phase_ == Phase::receiving && self->parser_);
    if (!waiting) return;
    if (failure || std::chrono::steady_clock::now() < self->deadline_) return self->wait_deadline();
    if (shaking || ending) return self->close();
    self->fail(base::error("request_timeout", "the request did not arrive in time"));
  });
}

void Connection::next_request() {
  parser_.reset();
  if (finishing_) return close();
  phase_ = Phase::receiving;
  if (!pending_.empty())
    take({});
  else
    release(pending_);
  if (phase_ == Phase::receiving && transport_.buffered()) return receive();
  if (phase_ == Phase::receiving) arm();
}

// ---- the answer

void Connection::call_on_close(std::uint64_t request, std::function<void()> function) {
  loop_->post([self = shared_from_this(), request, function = std::move(function)]() mutable {
    if (self->phase_ == Phase::closed) return function();
    if (self->phase_ != Phase::handling || self->number_ != request) return;
    self->on_close_ = std::move(function);
    self->arm();
  });
}

void Connection::answer(std::uint64_t request, Response response,
                        std::shared_ptr<BodySource> source, std::optional<std::int64_t> size) {
  loop_->post([self = shared_from_this(), request, response = std::move(response),
               source = std::move(source), size]() mutable {
    if (self->phase_ == Phase::handling && self->number_ == request)
      self->begin_answer(std::move(response), std::move(source), size);
    else if (source)
      source->cancel();
  });
}

void Connection::answer_dropped(std::uint64_t request) {
  loop_->post([self = shared_from_this(), request] {
    if (self->phase_ != Phase::handling || self->number_ != request) return;
    Error error = base::error("internal", "the request was not answered");
    self->begin_answer(self->shared_->handler->error(error, self->request_.id), {}, {});
  });
}

void Connection::begin_answer(Response response, std::shared_ptr<BodySource> source,
                              std::optional<std::int64_t> size) {
  on_close_ = {};
  phase_ = Phase::answering;
  bool bodyless = response.status < 200 || response.status == 204 || response.status == 304;
  chunked_ = source && !size && !http_1_0_;
  if (finishing_ || (source && !size && http_1_0_)) keep_alive_ = false;
  head_.clear();
  head_ += "HTTP/1.1 ";
  append_number(head_, static_cast<std::uint64_t>(response.status));
  head_ += ' ';
  head_.append(reason_phrase(response.status)).append("\r\n");
  if (!bodyless) {
    append_field(head_, "Content-Type", response.content_type);
    if (chunked_) {
      head_ += "Transfer-Encoding: chunked\r\n";
    } else if (size || !source) {
      head_ += "Content-Length: ";
      append_number(head_, size ? static_cast<std::uint64_t>(*size) : response.body.size());
      head_ += "\r\n";
    }
  }
  append_field(head_, "X-Request-Id", request_.id);
  for (auto& [name, value] : response.headers) append_field(head_, name, value);
  if (!keep_alive_)
    head_ += "Connection: close\r\n";
  else if (http_1_0_)
    head_ += "Connection: keep-alive\r\n";
  head_ += "\r\n";
  if (no_body_ || bodyless) {
    if (source) source->cancel();
    source = {};
    response.body = {};
  }
  source_ = std::move(source);
  remaining_ = size;
  piece_ = source_ ? std::string() : std::move(response.body);
  if (source_) {
    arm();  // to see the client go while the source has nothing
    pull();
  }
  write();
}

void Connection::pull() {
  pulling_ = true;
  auto source = source_;
  source->pull([self = shared_from_this()](Result<std::string> piece) {
    self->loop_->post(
        [self, piece = std::move(piece)]() mutable { self->pulled(std::move(piece)); });
  });
}

void Connection::pulled(Result<std::string> piece) {
  if (phase_ != Phase::answering || !pulling_) return;
  pulling_ = false;
  // The head is out: only a missing end can tell the client of a failure.
  if (!piece) return close();
  next_ = std::move(*piece);
  advance();
}

/// Writes the next piece if it is there and the one before is out, while the one after is being
/// pulled.
void Connection::advance() {
  if (writing_ || !next_) return;
  piece_ = std::move(*next_);
  next_.reset();
  head_.clear();
  if (remaining_) {
    *remaining_ -= static_cast<std::int64_t>(piece_.size());
    if (*remaining_ < 0 || (piece_.empty() && *remaining_ != 0)) return close();
  }
  if (piece_.empty()) {
    source_ = {};
    if (chunked_) head_ = "0\r\n\r\n";
    return write();
  }
  if (chunked_) {
    append_number(head_, piece_.size(), 16);
    head_ += "\r\n";
  }
  pull();
  write(chunked_ ? "\r\n" : "");
}

void Connection::write(std::string_view last) {
  writing_ = true;
  parts_ = {head_, piece_, last};
  write_on();
}

void Connection::write_on() {
  auto self = shared_from_this();
  while (std::any_of(parts_.begin(), parts_.end(), [](auto part) { return !part.empty(); })) {
    auto put = transport_.write(parts_);
    if (put.state == State::blocked) {
      auto ready = transport_.wait_for() == POLLIN ? Waiter::wait_read : Waiter::wait_write;
      waiter_.async_wait(ready, [self](error_code aborted) {
        if (!aborted && self->phase_ == Phase::answering) self->write_on();
      });
      return;
    }
    if (put.state != State::done) return close();
    for (auto& part : parts_) {
      std::size_t used = std::min(put.size, part.size());
      part.remove_prefix(used);
      put.size -= used;
    }
  }
  writing_ = false;
  release(head_);
  release(piece_);
  if (source_) return advance();
  if (keep_alive_) return next_request();
  if (!parser_) return close();
  drain_to_end();
}

/// The other end is still sending. Closing on it would take what was sent last from its hands.
void Connection::drain_to_end() {
  transport_.finish_sending();
  phase_ = Phase::draining;
  parser_.reset();
  pending_ = {};
  set_deadline(drain_ms);
  if (timing_)
    timer_.cancel();
  else
    wait_deadline();
  arm();
}

}  // namespace spell::net
