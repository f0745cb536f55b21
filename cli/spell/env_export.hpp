// What makes a run's environment again: as it was recorded, not as it was asked for. Pure.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "spell/run.hpp"

namespace spell::cli {

struct ExportedEnvironment {
  std::string image{};                    ///< by its digest
  std::vector<std::string> apt{}, pip{};  ///< with their exact versions
  std::string conda_file{};               ///< as it was asked for: the file's path
  std::string setup{};
  std::map<std::string, std::string> env{};  ///< of the run's, those that are for builds
};

/// Error `environment_not_found`: the run has none, or was not given it yet.
Result<ExportedEnvironment> export_environment(const RunInfo&);
/// As the lines of a spell.toml, which makes it so for other runs.
std::vector<std::string> toml_lines(const ExportedEnvironment&);

}  // namespace spell::cli
