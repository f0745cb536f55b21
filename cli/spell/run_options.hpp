// The options of `spell run` and the run spec that they make. No connection.
#pragma once
#include <functional>
#include <optional>
#include <string>

#include "machine_query.hpp"
#include "options.hpp"
#include "spell/run.hpp"

namespace spell::cli {

struct RunOptions {
  std::optional<std::string> machine_type{}, description{}, commit_ref{}, timeout{}, max_cost{},
      priority{}, github_url{}, github_ref{}, project{}, stop_grace{}, log_limit{}, from_file{},
      save_command{}, key{}, commit_label{}, notice_signal{}, requirements{}, setup{}, image{},
      conda_file{};
  MachineQueryOptions machine{};
  Words env{}, secrets{}, labels{}, after{}, mounts{}, machine_or_mounts{}, params{}, append{},
      pip{}, apt{}, command{};
  bool background = false, force = false, verbose = false, require_clean = false,
       include_untracked = false, idempotent = false, split_output = false, save_all = false,
       no_venv = false, explain = false, auto_resume = false, disable_auto_resume = false,
       exclusive = false, refresh_env = false, no_defaults = false;

  void define(Options& options);
  /// All but the code; a mount of a local path has that as its resource. `environment`:
  /// std::getenv, or a test's. Errors `usage`, `not_available`.
  Result<RunSpec> spec(const std::function<const char*(const char*)>& environment) const;
  /// What chooses the machine type; nothing: it is named, or the default. Error `usage`: both.
  Result<std::optional<MachineQuery>> choice() const;
};

/// "RESOURCE[:PATH]", cut at the first ':' behind a scheme. Errors `usage`, `not_available`.
Result<Mount> parse_mount(const std::string& text);
/// Whether a mount's resource is a path here, to be uploaded first: it begins with '.' or '/'.
bool is_local(const Mount& mount);

/// Where the image is a path here, to be uploaded first: "oci:./image:latest" -> "./image". None:
/// it is in a registry, or a resource.
std::optional<std::string> local_image(const std::string& image);
/// The same image in what was uploaded of that path.
std::string uploaded_image(const std::string& image, const std::string& resource);

/// Sets what `file` (YAML; the keys are the long option names and `command`) says and the command
/// line does not. Errors `invalid_configuration`, `usage`, `not_available`.
Result<> read_command_file(const std::string& file, Options& options, Words& command);
/// Writes what was given, so that read_command_file() of it gives the same run.
Result<> write_command_file(const std::string& file, const Options& options, const Words& command);

}  // namespace spell::cli
