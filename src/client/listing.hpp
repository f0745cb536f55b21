// A folder of the service, page by page.
#pragma once
#include <string>
#include <vector>

#include "client/connection.hpp"
#include "spell/resource.hpp"

namespace spell::detail {

struct Listing {
  ResourceInfo resource;              ///< what was listed
  std::vector<ResourceInfo> entries;  ///< of a folder, all of them
};

/// `path` may begin or end with '/'. Errors `invalid_path`, `resource_not_found`.
Result<Listing> list_all(Connection&, const std::string& path, const Limit&);
/// Without '/' at its ends; error `invalid_path` for "a//b", "..", and the like.
Result<std::string> plain_path(const std::string& path);

}  // namespace spell::detail
