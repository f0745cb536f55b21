#include "net/key_pin.hpp"

#include "base/hash.hpp"
#include "net/openssl.hpp"

namespace spell::net {

Result<std::string> key_pin(const std::string& certificate) {
  auto chain = read_certificates(certificate);
  if (!chain) return chain.error();
  base::Digest digest;
  base::unhex(fingerprint_of(chain->front().get()), digest.data(), digest.size());
  return "sha256//" + base::base64({reinterpret_cast<char*>(digest.data()), digest.size()});
}

}  // namespace spell::net
