// A second file of the same content. Private to this folder.
#pragma once
#include <string>

#include "spell/result.hpp"

namespace spell::store {

/// `to` does not exist, or is what an earlier call left that was cut off; whole and durable when it
/// has that name.
Result<> copy_file(const std::string& from, const std::string& to);

/// The folder a file lies in.
std::string folder_of(const std::string& path);

/// fsync.
Result<> sync_file(const std::string& path);

}  // namespace spell::store
