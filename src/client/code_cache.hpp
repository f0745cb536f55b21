// Folders for what the client can do without: stat caches, repositories fetched by URL.
#pragma once
#include <string>

#include "client/connection.hpp"

namespace spell::detail {

/// The folder `name` of the client's cache, made if missing. Error `not_found` where the client has
/// none.
Result<std::string> make_cache(Connection&, const std::string& name);

}  // namespace spell::detail
