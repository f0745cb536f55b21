// Limits of a run's memory and cores, by control groups of the kernel (cgroup v2, or the
// controllers of v1). The groups are made here, below that of the run's starter, or in the run's
// scope; the run's init enters them before all else, and its supervisor, which stays outside,
// removes them (supervisor/groups.hpp). A file `groups` in the run's folder names them before they
// are there, so that what is left by a supervisor that was killed is found and removed. Blocking
// calls are short.
#pragma once
#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "spell/result.hpp"

namespace spell::exec {

struct Limits {
  std::int64_t memory = 0;  ///< bytes, without swap beside them; 0: none
  std::int64_t cpus = 0;    ///< cores, as time of all of them; 0: none
  bool any() const { return memory > 0 || cpus > 0; }
};

/// Those that mean something here: nobody uses more memory, or cores, than there are.
Limits limits_that_bind(const Limits&);

/// Where a process is among the control groups, and so where groups below can be made.
struct GroupPlace {
  std::string folder{};  ///< "": nowhere
  bool unified = false;  ///< v2
  bool top = false;      ///< of all that the process sees of it, as a container's first
  std::string why_not{};
};
struct GroupPlaces {
  GroupPlace memory{}, cpu{};
};
/// `process_folder`: /proc/self, or another's.
GroupPlaces find_groups(const std::string& process_folder);

struct GroupsMade {
  std::vector<std::string> folders{};  ///< for the supervisor
  std::string no_memory{}, no_cpu{};   ///< why that limit, which was asked for, is not there
};
/// Makes the groups of the run in `run_folder`, of this name. v2 has processes or groups below a
/// group: `process`, where it is alone in its own, moves to another beside the run's.
GroupsMade make_groups(const GroupPlaces&, const std::string& name, const Limits&,
                       const std::string& run_folder, pid_t process);

/// Of the run in `run_folder`, which is over: ends what is left in its groups, and removes them.
void remove_groups(const std::string& run_folder);

/// Tries it by doing it: why runs that this process starts have no limit of memory; "": they can.
/// `scopes`: each is a scope of systemd.
std::string why_no_limits(bool scopes);

/// "memory is not limited on this machine: WHY", or what is not; "": nothing of the kind.
std::string not_limited(const GroupsMade&);

}  // namespace spell::exec
