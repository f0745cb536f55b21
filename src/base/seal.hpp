// Bytes that only the holder of a key can read or change (AES-256-GCM, OpenSSL).
#pragma once
#include <cstddef>
#include <string>
#include <string_view>

#include "spell/result.hpp"

namespace spell::base {

inline constexpr std::size_t seal_key_size = 32;

/// Format byte, nonce, ciphertext, tag. `context` is not in it, but open_sealed() needs the same:
/// what was sealed for one place cannot be used in another. Under one key at most 2^32 seals: the
/// nonces are random.
Result<std::string> seal(std::string_view key, std::string_view context, std::string_view bytes);
/// Error `damaged`: another key or context, or not what was sealed.
Result<std::string> open_sealed(std::string_view key, std::string_view context,
                                std::string_view sealed);

}  // namespace spell::base
