// Reading what a supervisor left behind: its spool and its lock file.
#pragma once
#include <cstdint>
#include <optional>
#include <string>

#include "exec/supervised.hpp"

namespace spell::exec {

struct SpoolView {
  std::int64_t end = 0;  ///< bytes that are whole frames
  std::int64_t output_bytes = 0;
  std::int64_t started_us = 0;  ///< from the end frame
  std::string containment{};    ///< from the end frame
  std::optional<Exit> exit{};   ///< there is an end frame
};
/// Reads the frames' headers, beginning at `known` (an earlier view of the same spool). A torn
/// frame ends the view.
Result<SpoolView> read_spool(const std::string& folder, SpoolView known = {});

struct LockFile {
  bool held = false;
  std::string boot{};
  int pid = 0, init = 0;
  std::int64_t init_start = 0;
};
/// An empty lock file may lie in a folder under this name: the next supervisor there takes it.
extern const std::string kept_lock;
/// Error `not_found`: no supervisor was ever started in this folder.
Result<LockFile> read_lock(const std::string& folder);

/// Waits up to two seconds until the run's init, which outlives its supervisor by a moment, has
/// taken its tree with it.
void await_end_of_tree(const LockFile&);

}  // namespace spell::exec
