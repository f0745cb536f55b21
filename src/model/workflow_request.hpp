// The making of a workflow as it is on the wire.
#pragma once
#include <map>
#include <optional>
#include <string>

#include "model/run.hpp"

namespace spell::model {

/// Where a managing run finds the program that was sent with its workflow: below its working
/// folder.
inline constexpr std::string_view program_folder = ".spell-program/";

/// Body of POST …/workflows.
struct WorkflowRequest {
  std::string description{};
  std::map<std::string, CodeRef> commits{};  ///< by label
  std::optional<RunRequest> run{};           ///< the managing run; none: the program runs elsewhere
  /// A program that `run` finds below `program_folder` under this name, and what it is: as the body
  /// of PUT …/uploads/{name}.
  std::string program_name{};
  json program{};
  /// Instead: a CMake project, of which `run` builds this target ("": its only program), and what
  /// it is, as the body of PUT …/uploads/{name}.
  std::optional<std::string> build_target{};
  json build{};
};

/// Errors: `invalid_request`, naming the field.
Result<WorkflowRequest> parse_workflow_request(const json&);
json to_json(const std::map<std::string, CodeRef>& commits);
/// As it was stored. Error `damaged`.
Result<std::map<std::string, CodeRef>> parse_commits(const std::string& text);

}  // namespace spell::model
