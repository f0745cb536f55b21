// Removing a folder may take long: under another name first, so that its own is free at once.
#pragma once
#include <stdio.h>

#include <string>
#include <string_view>

#include "base/id.hpp"

namespace spell::worker {

/// The new name, in `folder`; "": there was nothing.
inline std::string move_aside(const std::string& folder, const std::string& path) {
  std::string gone = folder + "/.gone-" + base::Id::make().text();
  return ::rename(path.c_str(), gone.c_str()) == 0 ? gone : "";
}
/// Found at the next start, after a kill.
inline bool is_aside(std::string_view name) { return name.starts_with(".gone-"); }

}  // namespace spell::worker
