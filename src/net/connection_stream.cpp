// What a connection does once it has become a two-way stream.
#include "base/error.hpp"
#include "net/connection.hpp"
#include "net/socket.hpp"

namespace spell::net {

using boost::system::error_code;
using Waiter = boost::asio::posix::stream_descriptor;
using State = Transport::State;

namespace {

Error lost_stream() { return base::error("connection_lost", "the stream's other end is gone"); }

}  // namespace

void Stream::receive(std::function<void(Result<std::string>)> done) const {
  impl_->connection->receive_message(std::move(done));
}
void Stream::send(std::string message, std::function<void(Result<>)> done) const {
  impl_->connection->send_message(std::move(message), std::move(done));
}
void Stream::close() const { impl_->connection->close_stream(); }

void Connection::upgrade(std::uint64_t request) {
  loop_->post([self = shared_from_this(), request] {
    if (self->phase_ != Phase::handling || self->number_ != request) return;
    if (self->upgrade_key_.empty()) {
      Error error = base::error("internal", "the request did not ask for a stream");
      return self->begin_answer(self->shared_->handler->error(error, self->request_.id), {}, {});
    }
    self->on_close_ = {};
    self->phase_ = Phase::streaming;
    self->stream_ = std::make_unique<Streaming>();
    auto& out = self->stream_->out;
    out = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n";
    out += "Sec-WebSocket-Accept: " + upgrade_accept(self->upgrade_key_) +
           "\r\nX-Request-Id: " + self->request_.id + "\r\n\r\n";
    auto fed = self->stream_->reader.feed(std::exchange(self->pending_, {}));
    if (!fed) return self->close();
    self->stream_write();
  });
}

void Connection::receive_message(std::function<void(Result<std::string>)> done) {
  loop_->post([self = shared_from_this(), done = std::move(done)]() mutable {
    if (!self->stream_ || self->stream_->ending) return done(lost_stream());
    self->stream_->receiver = std::move(done);
    self->stream_advance();
  });
}

void Connection::send_message(std::string message, std::function<void(Result<>)> done) {
  loop_->post(
      [self = shared_from_this(), message = std::move(message), done = std::move(done)]() mutable {
        if (!self->stream_ || self->stream_->ending) return done(lost_stream());
        append_message(self->stream_->out, WireMessage::Kind::data, message, false);
        self->stream_->sender = std::move(done);
        self->stream_write();
      });
}

void Connection::close_stream() {
  loop_->post([self = shared_from_this()] {
    if (!self->stream_ || self->stream_->ending) return;
    auto& stream = *self->stream_;
    append_message(stream.out, WireMessage::Kind::close, {}, false);
    stream.ending = true;
    auto receiver = std::exchange(stream.receiver, {});
    auto sender = std::exchange(stream.sender, {});
    // Who does not take the rest is not waited for.
    self->set_deadline(drain_ms);
    if (!self->timing_) self->wait_deadline();
    self->stream_write();
    if (receiver) receiver(lost_stream());
    if (sender) sender(lost_stream());
  });
}

/// Hands out what has come, or waits for more.
void Connection::stream_advance() {
  auto self = shared_from_this();
  while (phase_ == Phase::streaming && stream_->receiver) {
    auto message = stream_->reader.next();
    // Of what lies in TLS already the socket tells nothing.
    if (!message) return transport_.buffered() ? stream_readable() : arm();
    switch (message->kind) {
      case WireMessage::Kind::data: {
        auto receiver = std::exchange(stream_->receiver, {});
        receiver(std::move(message->payload));
        break;
      }
      case WireMessage::Kind::ping:
        // Who pings and does not read gets no answers.
        if (stream_->out.size() - stream_->sent >= stream_read_size) break;
        append_message(stream_->out, WireMessage::Kind::pong, message->payload, false);
        stream_write();
        break;
      case WireMessage::Kind::pong:
        break;
      case WireMessage::Kind::close:
        return close();
    }
  }
}

void Connection::stream_readable() {
  auto self = shared_from_this();
  do {
    auto got = transport_.read(loop_->buffer.get(), stream_read_size);
    if (got.state == State::blocked) break;
    if (got.state != State::done) return close();
    if (!stream_->reader.feed({loop_->buffer.get(), got.size})) return close();
  } while (transport_.buffered());
  stream_advance();
}

void Connection::stream_write() {
  auto self = shared_from_this();
  if (stream_->writing) return;
  while (stream_->sent < stream_->out.size()) {
    std::array<std::string_view, 1> parts{std::string_view(stream_->out).substr(stream_->sent)};
    auto put = transport_.write(parts);
    if (put.state == State::blocked) {
      stream_->writing = true;
      auto ready = transport_.wait_for() == POLLIN ? Waiter::wait_read : Waiter::wait_write;
      waiter_.async_wait(ready, [self](error_code aborted) {
        if (aborted || self->phase_ != Phase::streaming) return;
        self->stream_->writing = false;
        self->stream_write();
      });
      return;
    }
    if (put.state != State::done) return close();
    stream_->sent += put.size;
    if (stream_->ending) set_deadline(drain_ms);  // it takes the rest, if slowly
  }
  stream_->sent = 0;
  if (stream_->out.capacity() > stream_read_size)
    stream_->out = {};
  else
    stream_->out.clear();
  if (stream_->ending) {
    stream_.reset();
    return drain_to_end();
  }
  if (auto sender = std::exchange(stream_->sender, {})) sender(ok());
}

}  // namespace spell::net
