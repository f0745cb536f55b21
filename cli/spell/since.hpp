// Times that people name: "7d", "2026-03-01", "month". Pure.
#pragma once
#include <optional>
#include <string_view>

#include "spell/run.hpp"

namespace spell::cli {

/// "90s", "30m", "24h", "7d", "2w": so long before now; "today", "month": since these began (UTC);
/// "2026-03-01" (UTC) and "2026-03-01T12:00:00Z": that time. None: it is no time from 1970 until
/// now.
std::optional<Time> parse_since(std::string_view text, Time now);

}  // namespace spell::cli
