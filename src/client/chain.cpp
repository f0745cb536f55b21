#include "client/chain.hpp"

#include "client/run_poll.hpp"

namespace spell::detail {

std::optional<std::int64_t> successor(const RunInfo& info) {
  if (!info.status.is_final() || info.status == RunStatus::complete) return std::nullopt;
  // Numbers grow: whatever a service says, every chain has an end.
  if (info.resumed_as_run && *info.resumed_as_run <= info.id) return std::nullopt;
  return info.resumed_as_run;
}

Result<RunInfo> last_of_chain(Connection& connection, std::int64_t id, const Limit& limit) {
  for (;;) {
    auto info = poll_run(connection, id, -1, limit, false);
    auto next = info ? successor(*info) : std::nullopt;
    if (!next) return info;
    id = *next;
  }
}

}  // namespace spell::detail
