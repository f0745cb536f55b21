// The building of one layer of an environment: a command of its own under a supervisor of its own,
// in the run's folder as `layer/`, with the run's fence and user, but without its code, credentials
// and secrets. It finds its folder at /spell, and by the name under which runs will find it:
// /spell-env leads there. What it leaves counts when nothing of it lives any more.
//
// A layer of apt is built by root, over the machine's own system or an image's, with nothing of the
// run: /spell is empty there, and what it has changed in that system is the layer. The layers above
// it are built with it in place. Blocks; one at a time, by one thread.
#pragma once
#include <stop_token>
#include <string>
#include <vector>

#include "worker/build_output.hpp"
#include "worker/environment.hpp"
#include "worker/hooks.hpp"
#include "worker/layers.hpp"

namespace spell::worker {

/// What is below a layer that is to be built. Trees are in the machine's cache; "": there is none.
struct LayerGround {
  LayerBase base{};
  std::string image{}, system{}, own{};  ///< the system's, packages over it, at environment_folder
  std::string source{};                  ///< of an image: the resource that holds it
  std::string fingerprint{};             ///< of the system that packages are installed over
  bool pip = false;                      ///< there is a virtual environment, or will be
};

/// Of a build, or of waiting for one, that was stopped.
Error given_up();

/// Where that system is: "/", or in the image whose layer is the tree `image`.
std::string system_below(const std::string& image);

class LayerBuild {
 public:
  /// The references outlive it. `run_folder`: the run's.
  LayerBuild(const std::string& run_folder, const Host&, const model::StartCommand&,
             const BuildOutput::Say&, const std::stop_token&);

  struct Made {
    std::string tree{};                   ///< what is to be kept
    std::vector<std::string> packages{};  ///< what the tools say that they have installed
  };
  /// Errors: `build_failed`, of which the lines after the first are the last of what was printed;
  /// `canceled` after a stop; `supervisor_unreachable`: it may go on.
  Result<Made> run(const Layer&, const model::LayerAnswer& claimed, const LayerGround&);
  /// Ends what a worker that was killed has left of one.
  Result<> end_earlier() const;
  /// All that is left of it.
  Result<> remove() const;

  /// What programs find there, before anything is added; see surroundings_of().
  std::vector<std::string> surroundings(const std::string& image) const;

 private:
  RunPaths paths() const;
  std::vector<std::string> makes() const;
  std::string system_place() const;
  Result<> make_place(const Layer&, const std::vector<std::string>& pinned, const LayerGround&);
  Result<exec::Supervised> begin(const Layer&, const std::vector<std::string>& pinned,
                                 const LayerGround&);
  Result<> surround(exec::Launch&, const Layer&, const std::vector<std::string>& pinned,
                    const LayerGround&);
  Result<> fetch_image(exec::Launch&, const std::vector<std::string>& pinned,
                       const LayerGround&) const;
  Error explain(const Layer&, const std::optional<exec::Exit>&, const BuildOutput&) const;
  Result<std::vector<std::string>> read_packages(const Layer&) const;

  const Host& host_;
  const model::StartCommand& start_;
  const BuildOutput::Say& say_;
  const std::stop_token& stop_;
  const std::string folder_, place_;
};

}  // namespace spell::worker
