#include "client/chain.hpp"

#include "client/run_poll.hpp"

namespace spell::detail {

std::optional<std::int64_t> successor(const RunInfo& info) {
  if (!info.status.is_final() || info.status == RunStatus::complete) return std::nullopt;
  // Numbers grow: whatever a service says, every chain has an end.
  if (info.resumed_as_run && *info.resumed_as_run <= info.id) return std::nullopt;
  return info.resumed_as_run;
}

bool is_ended_for_another(const RunInfo& info) {
  return info.status.is_final() && info.reason_code == "chain_complete";
}

namespace {

/// The one before `last` that was completed after all; `last`, where there is none any more.
Result<RunInfo> late_success(Connection& connection, const RunInfo& last, const Limit& limit) {
  for (auto before = last;;) {
    if (!before.resumed_from_run || *before.resumed_from_run >= before.id) return last;
    auto info = poll_run(connection, *before.resumed_from_run, -1, limit, false);
    if (!info && info.error().http_status() == 404) return last;
    if (!info || info->status == RunStatus::complete) return info;
    before = std::move(*info);
  }
}

}  // namespace

Result<RunInfo> last_of_chain(Connection& connection, std::int64_t id, const Limit& limit) {
  for (;;) {
    auto info = poll_run(connection, id, -1, limit, false);
    auto next = info ? successor(*info) : std::nullopt;
    if (info && !next && is_ended_for_another(*info)) return late_success(connection, *info, limit);
    if (!next) return info;
    id = *next;
  }
}

}  // namespace spell::detail
