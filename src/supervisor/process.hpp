// What /proc says of a process, named by its folder there.
#pragma once
#include <sys/types.h>

namespace spell::supervisor {

/// 0 if it is gone.
pid_t parent_of(const char* process);
pid_t session_of(const char* process);

}  // namespace spell::supervisor
