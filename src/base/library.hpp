// Shared libraries of this computer.
#pragma once
#include <string>

namespace spell::base {

/// Whether the loader would find a library: by its path, or in one of the system's folders.
bool has_library(const std::string& name);

}  // namespace spell::base
