// Scopes: units of systemd for processes that another unit has started. A run in one of its own has
// nothing to do with what becomes of its worker's unit (stopped, killed, upgraded); the system's
// tools name it, count what it uses, and can limit it; and the system that shuts down ends it as it
// ends a service: SIGTERM, time to stop, SIGKILL. The manager is asked at its own socket, as
// systemctl asks it, without a bus and without a program of systemd's in between.
#pragma once
#include <sys/types.h>

#include <cstdint>
#include <string>

#include "spell/result.hpp"

namespace spell::exec {

/// Where the system's manager listens for root.
inline constexpr const char* manager_socket = "/run/systemd/private";

/// Whether systemd makes scopes for this process: it is root, and the main process of a unit of the
/// system's. Others stay where they are: processes that a user started by hand belong to his
/// session, and a manager of users ends with its user.
bool can_make_scopes();

struct Scope {
  std::string name{};         ///< of the unit, without ".scope": letters, digits, '-'; "": none
  std::string description{};  ///< one line, for the system's lists
  std::int64_t stop_s = 90;   ///< how long its processes may take to end when the system shuts down
  bool delegated = false;  ///< its control group may have others below it that systemd leaves alone
};

/// Makes the scope with this process in it, and returns when it is there; what the process starts
/// from then on is there too. Blocks, at most for 10 s. Error `no_scope`: it is where it was.
Result<> put_in_scope(const Scope&, pid_t, const std::string& socket = manager_socket);

}  // namespace spell::exec
