// One service a folder: the lock that a living service holds. Its content tells who that is. A
// second lock, on the folder that the file is in, is held by whoever starts, until it answers or
// gives up: whoever else wants to start waits for that, and finds the first lock either free or
// held by a service that answers.
#pragma once
#include <chrono>
#include <string>

#include "base/fd.hpp"
#include "spell/result.hpp"

namespace spell::daemon {

struct Held {
  base::Fd lock;       ///< closing it gives the folder up
  bool other = false;  ///< somebody else holds it
};

/// The right to start, when nobody else is about to. Errors: `timeout`: nothing of it within
/// `limit`.
Result<base::Fd> take_turn(const std::string& path, std::chrono::seconds limit);

/// Waits until the holder of the lock has gone; false if that is not within `limit`.
Result<bool> await_release(const std::string& path, std::chrono::seconds limit);

/// Takes the lock if it is free. Error `in_use_elsewhere`: held on another host (a folder that two
/// computers share).
Result<Held> take_lock(const std::string& path);

}  // namespace spell::daemon
