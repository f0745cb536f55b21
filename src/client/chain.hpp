// What a chain is: a run and those that it goes on as, one after the other, each made when the one
// before it was interrupted. The one place that knows.
#pragma once
#include <cstdint>
#include <optional>

#include "client/connection.hpp"
#include "spell/run.hpp"

namespace spell::detail {

/// The run that this one goes on as; nothing: it has not ended, or its chain ends with it. So does
/// that of a run which was given up and whose success came late, whatever was made to go on.
std::optional<std::int64_t> successor(const RunInfo&);

inline bool ends_chain(const RunInfo& info) { return info.status.is_final() && !successor(info); }

/// It was ended because one before it in its chain was completed after all.
bool is_ended_for_another(const RunInfo&);

/// The last run of the chain that `id` is of, as it is now; or the one that was completed late.
Result<RunInfo> last_of_chain(Connection&, std::int64_t id, const Limit&);

}  // namespace spell::detail
