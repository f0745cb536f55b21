// One service a folder: the lock that a living service holds. Its content tells who that is.
#pragma once
#include <string>

#include "base/fd.hpp"
#include "spell/result.hpp"

namespace spell::daemon {

struct Held {
  base::Fd lock;       ///< closing it gives the folder up
  bool other = false;  ///< somebody else holds it
};

/// Takes the lock if it is free. Error `in_use_elsewhere`: held on another host (a folder that two
/// computers share).
Result<Held> take_lock(const std::string& path);

}  // namespace spell::daemon
