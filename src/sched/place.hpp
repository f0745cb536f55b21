// Which waiting run goes to which machine. Pure: a function of the cluster's view and the queue; no
// I/O, no clock, no randomness.
#pragma once
#include <deque>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace spell::sched {

struct Machine {
  std::string name;
  std::vector<std::string> serves;  ///< machine types, lower case; its own name is always served
  int places = 0, busy = 0;         ///< busy: runs it was given that have not ended
  bool connected = false;
  int ahead = 0;  ///< runs it may be given beyond its places, to begin when one is free
};

struct Waiting {
  std::string run;
  std::string machine_type;  ///< lower case
};

struct Placement {
  std::string run, machine;
};

/// Walks the queue in its order; a run goes to the connected machine with the most free places that
/// serves its type (the first by name where several have as many), or ahead of a free place to the
/// only machine that serves it. A run that does not fit holds back the later ones of its type, not
/// those of others. `busy` of the machines grows with what is placed.
std::vector<Placement> place(std::vector<Machine>& machines, const std::vector<Waiting>& queue);

bool serves(const Machine&, std::string_view machine_type);

/// Why a run of this type waits: "waiting for a CPU machine: 2 of 2 places busy".
std::string why_waiting(const std::vector<Machine>& machines, std::string_view machine_type);

}  // namespace spell::sched
