// Commands on several runs: each is done, whatever becomes of the others; the exit status is the
// first that is not 0.
#pragma once
#include <functional>

#include "command.hpp"
#include "spell/run.hpp"

namespace spell::cli {

/// Returns the exit status for that run.
using RunAction = std::function<Result<int>(const Run&)>;
Result<int> each_run(Context& context, const Words& ids, const RunAction& action);

/// The run as the API has it in JSON mode, its number in quiet mode, else `text` as a line.
void show_run(Output& out, const RunInfo& info, const std::string& text);

}  // namespace spell::cli
