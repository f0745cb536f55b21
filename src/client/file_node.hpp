// The SpellFS name that a file of this computer would have: how the client finds out whether it has
// a file already, without asking for a byte of it.
#pragma once
#include <cstdint>
#include <stop_token>
#include <string>

#include "spell/result.hpp"

namespace spell::detail {

/// Whether the `size` bytes of the open file are the content named `node` ("": of an empty file).
/// Holes count for a name, and not every file system keeps them: a file is looked at as it lies
/// there and as if it had none. So "no" may be wrong for a file whose holes were changed; "yes"
/// never is.
Result<bool> has_content(int fd, std::int64_t size, const std::string& node,
                         const std::stop_token& stop);

}  // namespace spell::detail
