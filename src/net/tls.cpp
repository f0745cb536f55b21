#include "net/tls.hpp"

#include <openssl/err.h>

#include "base/error.hpp"
#include "base/hash.hpp"
#include "net/openssl.hpp"

namespace spell::net {

namespace {

ContextPtr make_context(const SSL_METHOD* method) {
  ContextPtr context(SSL_CTX_new(method));
  if (!context || !SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION)) return {};
  SSL_CTX_set_mode(context.get(), SSL_MODE_ENABLE_PARTIAL_WRITE |
                                      SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                      SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_options(context.get(), SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  // The usual ones, in another order: backups are a stream, and shorter keys, no less safe here
  // (RFC 8446, 9.1: the one that everybody must have), cost a quarter less.
  if (!SSL_CTX_set_ciphersuites(context.get(),
                                "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:"
                                "TLS_CHACHA20_POLY1305_SHA256"))
    return {};
  return context;
}

/// Looks for the trusted key among the certificates that the other end has sent, and makes that one
/// the only authority. What it signed must be a server's certificate: one that was given to a
/// machine or a user under the same authority cannot pass for the service.
int verify_against_key(X509_STORE_CTX* sent, void* argument) {
  auto& trust = static_cast<const Tls*>(argument)->trust();
  STACK_OF(X509)* chain = X509_STORE_CTX_get0_untrusted(sent);
  X509* authority = nullptr;
  for (int i = 0; i < sk_X509_num(chain); ++i)
    if (base::equal_secret(fingerprint_of(sk_X509_value(chain, i)), trust.fingerprint))
      authority = sk_X509_value(chain, i);
  StorePtr store(X509_STORE_new());
  StoreContextPtr check(X509_STORE_CTX_new());
  bool fine = authority && store && check && X509_STORE_add_cert(store.get(), authority) &&
              X509_STORE_CTX_init(check.get(), store.get(), X509_STORE_CTX_get0_cert(sent), chain);
  if (fine) {
    X509_STORE_CTX_set_purpose(check.get(), X509_PURPOSE_SSL_SERVER);
    fine = X509_verify_cert(check.get()) == 1;
    X509_STORE_CTX_set_error(sent, X509_STORE_CTX_get_error(check.get()));
  } else {
    X509_STORE_CTX_set_error(sent, X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN);
  }
  return fine ? 1 : 0;
}

/// Who shows no good certificate is nobody, and is told so in words by those who ask for one: a
/// handshake that fails says nothing that people can read.
int verify_client(X509_STORE_CTX* shown, void*) {
  if (X509_verify_cert(shown) != 1 && X509_STORE_CTX_get_error(shown) == X509_V_OK)
    X509_STORE_CTX_set_error(shown, X509_V_ERR_UNSPECIFIED);
  return 1;
}

Result<> use_identity(SSL_CTX* context, const Identity& identity) {
  auto chain = read_certificates(identity.certificate);
  if (!chain) return chain.error();
  auto key = read_key(identity.key);
  if (!key) return key.error();
  if (!SSL_CTX_use_certificate(context, chain->front().get()) ||
      !SSL_CTX_use_PrivateKey(context, key->get()) || !SSL_CTX_check_private_key(context))
    return openssl_error("invalid_certificate", "the certificate and the key do not fit");
  for (std::size_t i = 1; i < chain->size(); ++i)
    if (!SSL_CTX_add1_chain_cert(context, (*chain)[i].get()))
      return openssl_error("invalid_certificate", "cannot use the chain of the certificate");
  return ok();
}

Result<> ask_clients(SSL_CTX* context, const std::string& authority) {
  auto chain = read_certificates(authority);
  if (!chain) return chain.error();
  constexpr std::string_view name = "spell";
  bool fine =
      X509_STORE_add_cert(SSL_CTX_get_cert_store(context), chain->back().get()) &&
      SSL_CTX_add_client_CA(context, chain->back().get()) &&
      SSL_CTX_set_session_id_context(context, reinterpret_cast<const unsigned char*>(name.data()),
                                     static_cast<unsigned>(name.size()));
  if (!fine) return openssl_error("invalid_certificate", "cannot ask for clients' certificates");
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
  SSL_CTX_set_cert_verify_callback(context, verify_client, nullptr);
  return ok();
}

}  // namespace

Tls::~Tls() { SSL_CTX_free(context_); }

Result<std::shared_ptr<const Tls>> Tls::server(const Identity& identity,
                                               const std::string& clients) {
  auto context = make_context(TLS_server_method());
  if (!context) return openssl_error("io_error", "cannot set up TLS");
  SPELL_TRY(use_identity(context.get(), identity));
  if (!clients.empty()) SPELL_TRY(ask_clients(context.get(), clients));
  return std::shared_ptr<const Tls>(new Tls(context.release(), {}, true));
}

Result<std::shared_ptr<const Tls>> Tls::client(const Trust& trust, const Identity& identity) {
  auto context = make_context(TLS_client_method());
  if (!context) return openssl_error("io_error", "cannot set up TLS");
  if (!identity.certificate.empty()) SPELL_TRY(use_identity(context.get(), identity));
  std::shared_ptr<const Tls> tls(new Tls(context.release(), trust, false));
  switch (trust.kind) {
    case Trust::Kind::system:
      if (!SSL_CTX_set_default_verify_paths(tls->context()))
        return openssl_error("io_error", "cannot read this computer's authorities");
      SSL_CTX_set_verify(tls->context(), SSL_VERIFY_PEER, nullptr);
      break;
    case Trust::Kind::authority:
      SSL_CTX_set_verify(tls->context(), SSL_VERIFY_PEER, nullptr);
      SSL_CTX_set_cert_verify_callback(tls->context(), verify_against_key,
                                       const_cast<Tls*>(tls.get()));
      break;
    case Trust::Kind::anybody:
      SSL_CTX_set_verify(tls->context(), SSL_VERIFY_NONE, nullptr);
      break;
  }
  return tls;
}

}  // namespace spell::net
