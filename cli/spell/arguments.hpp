// Which of the words after `spell run` are options of spell, and which belong to the command. Pure
// functions.
//
// Options come first. The first word that is none begins the command, and all that follows belongs
// to it, so that `spell run python3 -c 'print(1)'` hands -c to python3. A first word with white
// space in it is a quoted command: options of spell are still accepted after it (`spell run
// "python3 train.py" -t CPU -b`), until a further plain word. `--` ends the options in any case.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "spell/result.hpp"

namespace spell::cli {

using Words = std::vector<std::string>;

struct SplitArguments {
  Words own{};    ///< options and their values
  Words words{};  ///< the command and its arguments
};

/// Whether the option of that name ("-t", "--machine-type") takes a value; nothing for an unknown
/// one.
using TakesValue = std::function<std::optional<bool>(std::string_view name)>;

/// Unknown options are taken for flags: parsing `own` reports them.
SplitArguments split_arguments(const Words& arguments, const TakesValue& takes_value);

/// One word goes to the shell as it is; several are quoted, so that nothing splits or globs twice.
std::string join_command(const Words& words);

/// "NAME=VALUE" or "NAME", which takes the value of the caller's environment. Error `usage`.
Result<std::pair<std::string, std::string>> parse_env(
    const std::string& text, const std::function<const char*(const char*)>& caller_environment);

/// "7". Error `usage`.
Result<std::int64_t> parse_run_id(const std::string& text);
/// {"7", "8,9"} -> 7, 8, 9. Error `usage`.
Result<std::vector<std::int64_t>> parse_run_ids(const Words& texts);

Error usage_error(std::string message);

}  // namespace spell::cli
