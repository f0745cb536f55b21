// Passwords as they are kept: scrypt (RFC 7914), each with a salt and its parameters beside it.
#pragma once
#include <string>
#include <string_view>

#include "spell/result.hpp"

namespace spell::base {

/// 10 to 1024 bytes of UTF-8. Error `weak_password`.
Result<> check_password_rules(std::string_view password);
/// "scrypt:15:8:1:SALT:HASH" (log2 N, r, p; hex). Takes 32 MiB and about a tenth of a second.
Result<std::string> hash_password(std::string_view password);
/// Takes as long for "" or what is no such text as for a wrong password: who has none is not told
/// from who has another.
bool is_password(std::string_view password, std::string_view stored);
/// 20 characters that are hard to mistake for each other; 100 random bits.
std::string make_password();

}  // namespace spell::base
