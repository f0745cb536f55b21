// Making errors: the one place that turns errno into an Error.
#pragma once
#include <cerrno>
#include <string>
#include <string_view>

#include "spell/result.hpp"

namespace spell::base {

/// An Error from a stable code and one line for people.
inline Error error(std::string_view code, std::string message) {
  return {std::string(code), std::move(message)};
}

/// "cannot WHAT: No such file or directory". Codes: `disk_full` (ENOSPC, EDQUOT), `not_permitted`
/// (EACCES, EPERM, EROFS), `not_found` (ENOENT, ENOTDIR), else `io_error`.
Error errno_error(std::string_view what, int number = errno);

}  // namespace spell::base

/// `SPELL_TRY(expression)`: returns its Error from the enclosing function if it failed. For
/// Result<> only.
#define SPELL_TRY(expression)                                                \
  do {                                                                       \
    if (auto spell_try = (expression); !spell_try) return spell_try.error(); \
  } while (false)
