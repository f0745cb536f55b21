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

struct KeyPair {
  std::string public_key{};  ///< SubjectPublicKeyInfo
  std::string key{};         ///< a secret
};
/// For whoever keeps his key to himself and has its public part vouched for.
Result<KeyPair> make_key_pair();
/// A certificate for the holder of the key with this public part, and the authority's behind it.
/// Error `invalid_certificate`: no public key, or one of a kind that is not signed with (taken are
/// ECDSA on P-256, P-384 and P-521, Ed25519, RSA from 2048 bits on).
Result<std::string> issue_for(const Identity& authority, const std::string& public_key,
                              const CertificateRequest&);
/// As authority_fingerprint(), of a public key. Error `invalid_certificate`.
Result<std::string> key_fingerprint(const std::string& public_key);

/// Of the last certificate in the text, which is the authority's. Error `invalid_certificate`.
Result<std::string> authority_fingerprint(const std::string& certificate);
/// When the first certificate in the text ends. Error `invalid_certificate`.
Result<std::chrono::sys_seconds> expiry(const std::string& certificate);

}  // namespace spell::net
