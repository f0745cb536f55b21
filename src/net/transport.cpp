#include "net/transport.hpp"

#include <openssl/err.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <cerrno>
#include <climits>
#include <cstring>

#include "base/error.hpp"
#include "net/openssl.hpp"
#include "net/socket.hpp"

namespace spell::net {

namespace {

constexpr std::size_t record = 16 * 1024;  // of TLS
#ifdef MSG_MORE
constexpr int more_follows = MSG_MORE;
#else
constexpr int more_follows = 0;
#endif

bool would_block() { return errno == EAGAIN || errno == EWOULDBLOCK; }

// OpenSSL's own socket BIO writes with write(2), which raises SIGPIPE: in a library that is its
// caller's business.
TlsSocket& socket_of(BIO* bio) { return *static_cast<TlsSocket*>(BIO_get_data(bio)); }

int bio_write(BIO* bio, const char* bytes, int size) {
  BIO_clear_retry_flags(bio);
  auto& socket = socket_of(bio);
  ssize_t n = ::send(socket.fd, bytes, static_cast<std::size_t>(size),
                     no_signal | (socket.more ? more_follows : 0));
  if (n < 0 && (would_block() || errno == EINTR)) BIO_set_retry_write(bio);
  return static_cast<int>(n);
}

int bio_read(BIO* bio, char* bytes, int size) {
  BIO_clear_retry_flags(bio);
  ssize_t n = ::recv(socket_of(bio).fd, bytes, static_cast<std::size_t>(size), 0);
  if (n < 0 && (would_block() || errno == EINTR)) BIO_set_retry_read(bio);
  return static_cast<int>(n);
}

long bio_control(BIO*, int command, long, void*) { return command == BIO_CTRL_FLUSH ? 1 : 0; }

/// Made once and kept: it holds nothing but the addresses of these functions.
BIO_METHOD* socket_method() {
  static BIO_METHOD* const method = [] {
    BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "socket");
    if (!made) return made;
    BIO_meth_set_write(made, bio_write);
    BIO_meth_set_read(made, bio_read);
    BIO_meth_set_ctrl(made, bio_control);
    return made;
  }();
  return method;
}

bool is_address(const std::string& host) {
  std::unique_ptr<ASN1_OCTET_STRING, OpensslFree<ASN1_OCTET_STRING_free>> address(
      a2i_IPADDRESS(host.c_str()));
  ERR_clear_error();
  return address != nullptr;
}

}  // namespace

Transport::Transport(Transport&& other) noexcept { *this = std::move(other); }

Transport& Transport::operator=(Transport&& other) noexcept {
  if (this == &other) return *this;
  close();
  fd_ = std::move(other.fd_);
  tls_ = std::move(other.tls_);
  ssl_ = std::exchange(other.ssl_, nullptr);
  socket_ = std::move(other.socket_);
  wait_for_ = other.wait_for_;
  untrusted_ = other.untrusted_;
  error_ = std::move(other.error_);
  joined_ = std::move(other.joined_);
  return *this;
}

Transport::~Transport() { close(); }

void Transport::close() {
  if (ssl_) {
    // Tells the other end that this is the end, if that goes at once.
    if (fd_ && SSL_is_init_finished(ssl_)) SSL_shutdown(ssl_);
    ERR_clear_error();
    SSL_free(ssl_);
    ssl_ = nullptr;
    socket_.reset();
  }
  fd_ = {};
}

Result<Transport> Transport::make(base::Fd fd, std::shared_ptr<const Tls> tls,
                                  const std::string& host) {
  SslPtr ssl(SSL_new(tls->context()));
  BIO* bio = socket_method() ? BIO_new(socket_method()) : nullptr;
  if (!ssl || !bio) {
    BIO_free_all(bio);
    return openssl_error("io_error", "cannot set up TLS");
  }
  auto socket = std::make_unique<TlsSocket>(TlsSocket{fd.get()});
  BIO_set_data(bio, socket.get());
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl.get(), bio, bio);
  if (tls->is_server()) {
    SSL_set_accept_state(ssl.get());
  } else {
    SSL_set_connect_state(ssl.get());
    bool address = is_address(host), fine = true;
    if (!address && !host.empty()) fine = SSL_set_tlsext_host_name(ssl.get(), host.c_str()) == 1;
    if (tls->trust().kind == Trust::Kind::system)
      fine = fine &&
             (address ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl.get()), host.c_str()) == 1
                      : SSL_set1_host(ssl.get(), host.c_str()) == 1);
    if (!fine) return openssl_error("io_error", "cannot ask for the host " + host);
  }
  Transport made(std::move(fd));
  made.tls_ = std::move(tls);
  made.ssl_ = ssl.release();
  made.socket_ = std::move(socket);
  return made;
}

