#include "base/seal.hpp"

#include <openssl/evp.h>

#include <memory>

#include "base/error.hpp"
#include "base/hash.hpp"

namespace spell::base {

namespace {

constexpr char format = 1;
constexpr std::size_t nonce_size = 12, tag_size = 16;

struct Free {
  void operator()(EVP_CIPHER_CTX* context) const { EVP_CIPHER_CTX_free(context); }
};
using Cipher = std::unique_ptr<EVP_CIPHER_CTX, Free>;

const unsigned char* bytes_of(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}
unsigned char* bytes_of(char* text) { return reinterpret_cast<unsigned char*>(text); }

/// The cipher with key and nonce set, and the context taken in.
Cipher begin(bool sealing, std::string_view key, std::string_view nonce, std::string_view context) {
  Cipher cipher(EVP_CIPHER_CTX_new());
  int length = 0;
  bool fine = cipher && key.size() == seal_key_size &&
              EVP_CipherInit_ex(cipher.get(), EVP_aes_256_gcm(), nullptr, bytes_of(key),
                                bytes_of(nonce), sealing) == 1 &&
              EVP_CipherUpdate(cipher.get(), nullptr, &length, bytes_of(context),
                               static_cast<int>(context.size())) == 1;
  return fine ? std::move(cipher) : Cipher();
}

}  // namespace

Result<std::string> seal(std::string_view key, std::string_view context, std::string_view bytes) {
  std::string out = format + random_bytes(nonce_size);
  auto cipher = begin(true, key, std::string_view(out).substr(1), context);
  out.resize(1 + nonce_size + bytes.size() + tag_size);
  char* at = out.data() + 1 + nonce_size;
  int length = 0;
  if (!cipher ||
      EVP_CipherUpdate(cipher.get(), bytes_of(at), &length, bytes_of(bytes),
                       static_cast<int>(bytes.size())) != 1 ||
      EVP_CipherFinal_ex(cipher.get(), bytes_of(at + length), &length) != 1 ||
      EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_GCM_GET_TAG, tag_size, at + bytes.size()) != 1)
    return error("internal", "cannot encrypt");
  return out;
}

Result<std::string> open_sealed(std::string_view key, std::string_view context,
                                std::string_view sealed) {
  auto wrong = [] { return error("damaged", "it was encrypted with another key, or is damaged"); };
  if (sealed.size() < 1 + nonce_size + tag_size || sealed[0] != format) return wrong();
  auto inner = sealed.substr(1 + nonce_size, sealed.size() - 1 - nonce_size - tag_size);
  std::string tag(sealed.substr(sealed.size() - tag_size));
  auto cipher = begin(false, key, sealed.substr(1, nonce_size), context);
  std::string out(inner.size(), '\0');
  int length = 0;
  if (!cipher ||
      EVP_CipherUpdate(cipher.get(), bytes_of(out.data()), &length, bytes_of(inner),
                       static_cast<int>(inner.size())) != 1 ||
      EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_GCM_SET_TAG, tag_size, tag.data()) != 1 ||
      EVP_CipherFinal_ex(cipher.get(), bytes_of(out.data() + length), &length) != 1)
    return wrong();
  return out;
}

}  // namespace spell::base
