// Secrets from a person: asked on the terminal without being shown, or a line of standard input.
#pragma once
#include <string>
#include <string_view>

#include "command.hpp"

namespace spell::cli {

/// `from_stdin`: the first line of standard input. Else asks on the terminal; error `usage` where
/// nobody can be asked, with `option` as the way out.
Result<std::string> read_secret(Context& context, std::string_view question, bool from_stdin,
                                std::string_view option = "--password-stdin");
/// Asked twice, until both are the same; three times at most.
Result<std::string> read_new_password(Context& context, bool from_stdin);

}  // namespace spell::cli
