#include "net/certificate.hpp"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>

#include <ctime>

#include "base/error.hpp"
#include "base/hash.hpp"
#include "net/openssl.hpp"

namespace spell::net {

namespace {

constexpr std::chrono::days authority_validity{20 * 365};
/// Clocks differ; a certificate begins before it was made.
constexpr long backdated_s = 24 * 3600;

std::string contents(BIO* bio) {
  char* bytes = nullptr;
  auto size = BIO_get_mem_data(bio, &bytes);
  return {bytes, static_cast<std::size_t>(size)};
}

Result<std::string> pem_of(X509* certificate) {
  BioPtr bio(BIO_new(BIO_s_mem()));
  if (!bio || !PEM_write_bio_X509(bio.get(), certificate))
    return openssl_error("invalid_certificate", "cannot write a certificate");
  return contents(bio.get());
}

Result<std::string> pem_of(EVP_PKEY* key) {
  BioPtr bio(BIO_new(BIO_s_mem()));
  if (!bio || !PEM_write_bio_PKCS8PrivateKey(bio.get(), key, nullptr, nullptr, 0, nullptr, nullptr))
    return openssl_error("invalid_certificate", "cannot write a key");
  return contents(bio.get());
}

/// What is the same for all certificates: number, times, subject, key.
Result<CertificatePtr> begin_certificate(const std::string& name, EVP_PKEY* key,
                                         std::chrono::days valid_for) {
  CertificatePtr made(X509_new());
  std::string number = base::random_bytes(16);
  number[0] = static_cast<char>(number[0] & 0x7f);  // a positive integer
  std::unique_ptr<BIGNUM, OpensslFree<BN_free>> serial(
      BN_bin2bn(reinterpret_cast<const unsigned char*>(number.data()),
                static_cast<int>(number.size()), nullptr));
  auto seconds = std::chrono::seconds(valid_for).count();
  X509_NAME* subject = made ? X509_get_subject_name(made.get()) : nullptr;
  bool fine =
      subject && serial && X509_set_version(made.get(), X509_VERSION_3) &&
      BN_to_ASN1_INTEGER(serial.get(), X509_get_serialNumber(made.get())) &&
      X509_gmtime_adj(X509_getm_notBefore(made.get()), -backdated_s) &&
      X509_gmtime_adj(X509_getm_notAfter(made.get()), static_cast<long>(seconds)) &&
      X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
                                 reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0) &&
      X509_set_pubkey(made.get(), key);
  if (!fine) return openssl_error("invalid_certificate", "cannot make a certificate for " + name);
  return made;
}

Result<> extend(X509* certificate, X509* issuer, int what, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  ExtensionPtr extension(X509V3_EXT_conf_nid(nullptr, &context, what, value.c_str()));
  if (!extension || !X509_add_ext(certificate, extension.get(), -1))
    return openssl_error("invalid_certificate", "cannot say '" + value + "' in a certificate");
  return ok();
}

/// "IP:10.0.0.1" or "DNS:box.example". What else a name may hold would end the list it stands in.
Result<std::string> alternative_name(const std::string& host) {
  std::unique_ptr<ASN1_OCTET_STRING, OpensslFree<ASN1_OCTET_STRING_free>> address(
      a2i_IPADDRESS(host.c_str()));
  if (address) return "IP:" + host;
  ERR_clear_error();
  bool plain = !host.empty() && host.find_first_not_of(
                                    "abcdefghijklmnopqrstuvwxyz"
                                    "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.*") == std::string::npos;
  if (!plain)
    return base::error("invalid_certificate", "'" + host + "' is no host name and no address");
  return "DNS:" + host;
}

KeyPtr make_key() { return KeyPtr(EVP_EC_gen("P-256")); }

Result<std::string> public_pem_of(EVP_PKEY* key) {
  BioPtr bio(BIO_new(BIO_s_mem()));
  if (!bio || !PEM_write_bio_PUBKEY(bio.get(), key))
    return openssl_error("invalid_certificate", "cannot write a public key");
  return contents(bio.get());
}

/// What comes from outside: only kinds that can sign, and whose use costs little.
Result<KeyPtr> read_public_key(const std::string& pem) {
  BioPtr bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  KeyPtr key(bio ? PEM_read_bio_PUBKEY(bio.get(), nullptr, nullptr, nullptr) : nullptr);
  if (!key) return openssl_error("invalid_certificate", "there is no public key in PEM");
  int bits = EVP_PKEY_get_bits(key.get());
  bool fine = EVP_PKEY_is_a(key.get(), "ED25519") ||
              (EVP_PKEY_is_a(key.get(), "RSA") && bits >= 2048 && bits <= 8192);
  char group[64] = {};
  if (EVP_PKEY_is_a(key.get(), "EC") &&
      EVP_PKEY_get_group_name(key.get(), group, sizeof group, nullptr))
    fine = std::string_view(group) == "prime256v1" || std::string_view(group) == "secp384r1" ||
           std::string_view(group) == "secp521r1";
  if (!fine) return base::error("invalid_certificate", "keys of this kind are not vouched for");
  return key;
}

/// PEM of the certificate for `key`, and the authority's behind it.
Result<std::string> certify(const Identity& authority, EVP_PKEY* key,
                            const CertificateRequest& request) {
  auto chain = read_certificates(authority.certificate);
  if (!chain) return chain.error();
  auto signing = read_key(authority.key);
  if (!signing) return signing.error();
  X509* issuer = chain->front().get();
  if (X509_check_private_key(issuer, signing->get()) != 1)
    return openssl_error("invalid_certificate", "the authority's key and certificate differ");
  auto made = begin_certificate(request.name, key, request.valid_for);
  if (!made) return made.error();
  X509* leaf = made->get();
  if (!X509_set_issuer_name(leaf, X509_get_subject_name(issuer)))
    return openssl_error("invalid_certificate", "cannot make a certificate");
  bool server = request.use == Use::server;
  SPELL_TRY(extend(leaf, issuer, NID_basic_constraints, "critical,CA:FALSE"));
  SPELL_TRY(extend(leaf, issuer, NID_key_usage, "critical,digitalSignature"));
  SPELL_TRY(extend(leaf, issuer, NID_ext_key_usage, server ? "serverAuth" : "clientAuth"));
  SPELL_TRY(extend(leaf, issuer, NID_authority_key_identifier, "keyid"));
  std::string names;
  for (auto& host : request.hosts) {
    auto name = alternative_name(host);
    if (!name) return name.error();
    names += (names.empty() ? "" : ",") + *name;
  }
  if (!names.empty()) SPELL_TRY(extend(leaf, issuer, NID_subject_alt_name, names));
  if (!X509_sign(leaf, signing->get(), EVP_sha256()))
    return openssl_error("invalid_certificate", "cannot sign a certificate");
  auto certificate = pem_of(leaf), own = pem_of(issuer);
  for (auto* part : {&certificate, &own})
    if (!*part) return part->error();
  return *certificate + *own;
}

std::string key_fingerprint(X509_PUBKEY* key) {
  unsigned char* bytes = nullptr;
  int size = i2d_X509_PUBKEY(key, &bytes);
  if (size <= 0) return {};
  auto digest = base::sha256({reinterpret_cast<char*>(bytes), static_cast<std::size_t>(size)});
  OPENSSL_free(bytes);
  return base::hex(digest);
}

}  // namespace

