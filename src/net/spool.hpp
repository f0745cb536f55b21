// Files without a name: gone with their last descriptor, whatever happens.
#pragma once
#include <string>

#include "base/fd.hpp"

namespace spell::net {

Result<base::Fd> unnamed_file(const std::string& folder);

}  // namespace spell::net
