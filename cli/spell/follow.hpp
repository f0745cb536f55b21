// Following a run: its log to the output until it ends, the viewer presses ^C, or nobody reads any
// more.
#pragma once
#include <cstdint>
#include <optional>

#include "command.hpp"
#include "spell/run.hpp"

namespace spell::cli {

struct FollowOptions {
  bool to_the_end = true;              ///< false: what is there now
  std::optional<std::int64_t> tail{};  ///< only the last N lines
  bool all = false;                    ///< every entry, not the condensed form
};

/// Returns the exit status: the run's own when it was followed to its end, 130 after ^C, else 0.
Result<int> follow(Output& out, const Run& run, const FollowOptions& options);

/// What `run` and `rerun` do with a run that they have made: name it, then follow it unless it is
/// to stay in the background.
Result<int> show_new_run(Context& context, const Client& client, const RunInfo& info,
                         bool background, bool verbose);

}  // namespace spell::cli
