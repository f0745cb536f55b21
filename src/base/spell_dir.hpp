// Where a personal service keeps its things: the one decision that clients and the service share.
//
// Usually all of it is in $SPELL_DIR. On a network file system, where locks and sockets are not to
// be trusted, the state is in a private local folder; where the socket's path would be too long for
// the kernel, the socket alone is elsewhere. Such a choice is recorded as a link in the folder it
// replaces, so that a caller with another environment (cron, a unit) finds the same place.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "base/file.hpp"
#include "spell/result.hpp"

namespace spell::base {

/// What the decision depends on besides the folder.
struct Environment {
  std::string home{};            ///< "": from the user database
  std::string xdg_state_home{};  ///< "": HOME/.local/state
  std::string xdg_runtime_dir{};
  std::string var_tmp = "/var/tmp", tmp = "/tmp";
  std::function<bool(const std::string&)> on_network = is_network_file_system;
  /// Of this process ($HOME, $XDG_STATE_HOME, $XDG_RUNTIME_DIR).
  static Environment current();
};

struct SpellDirs {
  std::string config;  ///< $SPELL_DIR, as its real path
  std::string state;   ///< data, lock, log of the service; mostly the same
  std::string socket, lock, log;
  std::vector<std::string> notes;  ///< what is elsewhere, and why
};

/// Makes the folders that are missing (0700). `spell_dir` "": ~/.spell. Error
/// `invalid_configuration` for a folder that is not a folder, not ours, writable for others, or not
/// writable for us: names it and the way out.
Result<SpellDirs> resolve_spell_dirs(const std::string& spell_dir, const Environment&);

/// The login name of this process's user, else "uid-N": the one owner of a personal service.
std::string user_name();

}  // namespace spell::base
