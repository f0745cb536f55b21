// The worker's ends of streams into runs, by what they are for. What is asked for comes over the
// stream itself; see model/stream.hpp.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "net/relay.hpp"
#include "worker/figures.hpp"
#include "worker/gpu_figures.hpp"
#include "worker/live_backup.hpp"

namespace spell::worker {

/// What a stream is to lead to.
struct StreamOrder {
  std::string id{}, kind{};         ///< see model::Command
  std::int64_t number = 0;          ///< of the run
  std::string folder{};             ///< the run's
  base::Fd supervisor{};            ///< Supervised::connection(); none: the run is not here
  std::vector<std::string> gpus{};  ///< uuids of those that it has
  std::function<Unsaved()> unsaved{};
};

/// The machine, as streams speak of it.
struct StreamHost {
  std::string name{};
  std::int64_t cores = 0, memory = 0;
};

/// A command inside the run.
std::unique_ptr<net::Relayed> make_exec_end(net::MessageStream, StreamOrder);
/// A connection to a port of the machine, as the run would reach it.
std::unique_ptr<net::Relayed> make_forward_end(net::MessageStream, StreamOrder, const StreamHost&);
/// Figures of what the run uses. `figures` and `gpus` outlive it.
std::unique_ptr<net::Relayed> make_stats_end(net::MessageStream, StreamOrder, const StreamHost&,
                                             Figures& figures, GpuFigures& gpus);

/// The run is not there, or not any more.
Error not_running(const StreamOrder&);
/// The supervisor has hung up.
bool is_over(const base::Fd& supervisor);

}  // namespace spell::worker
