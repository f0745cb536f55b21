// What the program ends with.
//
//   0 fine                   1 failed           2 usage
//   3 invalid configuration  4 invalid workspace  5 invalid commit  6 bad repository state
//
// Of a followed run and of `wait`: the command's own, 128 + signal, or 125 when the run ended
// otherwise than complete.
#pragma once
#include "spell/error.hpp"
#include "spell/run.hpp"

namespace spell::cli {

/// ^C while following, as a shell reports SIGINT.
inline constexpr int interrupted_status = 130;
/// The reader of stdout went away, as a shell reports SIGPIPE.
inline constexpr int output_closed_status = 141;

int exit_status(const Error& error);
int exit_status(const RunInfo& run);

}  // namespace spell::cli
