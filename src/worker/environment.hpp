// The environment of a run's command: a fixed list, never that of whoever started this process.
#pragma once
#include <string>
#include <vector>

#include "exec/supervised.hpp"
#include "model/worker_protocol.hpp"
#include "worker/layers.hpp"

namespace spell::worker {

/// The GPUs that a run may use; on a machine that has some it is the worker's alone.
inline constexpr const char* gpu_variable = "CUDA_VISIBLE_DEVICES";

/// Where the run finds its things, as it sees them itself.
struct RunPaths {
  std::string root, tmp, programs;  ///< programs: the folder with `python`, where one is needed
};
/// /spell, /spell-tmp, /spell-bin in a run root; without one the real paths below the run's folder.
RunPaths run_paths(exec::Containment, const std::string& run_folder);

/// The machine's environment for a run whose user has neither name nor home: an empty folder of the
/// run's own is its home.
std::vector<std::string> environment_of_nobody(std::vector<std::string> base, const RunPaths&);

/// What the command finds before anything is added: the machine's, that of a run with a user of its
/// own, or that of an image, whose layer is the tree `image` ("": none).
std::vector<std::string> surroundings_of(const std::vector<std::string>& machine, bool own_user,
                                         const RunPaths&, const std::string& image);

struct Environment {
  std::vector<std::string> variables;  ///< NAME=VALUE, sorted
  /// What `python` is to be a link to in RunPaths::programs; "": there is a `python` in PATH, or no
  /// python3 either.
  std::string python;
  std::vector<std::string> notices;  ///< lines for the log
};
/// Later ones win: `base` (the machine's), ours, the service's, the user's. PATH is then completed:
/// what was built for the run, or its user's virtual environment, first, and at its end the folder
/// with `python`. Looks at the file system for programs, changes nothing. `built`: null, the run
/// asks for none; without a tree it has packages of apt alone.
Environment environment_of(const model::StartCommand&, const std::vector<std::string>& base,
                           const RunPaths&, const std::string& machine,
                           const EnvironmentRecord* built = nullptr);

}  // namespace spell::worker
