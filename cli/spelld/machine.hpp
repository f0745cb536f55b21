// How many runs of one core a service takes on its own computer.
#pragma once

namespace spell::daemon {

/// A place a core, at least 2.
int places();

}  // namespace spell::daemon