Transport::Outcome Transport::tls_outcome(int result) {
  int saved = errno;
  switch (SSL_get_error(ssl_, result)) {
    case SSL_ERROR_NONE:
      return {State::done, 0};
    case SSL_ERROR_WANT_READ:
      wait_for_ = POLLIN;
      return {State::blocked};
    case SSL_ERROR_WANT_WRITE:
      wait_for_ = POLLOUT;
      return {State::blocked};
    case SSL_ERROR_ZERO_RETURN:
      return {State::closed};
    case SSL_ERROR_SYSCALL:
      ERR_clear_error();
      error_ = saved != 0 ? std::strerror(saved) : "it closed the connection";
      return {State::closed};
    default:
      if (long verified = SSL_get_verify_result(ssl_);
          verified != X509_V_OK && !SSL_is_init_finished(ssl_)) {
        ERR_clear_error();
        untrusted_ = true;
        bool late =
            verified == X509_V_ERR_CERT_HAS_EXPIRED || verified == X509_V_ERR_CERT_NOT_YET_VALID;
        error_ = tls_->trust().kind == Trust::Kind::authority && !late
                     ? "it shows another authority than the one that is trusted"
                     : X509_verify_cert_error_string(verified);
        if (late) error_ += " (is the clock right, here and there?)";
        return {State::failed};
      }
      error_ = openssl_error("io_error", "TLS").message();
      return {State::failed};
  }
}

Transport::Outcome Transport::handshake() {
  if (!ssl_) return {State::done};
  ERR_clear_error();
  return tls_outcome(SSL_do_handshake(ssl_));
}

Transport::Outcome Transport::read(char* buffer, std::size_t size) {
  if (ssl_) {
    ERR_clear_error();
    std::size_t got = 0;
    if (int rc = SSL_read_ex(ssl_, buffer, size, &got); rc != 1) return tls_outcome(rc);
    // More records may be there already; fewer calls from outside for the same bytes.
    while (got < size && SSL_pending(ssl_) > 0) {
      std::size_t more = 0;
      if (SSL_read_ex(ssl_, buffer + got, size - got, &more) != 1) break;
      got += more;
    }
    return {State::done, got};
  }
  for (;;) {
    ssize_t n = ::recv(fd_.get(), buffer, size, 0);
    if (n > 0) return {State::done, static_cast<std::size_t>(n)};
    if (n == 0) return {State::closed};
    if (errno == EINTR) continue;
    wait_for_ = POLLIN;
    if (would_block()) return {State::blocked};
    error_ = std::strerror(errno);
    return {State::closed};
  }
}

Transport::Outcome Transport::write(std::span<const std::string_view> parts) {
  if (ssl_) {
    // A record a call: the head of an answer and its small body travel together. Whoever has more
    // comes with it at once.
    std::string_view bytes;
    std::size_t all = 0;
    joined_.clear();
    for (auto part : parts) all += part.size();
    for (auto part : parts) {
      if (part.empty()) continue;
      if (bytes.empty() && joined_.empty() && part.size() >= record) {
        bytes = part;
        break;
      }
      joined_.append(part.substr(0, record - joined_.size()));
      if (joined_.size() == record) break;
    }
    if (bytes.empty()) bytes = joined_;
    if (bytes.empty()) return {State::done, 0};
    ERR_clear_error();
    std::size_t put = 0;
    socket_->more = all > record;
    int rc = SSL_write_ex(ssl_, bytes.data(), bytes.size(), &put);
    socket_->more = false;
    if (rc != 1) return tls_outcome(rc);
    return {State::done, put};
  }
  std::array<iovec, 4> vector{};
  std::size_t count = 0;
  for (auto part : parts)
    if (!part.empty() && count < vector.size())
      vector[count++] = {const_cast<char*>(part.data()), part.size()};
  msghdr message{};
  message.msg_iov = vector.data();
  message.msg_iovlen = count;
  for (;;) {
    ssize_t n = ::sendmsg(fd_.get(), &message, no_signal);
    if (n >= 0) return {State::done, static_cast<std::size_t>(n)};
    if (errno == EINTR) continue;
    wait_for_ = POLLOUT;
    if (would_block()) return {State::blocked};
    error_ = std::strerror(errno);
    return {State::closed};
  }
}

bool Transport::ready() const { return !ssl_ || SSL_is_init_finished(ssl_); }
bool Transport::buffered() const { return ssl_ && SSL_pending(ssl_) > 0; }

Transport::State Transport::look() {
  char byte;
  if (ssl_) {
    ERR_clear_error();
    std::size_t got = 0;
    int rc = SSL_peek_ex(ssl_, &byte, 1, &got);
    if (rc == 1) return State::done;
    return tls_outcome(rc).state == State::blocked ? State::blocked : State::closed;
  }
  ssize_t n = ::recv(fd_.get(), &byte, 1, MSG_PEEK);
  if (n > 0) return State::done;
  return n < 0 && (would_block() || errno == EINTR) ? State::blocked : State::closed;
}

void Transport::finish_sending() {
  if (ssl_) {
    ERR_clear_error();
    if (SSL_is_init_finished(ssl_)) SSL_shutdown(ssl_);
    ERR_clear_error();
  }
  ::shutdown(fd_.get(), SHUT_WR);
}

std::string Transport::peer_authority() const {
  if (!ssl_) return {};
  STACK_OF(X509)* chain = SSL_get_peer_cert_chain(ssl_);
  int count = sk_X509_num(chain);
  return count > 0 ? fingerprint_of(sk_X509_value(chain, count - 1)) : std::string();
}

std::string Transport::peer_key() const {
  if (!ssl_ || !ready() || SSL_get_verify_result(ssl_) != X509_V_OK) return {};
  CertificatePtr shown(SSL_get1_peer_certificate(ssl_));
  return shown ? fingerprint_of(shown.get()) : std::string();
}

}  // namespace spell::net
