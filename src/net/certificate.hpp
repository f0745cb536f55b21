// Keys and certificates of a service that is its own authority, as PEM text: ECDSA on P-256
// (OpenSSL).
//
// Who trusts such a service trusts its authority's public key, named by the SHA-256 of its
// SubjectPublicKeyInfo (RFC 7469) in hex: the fingerprint. Certificates may be renewed under it.
#pragma once
#include <chrono>
#include <string>
#include <vector>

#include "spell/result.hpp"

namespace spell::net {

struct Identity {
  std::string certificate{};  ///< its own first, then that of the authority which vouches for it
  std::string key{};          ///< a secret
};

/// An authority, valid for 20 years.
Result<Identity> make_authority(const std::string& name);

enum class Use { server, client };
struct CertificateRequest {
  std::string name{};
  std::vector<std::string> hosts{};  ///< names and addresses of a server
  Use use = Use::server;
  std::chrono::days valid_for{365};
};
/// A new key, and its certificate under this authority. Errors: `invalid_certificate` if the
/// authority is none.
Result<Identity> issue(const Identity& authority, const CertificateRequest&);

/// Of the last certificate in the text, which is the authority's. Error `invalid_certificate`.
Result<std::string> authority_fingerprint(const std::string& certificate);
/// When the first certificate in the text ends. Error `invalid_certificate`.
Result<std::chrono::sys_seconds> expiry(const std::string& certificate);

}  // namespace spell::net
