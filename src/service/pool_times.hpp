// How long what pools do may take, for those who wait for it and those who count what it costs.
#pragma once
#include <cstdint>

#include "base/clock.hpp"
#include "store/store.hpp"

namespace spell::service {

/// What is lost, but listed, may come back with what it has.
inline constexpr std::int64_t kept_lost_us = 600 * base::second_us;
/// So long a machine is taken to be there, at most, when its end has been ordered.
inline constexpr std::int64_t usual_end_us = 120 * base::second_us;

/// A machine without runs ends after so long.
inline std::int64_t idle_after_us(const store::MachineTypeRecord& type) {
  return (type.idle_timeout > 0 ? type.idle_timeout : 1800) * base::second_us;
}
/// A machine that has not joined by then is ended.
inline std::int64_t launch_within_us(const store::MachineTypeRecord& type) {
  return (type.launch_timeout > 0 ? type.launch_timeout : 600) * base::second_us;
}

}  // namespace spell::service
