// What the agent wants done, and what came of it: the interface between decisions (Agent,
// RunTracker) and I/O (Worker).
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace spell::worker {

struct Action {
  enum class Type {
    create,   ///< make the run's folder with `text` as its journal; a failure is told by
              ///< Agent::not_created
    append,   ///< append `text` to the run's journal
    build,    ///< put the run's code in place; told by Agent::built
    mount,    ///< bring what it mounts to this machine; told by Agent::mounted
    prepare,  ///< bring its environment to this machine, or build it; told by Agent::prepared
    compile,  ///< build its program; told by Agent::compiled
    give_up,  ///< building, preparing, mounting or compiling: the run is not to be started any more
    launch,   ///< start its supervisor; told by Agent::launched
    stop,     ///< tell the supervisor
    kill,     ///< the same; `text`: why
    allow,    ///< tell the supervisor that it is paid for until `text` (µs of the boot clock)
    lease,    ///< tell the supervisor that it goes on until `text` (µs of the boot clock)
    ship,     ///< send output that the service lacks, one batch; told by Agent::shipped
    ship_metrics,  ///< likewise; told by Agent::metrics_shipped
    back_up,       ///< begin to back up its files, see Agent::backup_says
    notice,        ///< its machine will go: its preemption file and its signal; or stays after all
    look,          ///< how long its files need to become safe; told by Agent::backup_needs
    halt,          ///< freeze it and make safe what it has finished; told by Agent::halted
    save,          ///< write what is new or changed into a pack; told by Agent::saved
    push,          ///< send that pack; told by Agent::pushed
    remove,        ///< delete the run's folder; told by Agent::gone
    park,          ///< move it to where nobody looks but people; told by Agent::gone
    open_stream,   ///< dial for the stream `stream`, which leads to `text` (its kind)
    log,           ///< a line for the service's own log
  };
  Type type;
  std::string run;
  std::string text;
  std::string stream{};
};
using Actions = std::vector<Action>;

/// Finished by the run's program, and not safe yet.
struct Unsaved {
  std::int64_t files = 0, bytes = 0;
  std::int64_t since_us = 0;  ///< of the boot clock: when the oldest was; 0: there is none
  bool operator==(const Unsaved&) const = default;
};

/// What saving found, as the log says it and the result reports it.
struct Saved {
  std::string tree{};  ///< "": nothing to save
  bool push = false;   ///< the pack has something that the service lacks
  std::int64_t files = 0, bytes = 0, left_out = 0, took_us = 0;
  std::int64_t incomplete = 0;                  ///< files that were put aside, see live_backup.hpp
  std::int64_t fresh_bytes = 0, new_bytes = 0;  ///< see spellfs::SaveResult
  std::vector<std::string> skipped{};           ///< "path: why"
};

}  // namespace spell::worker
