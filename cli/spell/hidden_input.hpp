// What must not be seen: passwords and secrets, from a terminal without echo, or from a pipe.
#pragma once
#include <string>
#include <string_view>

#include "command.hpp"

namespace spell::cli {

/// A line of the terminal after `question`, typed unseen. Error `usage` without a terminal.
Result<std::string> ask_hidden(Context& context, std::string_view question);
/// All of standard input, without the line's end at its end; asks where that is a terminal. Error
/// `usage` beyond `limit` bytes.
Result<std::string> read_hidden(Context& context, std::string_view question, std::size_t limit);

}  // namespace spell::cli
