// One HTTP/1.1 message cut out of bytes as they come, without I/O. The only place that knows Beast,
// whose parser is inside.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "net/http.hpp"

namespace spell::net {

struct MessageHead {
  std::string method{}, target{};  ///< of a request
  int status = 0;                  ///< of a response
  Headers headers{};
  std::optional<std::int64_t> content_length;
  bool chunked = false;
  bool http_1_0 = false;
  bool keep_alive = false;  ///< what the sender allows; false also for a body that only the end of
                            ///< the connection ends
};

class MessageParser {
 public:
  /// `response_to_head` has no body, whatever its fields say.
  enum class Kind : std::uint8_t { request, response, response_to_head };
  MessageParser(Kind, std::size_t header_limit);
  ~MessageParser();
  MessageParser(MessageParser&&) noexcept;
  MessageParser& operator=(MessageParser&&) noexcept;

  struct Step {
    std::size_t used =
        0;  ///< bytes taken from the front; the rest must be given again, with what follows
    std::string_view body;  ///< a piece of the body, within the bytes given
  };
  /// Goes one step: the head, or one piece of the body, or nothing (used 0, not done) when it needs
  /// more bytes. Errors: `invalid_request` (malformed), `headers_too_large`. After an error or when
  /// done() it must not be called.
  Result<Step> feed(std::string_view bytes);
  /// The connection has ended: false if the message was cut short.
  bool finish();

  bool started() const;
  bool head_done() const;
  bool done() const;
  MessageHead& head();

  struct Impl;

 private:
  std::unique_ptr<Impl> impl_;
};

/// "Not Found" for 404.
std::string_view reason_phrase(int status);

}  // namespace spell::net
