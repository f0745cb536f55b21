// What the building of layers and that of programs have in common.
#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "exec/supervised.hpp"
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

/// Waits for a build's end; after a stop it is killed, then waited for. `news` gets what is known
/// of it each time that this may have changed. `makes`: what it writes, which goes where the disk
/// is so full that its supervisor cannot write the end.
Result<exec::State> await_build(exec::Supervised&, const std::vector<std::string>& makes,
                                const std::stop_token&,
                                const std::function<void(const exec::State&)>& news = {});
/// Ends the build that a worker that was killed has left in `place`, and removes that folder.
Result<> end_earlier_build(const std::string& place, const std::vector<std::string>& makes);
/// For people: "exit code 1", "it took longer than 60 s".
std::string how_it_ended(const std::optional<exec::Exit>&, const model::StartCommand&);
/// Of a build that was ended with its machine: whether this worker is told to stop, too. Waits for
/// half a minute at most.
bool stops_soon(const std::stop_token&);

}  // namespace spell::worker
