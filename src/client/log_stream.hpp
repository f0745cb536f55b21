// A run's log, within a call's limit.
#pragma once
#include <memory>

#include "client/connection.hpp"
#include "spell/run.hpp"

namespace spell::detail {

/// As Run::logs(); the limit counts instead of the options' stop token, and is the stream's as a
/// whole.
Stream<LogEntry> log_of(const std::shared_ptr<Connection>&, std::int64_t run, LogOptions,
                        const Limit&);

}  // namespace spell::detail
