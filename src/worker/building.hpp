// What the building of layers and that of programs have in common.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "model/worker_protocol.hpp"
#include "spell/result.hpp"

namespace spell::worker {

/// What a run finds at a path; null: nothing is mounted there.
const model::ResolvedMount* mount_at(const model::StartCommand&, std::string_view at);
/// Whether it finds anything in its folder but its code: what it mounts, or what it goes on from.
bool finds_data(const model::StartCommand&);
Error no_build(const std::string& why);
/// Seconds: the run's own limit, an hour at most.
std::int64_t build_limit_of(const model::StartCommand&);

}  // namespace spell::worker
