// spell.toml at the top of a repository: defaults of its runs. It is the repository's word, not the
// user's: nothing in it leads to a path of this computer or of a machine.
#pragma once
#include <cstddef>
#include <optional>
#include <string>

#include "options.hpp"
#include "run_options.hpp"
#include "spell/result.hpp"

namespace spell::cli {

struct ProjectPlace {
  std::string file{};
  std::ptrdiff_t depth = 0;  ///< how many folders below its folder the user stands
};
/// Of the work tree in which the user stands; none: there is none.
std::optional<ProjectPlace> find_project_file();

/// Sets what it says and nobody else has; variables are set one by one. Error
/// `invalid_configuration`, which names file and line.
Result<> read_project_file(const ProjectPlace&, Options& options, RunOptions& given);

}  // namespace spell::cli
