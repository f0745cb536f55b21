// SHA-256 (OpenSSL).
#pragma once
#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace spell::base {

using Digest = std::array<std::uint8_t, 32>;

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;
  void update(std::string_view bytes);
  /// The digest; the object starts anew.
  Digest finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

Digest sha256(std::string_view bytes);
std::string hex(std::string_view bytes);
template <std::size_t N>
std::string hex(const std::array<std::uint8_t, N>& bytes) {
  return hex(std::string_view(reinterpret_cast<const char*>(bytes.data()), N));
}
std::string base64(std::string_view bytes);
/// False if `text` is not 2·size lower-case hex digits.
bool unhex(std::string_view text, std::uint8_t* out, std::size_t size);
/// In time that depends on the lengths only.
bool equal_secret(std::string_view a, std::string_view b);
/// Bytes from the system's random source.
std::string random_bytes(std::size_t size);

}  // namespace spell::base
