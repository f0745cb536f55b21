// What the tests of the scheduler share: units, and a machine.
#pragma once
#include "sched/cluster.hpp"

namespace spell::sched {

constexpr std::int64_t GB = 1'000'000'000;
constexpr std::int64_t hour = 3'600'000, day = 24 * hour;  // ms
constexpr std::int64_t nano = 1'000'000'000;               // of a dollar

inline Machine box(const std::string& name, std::vector<std::string> serves, Amounts offers) {
  Machine machine;
  machine.name = name;
  machine.serves = std::move(serves);
  machine.offers = offers;
  machine.joined = machine.connected = true;
  return machine;
}

}  // namespace spell::sched
