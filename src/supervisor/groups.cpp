#include "supervisor/groups.hpp"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace spell::supervisor {

namespace {

/// What clone3(2) takes, up to the field that is needed here: not every libc has it.
struct CloneArguments {
  uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid,
      set_tid_size, cgroup;
};
constexpr uint64_t into_group = 0x200000000;  ///< CLONE_INTO_CGROUP
constexpr long long one_piece = 1 << 20;      ///< who is not given so much more is at his limit

int open_in(const char* folder, const char* name, int flags) {
  char path[PATH_MAX];
  if (strlen(folder) + strlen(name) + 2 > sizeof path) return errno = ENAMETOOLONG, -1;
  return open(strcat(strcat(strcpy(path, folder), "/"), name), flags | O_CLOEXEC);
}

bool is_unified(const char* folder) {
  int file = open_in(folder, "tasks", O_WRONLY);
  if (file >= 0) close(file);
  return file < 0 && errno == ENOENT;
}

/// The text of a file of the kernel's as it is now.
const char* content_of(int file, char* text, size_t room) {
  ssize_t n = file < 0 ? 0 : pread(file, text, room - 1, 0);
  text[n > 0 ? n : 0] = 0;
  return text;
}

/// The number behind a word that begins a line; 0 where there is none.
long long number_behind(const char* text, const char* word) {
  size_t size = strlen(word);
  for (const char* line = text; line && *line; line = strchr(line, '\n')) {
    if (*line == '\n') ++line;
    if (strncmp(line, word, size) != 0 || line[size] != ' ') continue;
    const char *begin = line + size + 1, *end = begin + strcspn(begin, "\n");
    return number_of({begin, static_cast<size_t>(end - begin)}, 0);
  }
  return 0;
}

long long number_in(int file) {
  char text[32];
  return strtoll(content_of(file, text, sizeof text), nullptr, 10);
}

}  // namespace

void Groups::watch(const Spec& spec) {
  for (const char* folder : spec.groups) {
    if (int file = open_in(folder, "memory.events", O_RDONLY); file >= 0) {
      events_ = file;
      continue;
    }
    int file = open_in(folder, "memory.oom_control", O_RDONLY);
    if (file < 0) continue;
    events_ = file;
    peaks_[0] = open_in(folder, "memory.max_usage_in_bytes", O_RDONLY);
    peaks_[1] = open_in(folder, "memory.memsw.max_usage_in_bytes", O_RDONLY);
    int limit = open_in(folder, "memory.limit_in_bytes", O_RDONLY);
    limit_ = number_in(limit);
    if (limit >= 0) close(limit);
    event_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int control = open_in(folder, "cgroup.event_control", O_WRONLY);
    char line[64] = "";
    strcat(strcat(strcpy(line, Digits(event_).text()), " "), Digits(file).text());
    if (event_ >= 0 && write(control, line, strlen(line)) < 0) close(event_), event_ = -1;
    if (control >= 0) close(control);
  }
}

Groups::Killed Groups::killed() {
  if (events_ < 0) return Killed::nobody;
  if (uint64_t count; event_ >= 0) (void)!read(event_, &count, sizeof count);
  char text[1024];
  content_of(events_, text, sizeof text);
  if (number_behind(text, "oom_kill") == 0) return Killed::nobody;
  // The kernel counts whom it ends, for whatever reason. Who was within his limit is another's
  // victim.
  bool over = number_behind(text, "oom") > 0;
  for (int file : peaks_) over = over || (limit_ > 0 && number_in(file) > limit_ - one_piece);
  return over ? Killed::over_limit : Killed::for_others;
}

void Groups::remove(const Spec& spec) {
  for (int* file : {&events_, &event_, &peaks_[0], &peaks_[1]}) {
    if (*file >= 0) close(*file);
    *file = -1;
  }
  for (const char* folder : spec.groups) rmdir(folder);
}

long clone_into_group(const Spec& spec, unsigned long flags, bool& inside) {
  for (const char* folder : spec.groups) {
    if (!is_unified(folder)) continue;
    int group = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (group < 0) return -1;
    CloneArguments arguments{};
    arguments.flags = flags | into_group;
    arguments.exit_signal = SIGCHLD;
    arguments.cgroup = static_cast<uint64_t>(group);
    inside = true;
    long child = syscall(SYS_clone3, &arguments, sizeof arguments);
    if (child == 0) return 0;
    inside = false;
    close(group);
    return child;
  }
  return -1;
}

bool enter_groups(const Spec& spec, bool inside) {
  for (const char* folder : spec.groups) {
    // Of a thread that moves itself v1 needs no look at all the others, which takes milliseconds.
    int file = open_in(folder, "tasks", O_WRONLY);
    if (file < 0 && errno == ENOENT) {
      if (inside) continue;
      file = open_in(folder, "cgroup.procs", O_WRONLY);
    }
    if (file < 0) return false;
    bool there = write(file, "0", 1) == 1;
    int error = errno;
    close(file);
    errno = error;
    if (!there) return false;
  }
  return true;
}

}  // namespace spell::supervisor
