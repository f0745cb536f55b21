// Environments of runs: what may be asked for, and what worker and service say to each other of the
// layers that they are made of.
//
// An environment is a stack of layers: `image`, `apt`, `conda`, `pip`, `setup`. A layer's name is
// the hash of all that made it: its method, what was asked for, the machine's own programs below
// it, the content of the layer below. The tree of `pip` has that of `conda` in it, and `setup`
// both, so that a run mounts one tree, at environment_folder: a virtual environment is bound to the
// path at which it was made. An `image` is a tree of its own, which the run has in place of the
// machine's system. The `apt` layer is another one: what packages of the machine's own distribution
// have changed in its system's folders, over which it is laid.
#pragma once
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/run.hpp"

namespace spell::model {

/// Where a run, and each build, finds its environment.
inline constexpr std::string_view environment_folder = "/spell-env";
inline constexpr std::size_t requirements_limit = 256 << 10;

/// Of layers, in their order.
inline constexpr std::string_view layer_methods[] = {"image", "apt", "conda", "pip", "setup"};

/// Why this is no package for pip's command line; "": it is one.
std::string wrong_package(const std::string& package);

/// Why this names no package for apt, with or without a version ("sl", "sl=5.02-1", "libc6:i386");
/// "": it does. Nothing else that apt understands is one: no option, path, pattern, task, release,
/// and no package that is to go.
std::string wrong_apt_package(const std::string& package);

/// `path` in the folder `folder`, both relative to the same top, without "." and ".."; none: it
/// leads out of the top, or is absolute or empty.
std::optional<std::string> path_below(const std::string& folder, const std::string& path);

/// A requirements file of a commit with those that it names in their place. `read`: a file of the
/// commit by its path; error `not_found` for one that is not there. Error `invalid_requirements`,
/// which names file and line: a file that is not in the commit or leads out of it, a package that
/// is a path (its content may change with each commit), too many files or bytes.
using ReadCommitted = std::function<Result<std::string>(const std::string& path)>;
Result<std::string> gather_requirements(const std::string& folder, const std::string& path,
                                        const ReadCommitted& read);

/// A file of the commit that names conda packages. `read`: as for gather_requirements(). Error
/// `invalid_requirements`: it is not in the commit, is no UTF-8 text, or asks for packages of pip,
/// which are asked for by themselves.
Result<std::string> read_conda_file(const std::string& folder, const std::string& path,
                                    const ReadCommitted& read);

/// The name of the layer in this one's place that has these packages, and not those that fit best
/// when it was built.
std::string pinned_layer(const std::string& name, const std::vector<std::string>& packages);

/// What a worker asks of a layer.
struct LayerClaim {
  std::string name{};
  std::string method{};  ///< of layer_methods
  std::string base{};  ///< the machine's own programs, for people: "debian 12, x86_64, python3.11"
  std::string made_of{};     ///< for people, one line
  std::string lost{};        ///< a tree that cannot be read any more
  std::int64_t wait_ms = 0;  ///< for another run's build
};

struct LayerAnswer {
  /// "ready": here it is; "build": it is to be built by this run; "wait": another run builds it.
  std::string state{};
  std::string name{};  ///< the one that was claimed, or the one of the pinned packages
  std::string node{};  ///< of a ready one: its SpellFS name
  std::int64_t size = 0, files = 0;
  std::vector<std::string> pinned{};  ///< to be installed so, of "build"
  std::int64_t builder = 0;           ///< of "wait": the run
};

/// What came of a build.
struct LayerBuilt {
  std::string name{}, node{};  ///< node "": it was given up
  std::int64_t size = 0, files = 0;
  std::vector<std::string> packages{};
};

json to_json(const LayerClaim&);
Result<LayerClaim> parse_layer_claim(const json&);
json to_json(const LayerAnswer&);
Result<LayerAnswer> parse_layer_answer(const json&);
json to_json(const LayerBuilt&);
Result<LayerBuilt> parse_layer_built(const json&);

}  // namespace spell::model
