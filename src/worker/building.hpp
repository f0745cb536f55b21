// What the building of layers and that of programs have in common.
#pragma once
#include <cstdint>
#include <string>

#include "model/worker_protocol.hpp"
#include "spell/result.hpp"

namespace spell::worker {

Error no_build(const std::string& why);
/// Seconds: the run's own limit, an hour at most.
std::int64_t build_limit_of(const model::StartCommand&);

}  // namespace spell::worker
