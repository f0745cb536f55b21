// The client's end of a two-way stream (see websocket.hpp), over a non-blocking connection. Nothing
// waits here: who uses it polls fd() for events() and calls serve(). One thread at a time.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "net/transport.hpp"
#include "net/websocket.hpp"

namespace spell::net {

class MessageStream {
 public:
  MessageStream(Transport transport, std::string_view received);
  MessageStream(MessageStream&&) noexcept;
  MessageStream& operator=(MessageStream&&) noexcept;
  ~MessageStream();

  int fd() const { return transport_.fd(); }
  /// POLLIN and POLLOUT, as it needs them now.
  short events() const;
  /// Reads and writes what goes at once. Error `connection_lost`: the other end is gone, in order
  /// or not; `invalid_stream`. What has come before is still there. Take all messages after it:
  /// what was read is told by no descriptor any more.
  Result<> serve();
  /// Writes only, for what was sent after serve(): whatever may come meanwhile is left to be told.
  Result<> flush() { return failure_ ? *failure_ : write(); }
  /// The next whole message that has come.
  std::optional<std::string> next();
  /// Queues a message; serve() sends it.
  void send(std::string_view message);
  /// Bytes that are queued.
  std::size_t queued() const { return out_.size() - sent_; }
  /// Says that nothing more will come, once what is queued is out.
  void finish();
  /// Whether it is: what was queued before finish() is out.
  bool finished() const { return finishing_ && queued() == 0; }

 private:
  Result<> read();
  Result<> write();

  Transport transport_;
  MessageReader reader_{false};
  std::string out_;
  std::size_t sent_ = 0;
  std::unique_ptr<char[]> buffer_;
  short read_needs_ = 0, write_needs_ = 0;  ///< what the last try was blocked on
  bool finishing_ = false, closed_ = false;
  std::optional<Error> failure_{};
};

}  // namespace spell::net
