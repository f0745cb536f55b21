// A program of this computer, carried out by the command line itself.
#pragma once
#include <string>

#include "spell/result.hpp"

namespace spell::cli {

/// Runs a command by the shell, in this terminal and folder, with one more variable
/// ("NAME=VALUE"), and waits for its end. ^C is the command's. Returns its exit status, 128 +
/// signal if it died of one. `output_to_stderr`: its stdout is this program's stderr.
Result<int> run_local_program(const std::string& command, const std::string& variable,
                              bool output_to_stderr);

}  // namespace spell::cli
