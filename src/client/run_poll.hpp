// Asking for a run, now or when it has changed.
#pragma once
#include "client/connection.hpp"
#include "spell/run.hpp"

namespace spell::detail {

/// The run as it is; `wait`: when its version is above `version`, when it is final, or after a
/// while.
Result<RunInfo> poll_run(Connection&, std::int64_t id, std::int64_t version, const Limit&,
                         bool wait = true);

/// Waits for the end of the chain from this run on.
Result<RunInfo> wait_end(Connection&, std::int64_t id, const Limit&);

/// Complete with exit code 0.
bool is_success(const RunInfo&);

/// What to return for a run whose chain has ended: the end if complete with exit code 0, else the
/// error `run_unsuccessful` with what is known of it, and the last log lines where they can be had
/// within the limit.
Result<RunInfo> successful(const Run&, const Result<RunInfo>& ended, const Limit&);

}  // namespace spell::detail
