// The personal service as a systemd user unit, for those who want it back after a reboot.
#pragma once
#include <string>

#include "spell/result.hpp"

namespace spell::cli {

/// The unit's text.
std::string user_unit(const std::string& spelld, const std::string& spell_dir);
/// ~/.config/systemd/user/spell.service
Result<std::string> user_unit_path();
/// The program `spelld` that belongs to this one: beside it, else in PATH.
Result<std::string> find_spelld();

}  // namespace spell::cli
