// What this computer is for runs of the personal service: its name, its places, and the environment
// that its runs begin with.
#pragma once
#include <string>
#include <vector>

namespace spell::daemon {

/// The host's short name as a machine's name.
std::string machine_name();
/// A place a core, at least 2.
int places();
/// PATH HOME USER LOGNAME SHELL LANG TZ from the system's own files, never from the shell that
/// started the service.
std::vector<std::string> base_environment();

}  // namespace spell::daemon
