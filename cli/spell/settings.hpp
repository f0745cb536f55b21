// $SPELL_DIR/config.toml: what a user wants of every call.
#pragma once
#include "spell/client.hpp"

namespace spell::cli {

struct Settings {
  bool include_uncommitted = true;  ///< false: as if every run had --require-clean
};

/// $SPELL_DIR as an absolute path, else ~/.spell.
std::string personal_folder(const ClientOptions&);

/// The defaults where there is no such file. Error `invalid_configuration` names line and setting.
Result<Settings> read_settings(const ClientOptions&);

}  // namespace spell::cli
