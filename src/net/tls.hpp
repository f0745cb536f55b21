// TLS 1.2 and later: what a server shows, and what a client trusts. Thread-safe; shared by many
// connections.
#pragma once
#include <memory>
#include <string>

#include "net/certificate.hpp"
#include "spell/result.hpp"

struct ssl_ctx_st;

namespace spell::net {

/// Whom a client believes.
struct Trust {
  enum class Kind {
    system,     ///< the authorities of this computer; the host's name must be in the certificate
    authority,  ///< one public key (its fingerprint, see certificate.hpp), whatever the host's name
    anybody,    ///< nobody is checked: only to find out the fingerprint, before it is trusted
  } kind = Kind::system;
  std::string fingerprint{};
};

class Tls {
 public:
  /// With `clients` (the certificate of an authority) it asks who connects for a certificate and
  /// does not insist: one that this authority vouches for is known by its key afterwards (see
  /// Transport::peer_key), anybody else is nobody. Error `invalid_certificate`.
  static Result<std::shared_ptr<const Tls>> server(const Identity&,
                                                   const std::string& clients = {});
  /// `identity`: shown to a server that asks; empty: nothing is.
  static Result<std::shared_ptr<const Tls>> client(const Trust&, const Identity& identity = {});
  ~Tls();
  Tls(const Tls&) = delete;
  Tls& operator=(const Tls&) = delete;

  ssl_ctx_st* context() const { return context_; }
  const Trust& trust() const { return trust_; }
  bool is_server() const { return server_; }

 private:
  Tls(ssl_ctx_st* context, Trust trust, bool server)
      : context_(context), trust_(std::move(trust)), server_(server) {}
  ssl_ctx_st* context_;
  Trust trust_;
  bool server_;
};

}  // namespace spell::net
