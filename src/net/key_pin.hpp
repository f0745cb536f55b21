// A server's own key as other programs name it (RFC 7469).
#pragma once
#include <string>

#include "spell/result.hpp"

namespace spell::net {

/// Of the key of the first certificate, as curl's --pinnedpubkey wants it: "sha256//" and base64.
/// Error `invalid_certificate`.
Result<std::string> key_pin(const std::string& certificate);

}  // namespace spell::net
