// Folders for what the client can do without: stat caches, repositories fetched by URL.
#pragma once
#include <string>

#include "base/fd.hpp"
#include "client/connection.hpp"

namespace spell::detail {

/// A file without a name in the cache, for a pack that may be large.
Result<base::Fd> make_unnamed_file(Connection&);
/// The folder `name` of the client's cache, made if missing. Error `not_found` where the client has
/// none.
Result<std::string> make_cache(Connection&, const std::string& name);

}  // namespace spell::detail
