// The system's unit of this worker, where systemd runs the computer and the unit is installed.
#pragma once
#include "spell/result.hpp"

namespace spell::worker_program {

/// Whether this process may use it for the worker of `folder`: root, and its folder is the unit's.
bool has_unit(const std::string& folder);
/// Enables and starts it. Error `io_error` with systemd's exit status.
Result<> enable_unit();
/// Stops it and lets it rest; runs go on under their supervisors.
Result<> disable_unit();

}  // namespace spell::worker_program
