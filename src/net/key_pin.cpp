#include "net/key_pin.hpp"

#include <openssl/evp.h>

#include "base/hash.hpp"
#include "net/openssl.hpp"

namespace spell::net {

Result<std::string> key_pin(const std::string& certificate) {
  auto chain = read_certificates(certificate);
  if (!chain) return chain.error();
  base::Digest digest;
  base::unhex(fingerprint_of(chain->front().get()), digest.data(), digest.size());
  unsigned char text[45];  // base64 of 32 bytes, and a NUL
  int size = EVP_EncodeBlock(text, digest.data(), static_cast<int>(digest.size()));
  return "sha256//" + std::string(reinterpret_cast<char*>(text), static_cast<std::size_t>(size));
}

}  // namespace spell::net
