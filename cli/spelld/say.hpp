// What is said where a command of this program fails.
#pragma once
#include "spell/result.hpp"

namespace spell::daemon {

/// Says it on standard error. Returns the exit status: 3 for an invalid configuration, 2 for wrong
/// usage, else 1.
int fail(const Error& error);

}  // namespace spell::daemon