Error openssl_error(std::string_view code, const std::string& what) {
  std::string reason;
  while (auto number = ERR_get_error()) {
    const char* text = ERR_reason_error_string(number);
    reason = text ? text : "error " + std::to_string(number);
  }
  return base::error(code, reason.empty() ? what : what + ": " + reason);
}

Result<std::vector<CertificatePtr>> read_certificates(const std::string& pem) {
  std::vector<CertificatePtr> found;
  BioPtr bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  while (bio) {
    CertificatePtr next(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
    if (!next) break;
    found.push_back(std::move(next));
  }
  if (found.empty()) return openssl_error("invalid_certificate", "there is no certificate in PEM");
  ERR_clear_error();  // the end of the text
  return found;
}

Result<KeyPtr> read_key(const std::string& pem) {
  BioPtr bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  // Never asks for a password.
  KeyPtr key(bio ? PEM_read_bio_PrivateKey(
                       bio.get(), nullptr, [](char*, int, int, void*) { return -1; }, nullptr)
                 : nullptr);
  if (!key) return openssl_error("invalid_certificate", "there is no private key in PEM");
  return key;
}

std::string fingerprint_of(X509* certificate) {
  return key_fingerprint(X509_get_X509_PUBKEY(certificate));
}

Result<Identity> make_authority(const std::string& name) {
  auto key = make_key();
  if (!key) return openssl_error("invalid_certificate", "cannot make a key");
  auto made = begin_certificate(name, key.get(), authority_validity);
  if (!made) return made.error();
  X509* authority = made->get();
  if (!X509_set_issuer_name(authority, X509_get_subject_name(authority)))
    return openssl_error("invalid_certificate", "cannot make an authority");
  SPELL_TRY(extend(authority, authority, NID_basic_constraints, "critical,CA:TRUE,pathlen:0"));
  SPELL_TRY(extend(authority, authority, NID_key_usage, "critical,keyCertSign,cRLSign"));
  SPELL_TRY(extend(authority, authority, NID_subject_key_identifier, "hash"));
  if (!X509_sign(authority, key.get(), EVP_sha256()))
    return openssl_error("invalid_certificate", "cannot sign an authority");
  auto certificate = pem_of(authority), secret = pem_of(key.get());
  if (!certificate) return certificate.error();
  if (!secret) return secret.error();
  return Identity{*certificate, *secret};
}

Result<Identity> issue(const Identity& authority, const CertificateRequest& request) {
  auto key = make_key();
  if (!key) return openssl_error("invalid_certificate", "cannot make a key");
  auto certificate = certify(authority, key.get(), request);
  if (!certificate) return certificate.error();
  auto secret = pem_of(key.get());
  if (!secret) return secret.error();
  return Identity{*certificate, *secret};
}

Result<KeyPair> make_key_pair() {
  auto key = make_key();
  if (!key) return openssl_error("invalid_certificate", "cannot make a key");
  auto shown = public_pem_of(key.get()), secret = pem_of(key.get());
  if (!shown) return shown.error();
  if (!secret) return secret.error();
  return KeyPair{*shown, *secret};
}

Result<std::string> issue_for(const Identity& authority, const std::string& public_key,
                              const CertificateRequest& request) {
  auto key = read_public_key(public_key);
  if (!key) return key.error();
  return certify(authority, key->get(), request);
}

Result<std::string> key_fingerprint(const std::string& public_key) {
  auto key = read_public_key(public_key);
  if (!key) return key.error();
  X509_PUBKEY* made = nullptr;
  if (!X509_PUBKEY_set(&made, key->get()))
    return openssl_error("invalid_certificate", "cannot read a public key");
  std::string found = key_fingerprint(made);
  X509_PUBKEY_free(made);
  return found;
}

Result<std::string> authority_fingerprint(const std::string& certificate) {
  auto chain = read_certificates(certificate);
  if (!chain) return chain.error();
  return fingerprint_of(chain->back().get());
}

Result<std::chrono::sys_seconds> expiry(const std::string& certificate) {
  auto chain = read_certificates(certificate);
  if (!chain) return chain.error();
  std::tm time{};
  if (!ASN1_TIME_to_tm(X509_get0_notAfter(chain->front().get()), &time))
    return openssl_error("invalid_certificate", "the certificate has no end");
  return std::chrono::sys_seconds(std::chrono::seconds(::timegm(&time)));
}

}  // namespace spell::net
