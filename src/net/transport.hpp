// The bytes of one connection, as they are or inside TLS, over a non-blocking socket. Everything is
// tried at once and nothing waits here: who is told `blocked` waits until the socket is ready for
// wait_for() and asks again.
#pragma once
#include <poll.h>

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/fd.hpp"
#include "net/tls.hpp"

struct ssl_st;

namespace spell::net {

/// Of a stream, at once: many of them must not hold much each.
inline constexpr std::size_t stream_read_size = 64 * 1024;

/// What TLS writes to.
struct TlsSocket {
  int fd = -1;
  bool more = false;  ///< what is written now is not the end: packets may leave when they are full
};

class Transport {
 public:
  enum class State {
    done,
    blocked,
    closed,  ///< the other end has closed it, in order or not
    failed,  ///< error() says why
  };
  struct Outcome {
    State state = State::failed;
    std::size_t size = 0;
  };

  Transport() = default;
  explicit Transport(base::Fd fd) : fd_(std::move(fd)) {}
  /// TLS from the first byte on; `host`: of the server, which a client asks for.
  static Result<Transport> make(base::Fd, std::shared_ptr<const Tls>, const std::string& host = {});
  Transport(Transport&&) noexcept;
  Transport& operator=(Transport&&) noexcept;
  ~Transport();

  int fd() const { return fd_.get(); }
  bool is_open() const { return static_cast<bool>(fd_); }
  bool secure() const { return ssl_ != nullptr; }
  /// Nothing has to be agreed upon any more before bytes of the message come.
  bool ready() const;
  /// At least one byte.
  Outcome read(char* buffer, std::size_t size);
  /// As much of the parts, one after the other, as goes.
  Outcome write(std::span<const std::string_view> parts);
  /// Before the first read or write of a client that wants to know whom it speaks to; else done by
  /// them.
  Outcome handshake();
  /// POLLIN or POLLOUT, after `blocked`.
  short wait_for() const { return wait_for_; }
  /// Bytes have arrived that the socket's readiness will not tell of.
  bool buffered() const;
  /// The other end will send nothing more. Takes no bytes, as heard().
  bool gone() { return look() == State::closed; }
  /// Bytes have come, or the end.
  bool heard() { return look() != State::blocked; }
  /// The handshake failed because of who the other end is.
  bool untrusted() const { return untrusted_; }
  /// The end of what is sent; nothing can be written any more.
  void finish_sending();
  void close();
  /// Of a connection without TLS: its socket, for somebody else.
  base::Fd release() { return std::move(fd_); }
  const std::string& error() const { return error_; }
  /// After the handshake: the fingerprint of the last certificate that the other end has sent.
  std::string peer_authority() const;
  /// Of a server, after the handshake: the fingerprint of the key that the client holds and the
  /// authority has vouched for; "": it has shown none.
  std::string peer_key() const;

 private:
  Outcome tls_outcome(int result);
  State look();

  base::Fd fd_;
  std::shared_ptr<const Tls> tls_;
  ssl_st* ssl_ = nullptr;
  std::unique_ptr<TlsSocket> socket_;  ///< of `ssl_`
  short wait_for_ = POLLIN;
  bool untrusted_ = false;
  std::string error_;
  std::string joined_;  ///< small parts that become one record
};

}  // namespace spell::net
