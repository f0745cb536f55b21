#include "exit_status.hpp"

#include <string_view>

namespace spell::cli {

int exit_status(const Error& error) {
  struct Row {
    std::string_view code;
    int status;
  };
  constexpr Row table[] = {
      {"usage", 2},
      {"not_available", 2},
      {"invalid_configuration", 3},
      {"not_a_repository", 4},
      {"unsupported_repository", 4},
      {"bad_ref", 5},
      {"no_commit", 5},
      {"uncommitted_changes", 6},
      {"duplicate_label", 6},
      {"unknown_commit_label", 6},
  };
  for (const auto& row : table)
    if (row.code == error.code()) return row.status;
  return 1;
}

int exit_status(const RunInfo& run) {
  if (!(run.status == RunStatus::complete)) return 125;
  if (run.user_signal) return 128 + *run.user_signal;
  return run.user_exit_code.value_or(0) & 0xFF;
}

}  // namespace spell::cli
