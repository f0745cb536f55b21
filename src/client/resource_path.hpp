// Paths of resources, as far as the client looks at them.
#pragma once
#include <string>

#include "client/connection.hpp"

namespace spell::detail {

/// Without '/' at its ends; error `invalid_path` for "a//b", "..", and the like.
Result<std::string> plain_path(const std::string& path);

/// The owner and the name of an upload: `public/x` is the upload x of the owner `public`, whose
/// uploads everybody may read.
struct UploadPath {
  std::string owner{}, name{};
};
/// Error `invalid_path` for what is no upload, or a part of one.
Result<UploadPath> upload_path(const Connection& connection, const std::string& path);

}  // namespace spell::detail
