// A program to its end: what it is told, what it says, how long it may take. Thread-safe; blocks.
#pragma once
#include <chrono>
#include <cstddef>
#include <string>

#include "proc/spawn.hpp"
#include "spell/result.hpp"

namespace spell::proc {

struct RunOptions {
  SpawnOptions spawn{};  ///< without `descriptors`; in a new session it is a process group too
  std::string input{};   ///< on standard input; at most 4096 bytes
  std::chrono::milliseconds limit{60'000};
  std::size_t output_limit = 1 << 20;  ///< bytes; with more of standard output it is killed
  std::size_t error_limit = 16 << 10;  ///< bytes; of standard error the last ones are kept
  int stop_fd = -1;                    ///< when something can be read there it is killed
};

struct Ended {
  enum class How { exited, signalled, timed_out, stopped, talked_too_much } how = How::exited;
  int code = 0;  ///< exit status, or the number of the signal
  std::string output{}, errors{};
};

/// With the program, and in a new session all of its process group, nothing of it is left. Errors:
/// it could not be started.
Result<Ended> run(const RunOptions&);

}  // namespace spell::proc
