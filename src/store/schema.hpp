// The database's schema, as steps from version to version. Private to this folder.
#pragma once
#include <string>

#include "spell/result.hpp"
#include "store/sqlite.hpp"

namespace spell::store {

/// The file at this program's schema_version; it is made where there is none. One that is older is
/// replaced by a new one when that is whole, and stays beside it as path.v<old>-<random>. Errors:
/// `newer_data`, before anything of the file is changed; `disk_full`.
Result<Connection> open_current(const std::string& path);

}  // namespace spell::store
