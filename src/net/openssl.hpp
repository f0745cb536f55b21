// Owners of OpenSSL's objects, and its errors as ours. Private to this module.
#pragma once
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <memory>
#include <string>
#include <vector>

#include "spell/result.hpp"

namespace spell::net {

template <auto Free>
struct OpensslFree {
  template <class T>
  void operator()(T* pointer) const {
    Free(pointer);
  }
};
using BioPtr = std::unique_ptr<BIO, OpensslFree<BIO_free_all>>;
using KeyPtr = std::unique_ptr<EVP_PKEY, OpensslFree<EVP_PKEY_free>>;
using CertificatePtr = std::unique_ptr<X509, OpensslFree<X509_free>>;
using StorePtr = std::unique_ptr<X509_STORE, OpensslFree<X509_STORE_free>>;
using StoreContextPtr = std::unique_ptr<X509_STORE_CTX, OpensslFree<X509_STORE_CTX_free>>;
using ExtensionPtr = std::unique_ptr<X509_EXTENSION, OpensslFree<X509_EXTENSION_free>>;
using ContextPtr = std::unique_ptr<SSL_CTX, OpensslFree<SSL_CTX_free>>;
using SslPtr = std::unique_ptr<SSL, OpensslFree<SSL_free>>;

/// "WHAT: the library's last word"; forgets all it has said on this thread.
Error openssl_error(std::string_view code, const std::string& what);
/// The certificates of a PEM text in their order. Error `invalid_certificate`.
Result<std::vector<CertificatePtr>> read_certificates(const std::string& pem);
Result<KeyPtr> read_key(const std::string& pem);
/// Hex SHA-256 of its SubjectPublicKeyInfo; "" if it has none.
std::string fingerprint_of(X509* certificate);

}  // namespace spell::net
