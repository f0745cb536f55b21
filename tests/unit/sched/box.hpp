// A machine for tests of the scheduler.
#pragma once
#include "sched/cluster.hpp"

namespace spell::sched {

constexpr std::int64_t GB = 1'000'000'000;

inline Machine box(const std::string& name, std::vector<std::string> serves, Amounts offers) {
  Machine machine;
  machine.name = name;
  machine.serves = std::move(serves);
  machine.offers = offers;
  machine.joined = machine.connected = true;
  return machine;
}

}  // namespace spell::sched
