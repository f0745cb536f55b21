// The layers of a run's environment: of what they are built, and how they are called. Pure, but for
// base_of(), which looks at this machine.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "exec/supervised.hpp"
#include "model/environment.hpp"
#include "model/worker_protocol.hpp"

namespace spell::worker {

/// What of the machine itself is below all layers.
struct LayerBase {
  std::string system{};   ///< "debian 12"
  std::string machine{};  ///< "x86_64"
  std::string python{};   ///< "/usr/bin/python3.11"; "": there is none
  std::string python3{};  ///< as it is called: "/usr/bin/python3"
  std::string conda{};    ///< "/opt/bin/micromamba"; "": there is none. Not a part of names
  /// For people, and a part of each layer's name.
  std::string text() const;
};
/// `environment`: NAME=VALUE, whose PATH counts. Starts nothing.
LayerBase base_of(const std::vector<std::string>& environment,
                  const std::string& os_release = "/etc/os-release");
/// The same of an image, whose files are below `root`.
LayerBase base_of_image(const std::string& root, const std::vector<std::string>& environment);
/// Why runs cannot have conda packages on this machine; "": they can.
std::string lacks_for_conda(const exec::Capabilities&, const LayerBase&);

struct Layer {
  std::string method{};   ///< of model::layer_methods
  std::string made_of{};  ///< for people, one line
  std::string inputs{};   ///< all that its content is a function of, but base and what is below
};
/// From the lowest up; none: the run asks for no environment.
std::vector<Layer> layers_of(const model::StartCommand&);
/// `below`: the content of the layer below, "": it is the lowest. What one owner has had built no
/// other gets: a build is a program.
std::string layer_name(const Layer&, const LayerBase&, const std::string& owner,
                       const std::string& below);

/// What pip is told to install, as a requirements file.
std::string requirements_of(const model::RunRequest&);
/// The variables of a run that its builds get, NAME=VALUE: those of pip and npm, and of proxies.
std::vector<std::string> build_variables(const model::RunRequest&);

/// Where builds find their files, below the temporary folder.
inline constexpr const char *requirements_file = "requirements.txt", *pins_file = "pinned.txt",
                            *packages_file = "packages.txt", *conda_file = "environment.yml";
/// Below model::environment_folder.
inline constexpr const char *venv_folder = "venv", *conda_folder = "conda";
/// The shell command that builds it, one of conda, pip or setup. `tmp`: the temporary folder, as
/// the build sees it. `pinned`: there is a pins_file.
std::string layer_script(const Layer&, const LayerBase&, const model::RunRequest&,
                         const std::string& tmp, bool pinned);
/// What pip says of what it has installed, a package a line; what is too much of it is left out.
std::vector<std::string> packages_of(const std::string& frozen);

/// PATH of who uses an environment, before its own.
std::string environment_path();

/// What a run was given, in its folder as `environment`: the start and a restarted worker go by it.
struct EnvironmentRecord {
  std::string tree{}, key{};  ///< in the cache of trees; "": there is nothing but packages of apt
  bool venv = false, conda = false;
  std::string system{}, system_key{};  ///< those of apt, likewise; "": there are none
  std::string image{}, image_key{};    ///< likewise; "": the machine's own system
};
Result<> write_environment_record(const std::string& run_folder, const EnvironmentRecord&);
/// None: there is none. Error `damaged`.
Result<std::optional<EnvironmentRecord>> read_environment_record(const std::string& run_folder);

}  // namespace spell::worker
