#include "sched/place.hpp"

#include <algorithm>
#include <set>

namespace spell::sched {

bool serves(const Machine& machine, std::string_view machine_type) {
  return machine.name == machine_type || std::find(machine.serves.begin(), machine.serves.end(),
                                                   machine_type) != machine.serves.end();
}

namespace {

int room(const Machine& machine) {
  return machine.connected ? std::max(0, machine.places + machine.ahead - machine.busy) : 0;
}

/// Where a run of this type goes; null: it has to wait. A run is given ahead of a free place only
/// where no other machine could take it sooner.
Machine* choose(std::vector<Machine>& machines, std::string_view machine_type) {
  Machine *best = nullptr, *serving = nullptr;
  int servers = 0;
  for (auto& machine : machines) {
    if (!serves(machine, machine_type)) continue;
    ++servers;
    serving = &machine;
    int free = machine.places - machine.busy;
    if (!machine.connected || free <= 0) continue;
    int most = best ? best->places - best->busy : 0;
    if (!best || free > most || (free == most && machine.name < best->name)) best = &machine;
  }
  if (!best && servers == 1 && room(*serving) > 0) return serving;
  return best;
}

}  // namespace

std::vector<Placement> place(std::vector<Machine>& machines, const std::vector<Waiting>& queue) {
  std::vector<Placement> placements;
  int free = 0;
  for (auto& machine : machines) free += room(machine);
  std::set<std::string_view> held;
  for (auto& waiting : queue) {
    if (free == 0) break;
    if (held.contains(waiting.machine_type)) continue;
    Machine* best = choose(machines, waiting.machine_type);
    if (!best) {
      held.insert(waiting.machine_type);
      continue;
    }
    ++best->busy;
    --free;
    placements.push_back({waiting.run, best->name});
  }
  return placements;
}

std::string why_waiting(const std::vector<Machine>& machines, std::string_view machine_type) {
  int places = 0, busy = 0, away = 0, all = 0;
  for (auto& machine : machines) {
    if (!serves(machine, machine_type)) continue;
    ++all;
    if (!machine.connected) {
      ++away;
      continue;
    }
    places += machine.places;
    busy += std::min(machine.busy, machine.places);
  }
  std::string type(machine_type);
  std::transform(type.begin(), type.end(), type.begin(),
                 [](char c) { return c >= 'a' && c <= 'z' ? char(c - 32) : c; });
  std::string text = "waiting for a " + type + " machine: ";
  if (all == 0) return text + "none serves it";
  if (away == all)
    return text + (all == 1 ? "it is" : "all " + std::to_string(all) + " are") + " not connected";
  text += std::to_string(busy) + " of " + std::to_string(places) + " places busy";
  if (away > 0) text += ", " + std::to_string(away) + " not connected";
  return text;
}

}  // namespace spell::sched
