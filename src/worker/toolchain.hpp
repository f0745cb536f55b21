// The programs of this machine that build others.
#pragma once
#include <string>
#include <vector>

namespace spell::worker {

struct Toolchain {
  std::string cmake{}, compiler{}, builder{};  ///< absolute paths
  std::string missing{};                       ///< the first that is not here; "": all are
  /// Another one when any of them is another program: a hash of their paths, sizes and times.
  std::string id() const;
};
/// Looks in the PATH of an environment (NAME=VALUE); starts nothing.
Toolchain find_toolchain(const std::vector<std::string>& environment);

}  // namespace spell::worker
