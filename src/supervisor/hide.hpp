// Hiding a folder in the run root, by every path that leads to it.
#pragma once

namespace spell::supervisor {

inline constexpr const char* hidden_cover =
    "/.hidden";  ///< an empty folder of the run root; removed once all is covered

/// Lays the empty folder over `path`, and over the same place of its file system wherever else that
/// is mounted. Works on the mount table: call it when the old root is gone. A path that does not
/// exist is hidden already.
bool hide(const char* path);

}  // namespace spell::supervisor
