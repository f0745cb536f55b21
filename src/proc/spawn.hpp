// Starting programs: posix_spawn with a clean slate (default signals, only the descriptors that are
// passed). Thread-safe.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "spell/result.hpp"

namespace spell::proc {

struct SpawnOptions {
  std::vector<std::string> arguments;    ///< argv; arguments[0] is the program's path
  std::vector<std::string> environment;  ///< NAME=VALUE
  std::vector<std::pair<int, int>>
      descriptors;  ///< (ours, theirs); 0, 1, 2 are /dev/null unless named; all others are closed
  std::string folder;  ///< working folder; "": "/"
  bool new_session = false;
};

/// Returns the process id.
Result<int> spawn(const SpawnOptions&);

}  // namespace spell::proc
