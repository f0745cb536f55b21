#include "net/message_stream.hpp"

#include <array>

#include "base/error.hpp"

namespace spell::net {

using State = Transport::State;

namespace {
constexpr int last_reads = 16;
}  // namespace

MessageStream::MessageStream(Transport transport, std::string_view received)
    : transport_(std::move(transport)), buffer_(new char[stream_read_size]) {
  if (auto fed = reader_.feed(received); !fed) failure_ = fed.error();
}
MessageStream::MessageStream(MessageStream&&) noexcept = default;
MessageStream& MessageStream::operator=(MessageStream&&) noexcept = default;
MessageStream::~MessageStream() = default;

short MessageStream::events() const {
  int events = POLLIN | read_needs_;
  if (queued() > 0) events |= write_needs_ != 0 ? write_needs_ : POLLOUT;
  return static_cast<short>(events);
}

Result<> MessageStream::serve() {
  if (failure_) return *failure_;
  auto written = write();
  SPELL_TRY(read());
  // Who takes nothing more may have said why.
  for (int i = 0; !written && read_needs_ == 0 && i < last_reads; ++i) SPELL_TRY(read());
  return written ? write() : written;  // answers to pings
}

Result<> MessageStream::read() {
  auto lost = [&] {
    closed_ = true;
    return base::error("connection_lost", "the connection to the service was lost");
  };
  if (closed_) return lost();
  do {
    auto got = transport_.read(buffer_.get(), stream_read_size);
    read_needs_ = got.state == State::blocked ? transport_.wait_for() : short(0);
    if (got.state == State::blocked) return ok();
    if (got.state != State::done) return lost();
    SPELL_TRY(reader_.feed({buffer_.get(), got.size}));
  } while (transport_.buffered());
  return ok();
}

Result<> MessageStream::write() {
  while (queued() > 0) {
    std::array<std::string_view, 1> parts{std::string_view(out_).substr(sent_)};
    auto put = transport_.write(parts);
    write_needs_ = put.state == State::blocked ? transport_.wait_for() : short(0);
    if (put.state == State::blocked) break;
    if (put.state != State::done)
      return base::error("connection_lost", "the connection to the service was lost");
    sent_ += put.size;
  }
  if (queued() == 0) {
    out_.clear();
    if (out_.capacity() > stream_read_size) out_ = {};
    sent_ = 0;
  }
  return ok();
}

std::optional<std::string> MessageStream::next() {
  while (auto message = reader_.next()) {
    switch (message->kind) {
      case WireMessage::Kind::data:
        return std::move(message->payload);
      case WireMessage::Kind::ping:
        // Who pings without reading the answers gets none.
        if (queued() < stream_read_size)
          append_message(out_, WireMessage::Kind::pong, message->payload, true);
        break;
      case WireMessage::Kind::pong:
        break;
      case WireMessage::Kind::close:
        closed_ = true;
        break;
    }
  }
  return std::nullopt;
}

void MessageStream::send(std::string_view message) {
  if (finishing_) return;
  append_message(out_, WireMessage::Kind::data, message, true);
}

void MessageStream::finish() {
  if (finishing_) return;
  append_message(out_, WireMessage::Kind::close, {}, true);
  finishing_ = true;
}

}  // namespace spell::net
