// The database's schema, as steps from version to version. Private to this folder.
#pragma once
#include <string>

#include "spell/result.hpp"
#include "store/sqlite.hpp"

namespace spell::store {

/// Error `newer_data`, before anything of the file is changed.
Result<> refuse_newer(Connection&, const std::string& path);

/// Brings the file, which is not newer, to schema_version, in one transaction, after a copy beside
/// the file (path.v<old>) where there was data.
Result<> migrate(Connection&, const std::string& path);

}  // namespace spell::store
