#include "supervisor/process.hpp"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

namespace spell::supervisor {

namespace {

/// The n-th number behind the process's state.
pid_t number_behind_state(const char* process, int n) {
  char path[64] = "/proc/", text[512];
  strcat(strncat(path, process, 20), "/stat");
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return 0;
  ssize_t size = read(file, text, sizeof text - 1);
  close(file);
  if (size <= 0) return 0;
  text[size] = 0;
  char* at = strrchr(text, ')');  // the name may hold anything, also ')'
  if (!at || strlen(at) <= 4) return 0;
  at += 4;
  long value = strtol(at, &at, 10);
  while (--n > 0) value = strtol(at, &at, 10);
  return static_cast<pid_t>(value);
}

}  // namespace

pid_t parent_of(const char* process) { return number_behind_state(process, 1); }
pid_t session_of(const char* process) { return number_behind_state(process, 3); }

}  // namespace spell::supervisor
