// The process between supervisor and command. With namespaces it is their pid 1: whatever way it
// dies, the kernel kills all that is in them, and it dies with the supervisor. Without, it is a
// subreaper that ends its descendants one by one, as best it can.
#pragma once
#include "supervisor/root.hpp"
#include "supervisor/spec.hpp"

namespace spell::supervisor {

/// What init tells the supervisor, over a pipe: each report is one write.
struct Report {
  enum Kind { started, ended, no_fence, error } kind = error;
  int status = 0;         ///< ended: as of waitpid
  long long time_us = 0;  ///< CLOCK_BOOTTIME
  char code[32] = {};     ///< error
  char text[320] = {};    ///< error, no_fence
};

struct InitFiles {
  int output, errors;  ///< write ends for the command; may be the same
  int report;          ///< write end
  int requests;        ///< a socket of packets: commands to let in, see protocol.hpp
  int owner_map = -1;  ///< of a run with a user of its own, see make_owner_map()
};

/// Signals the supervisor sends it.
int signal_to_stop();           ///< SIGTERM to the command's process group
int signal_to_pass();           ///< what it carries, to the command's process group
int signal_to_kill(int level);  ///< the end of all

/// Starts init; returns its process id here, or -1 with errno. `level` is tried, nothing else.
int start_init(const Spec&, const char* folder, int level, InitFiles);

/// Kills the children of this process, and those that come after them (it is a subreaper), until
/// none is left or, since some may not be ours to kill, five seconds have passed.
void end_children();

}  // namespace spell::supervisor
