// Secrets from a person: asked on the terminal without being shown, or from standard input.
#pragma once
#include <string>
#include <string_view>

#include "command.hpp"

namespace spell::cli {

/// All of standard input without the line's end at its end; where that is a terminal, a line of it
/// after `question`. Error `usage` beyond `limit` bytes.
Result<std::string> read_secret(Context& context, std::string_view question, std::size_t limit);
/// `from_stdin`: the first line of standard input. Else asks; error `usage` where nobody can be
/// asked.
Result<std::string> read_password(Context& context, std::string_view question, bool from_stdin);
/// Asked twice, until both are the same; three times at most.
Result<std::string> read_new_password(Context& context, bool from_stdin);

}  // namespace spell::cli
