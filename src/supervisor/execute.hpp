// The last steps of a child before it is a program of the run.
#pragma once
#include "supervisor/spec.hpp"

namespace spell::supervisor {

/// Gives up what a program of the run must not have, and becomes the run's user.
void become_ordinary(const Spec&);
/// The command by bash, else by sh.
[[noreturn]] void execute_shell(const char* command, char** env);

}  // namespace spell::supervisor
