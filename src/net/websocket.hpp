// The framing of two-way streams (RFC 6455, WebSocket), without I/O: bytes that come are cut into
// messages, messages become bytes. Everything here is bounded: a message that is longer than the
// limit ends the stream.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>

#include "net/http.hpp"

namespace spell::net {

/// Of one message, its kind byte included. Both ends keep to it.
inline constexpr std::size_t message_limit = 128 * 1024;

/// The header fields by which a request asks for a stream; `key`: see make_upgrade_key().
Headers upgrade_request(const std::string& key);
std::string make_upgrade_key();
/// What the answer's Sec-WebSocket-Accept must be.
std::string upgrade_accept(std::string_view key);
/// The key of a request that asks for a stream in the right way; "" else.
std::string upgrade_key(const Headers&);

struct WireMessage {
  enum class Kind : std::uint8_t { data, ping, pong, close } kind = Kind::data;
  std::string payload{};
};

/// Appends a message as one frame. A client's are masked.
void append_message(std::string& out, WireMessage::Kind, std::string_view payload, bool masked);

class MessageReader {
 public:
  /// `masked`: the other end is a client.
  explicit MessageReader(bool masked, std::size_t limit = message_limit)
      : masked_(masked), limit_(limit) {}
  /// Takes all of the bytes. Error `invalid_stream`; nothing can be read after it.
  Result<> feed(std::string_view bytes);
  std::optional<WireMessage> next();
  bool empty() const { return messages_.empty(); }

 private:
  Result<> begin_frame();
  void end_frame();

  bool masked_;
  std::size_t limit_;
  std::string head_;  ///< of the frame that is coming
  bool in_payload_ = false;
  std::uint8_t opcode_ = 0;  ///< of that frame
  bool last_ = false;        ///< it ends its message
  std::size_t left_ = 0;     ///< bytes of its payload that are still to come
  std::array<char, 4> mask_{};
  std::size_t position_ = 0;  ///< in its payload, for the mask
  bool in_message_ = false;   ///< a message of several frames has begun
  std::string message_, control_;
  std::deque<WireMessage> messages_;
};

}  // namespace spell::net
