// Scopes: units of systemd for processes that another unit has started. A run in one of its own has
// nothing to do with what becomes of its worker's unit (stopped, killed, upgraded); the system's
// tools name it, count what it uses, and can limit it; and the system that shuts down ends it as it
// ends a service: SIGTERM, time to stop, SIGKILL. systemd-run makes them (10 to 20 ms a run), for
// it speaks every version of systemd.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace spell::exec {

/// Whether systemd makes scopes for this process: it is root, and the main process of a unit of the
/// system's. Others stay where they are: processes that a user started by hand belong to his
/// session, and a manager of users ends with its user.
bool can_make_scopes();

struct Scope {
  std::string name{};         ///< of the unit, without ".scope": letters, digits, '-'; "": none
  std::string description{};  ///< one line, for the system's lists
  std::int64_t stop_s = 90;   ///< how long its processes may take to end when the system shuts down
};

/// The command line that becomes `program` in such a scope. Ends with the status `no_scope` where
/// that cannot be had, and `program` has not been started then.
std::vector<std::string> in_scope(const Scope&, std::vector<std::string> program);
inline constexpr int no_scope = 1;

}  // namespace spell::exec
