#include "base/password.hpp"

#include <openssl/evp.h>

#include "base/error.hpp"
#include "base/hash.hpp"
#include "base/text.hpp"

namespace spell::base {

namespace {

constexpr std::size_t hash_size = 32, salt_size = 16;

struct Parameters {
  std::int64_t log_n = 15, r = 8, p = 1;
  std::string salt;
};

Result<Digest> scrypt(std::string_view password, const Parameters& how) {
  Digest out;
  auto salt = reinterpret_cast<const unsigned char*>(how.salt.data());
  if (EVP_PBE_scrypt(password.data(), password.size(), salt, how.salt.size(),
                     std::uint64_t{1} << how.log_n, static_cast<std::uint64_t>(how.r),
                     static_cast<std::uint64_t>(how.p), 256u << 20, out.data(), hash_size) != 1)
    return error("internal", "there is not enough memory to look at a password");
  return out;
}

}  // namespace

Result<> check_password_rules(std::string_view password) {
  if (password.size() < 10 || password.size() > 1024 || !valid_text(password))
    return error("weak_password", "a password has at least 10 characters, at most 1024");
  return ok();
}

Result<std::string> hash_password(std::string_view password) {
  Parameters how;
  how.salt = random_bytes(salt_size);
  auto hash = scrypt(password, how);
  if (!hash) return hash.error();
  return "scrypt:" + std::to_string(how.log_n) + ":" + std::to_string(how.r) + ":" +
         std::to_string(how.p) + ":" + hex(how.salt) + ":" + hex(*hash);
}

bool is_password(std::string_view password, std::string_view stored) {
  Parameters how;
  std::string expected;
  auto parts = split(stored, ':');
  std::array<std::uint8_t, salt_size> salt{};
  if (parts.size() == 6 && parts[0] == "scrypt" && unhex(parts[4], salt.data(), salt.size())) {
    auto log_n = parse_int(parts[1]), r = parse_int(parts[2]), p = parse_int(parts[3]);
    if (log_n && r && p && *log_n > 0 && *log_n < 18 && *r > 0 && *r <= 8 && *p > 0 && *p <= 4) {
      how = {*log_n, *r, *p, {}};
      expected = parts[5];
    }
  }
  how.salt.assign(reinterpret_cast<const char*>(salt.data()), salt.size());
  auto hash = scrypt(password, how);
  return hash && equal_secret(hex(*hash), expected);
}

std::string make_password() {
  // 32 of them, so that five bits are one character and none is likelier than another.
  constexpr std::string_view letters = "abcdefghijkmnpqrstuvwxyz23456789";
  static_assert(letters.size() == 32);
  std::string out;
  for (char byte : random_bytes(20)) out += letters[static_cast<unsigned char>(byte) & 31];
  return out;
}

}  // namespace spell::base
