#include "supervisor/init.hpp"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "supervisor/clock.hpp"
#include "supervisor/error_text.hpp"
#include "supervisor/mount.hpp"

namespace spell::supervisor {

namespace {

constexpr int report_descriptor = 3, map_descriptor = 4;

void send(Report report) {
  report.time_us = boot_us();
  (void)!write(report_descriptor, &report, sizeof report);
}

void append(Report& report, const char* text) {
  size_t used = strlen(report.text);
  strncpy(report.text + used, text, sizeof report.text - 1 - used);
}

[[noreturn]] void give_up(Report::Kind kind, const char* code, const char* what, int error) {
  Report report;
  report.kind = kind;
  strncpy(report.code, code, sizeof report.code - 1);
  append(report, "cannot ");
  append(report, what);
  if (error) {
    append(report, ": ");
    append(report, text_of_error(error));
  }
  send(report);
  _exit(1);
}

bool write_file(const char* path, const char* text) {
  int file = open(path, O_WRONLY | O_CLOEXEC);
  if (file < 0) return false;
  bool done = write(file, text, strlen(text)) == static_cast<ssize_t>(strlen(text));
  close(file);
  return done;
}

bool map_one_id(const char* path, unsigned id) {
  Digits digits(id);
  char line[64] = "";
  strcat(strcat(strcat(line, digits.text()), " "), digits.text());
  return write_file(path, strcat(line, " 1"));
}

void read_nothing() {
  int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null > 0) dup2(null, 0), close(null);
}

/// Only what the command may hold stays open: 0, 1, 2; and the report and the owner map, which
/// close at exec.
void arrange_descriptors(InitFiles& files) {
  int report = fcntl(files.report, F_DUPFD_CLOEXEC, 16),
      output = fcntl(files.output, F_DUPFD_CLOEXEC, 16),
      errors = fcntl(files.errors, F_DUPFD_CLOEXEC, 16),
      map = files.owner_map < 0 ? -1 : fcntl(files.owner_map, F_DUPFD_CLOEXEC, 16);
  dup2(output, 1);
  dup2(errors, 2);
  dup3(report, report_descriptor, O_CLOEXEC);
  int first = report_descriptor + 1;
  if (map >= 0) files.owner_map = dup3(map, map_descriptor, O_CLOEXEC), ++first;
  if (syscall(SYS_close_range, first, ~0U, 0) == 0) return;
  for (int descriptor = first; descriptor < 1024; ++descriptor) close(descriptor);
}

/// `name` is where the environment says nothing of its own.
void add_default(const Spec& spec, size_t& used, const char* name, const char* value) {
  size_t size = strlen(name);
  for (size_t i = 0; i < spec.env_size; ++i)
    if (strncmp(spec.env[i], name, size) == 0 && spec.env[i][size] == '=') return;
  auto* entry = static_cast<char*>(malloc(size + strlen(value) + 2));
  if (!entry) return;
  strcat(strcat(strcpy(entry, name), "="), value);
  spec.env[used++] = entry;
}

void enter_working_folder(const Spec& spec, const char* root) {
  char path[PATH_MAX];
  size_t size = strlen(root), more = strlen(spec.working_folder);
  if (size + more + 2 > sizeof path)
    give_up(Report::error, "no_such_folder", "enter the working folder", ENAMETOOLONG);
  strcat(strcat(strcpy(path, root), "/"), spec.working_folder);
  if (chdir(path) == 0) return;
  Report report;
  report.kind = Report::error;
  strcpy(report.code, errno == ENOENT || errno == ENOTDIR ? "no_such_folder" : "not_permitted");
  append(report, "cannot start in the folder ");
  append(report, spec.working_folder);
  append(report, ": ");
  append(report, text_of_error(errno));
  send(report);
  _exit(1);
}

/// The system's, whatever the shell had set that happened to start the service; a hard limit stays.
void set_default_limits() {
  for (int what = 0; what < RLIM_NLIMITS; ++what) {
    rlimit limit;
    if (getrlimit(static_cast<decltype(RLIMIT_CPU)>(what), &limit) != 0) continue;
    rlim_t usual = what == RLIMIT_NOFILE  ? 1024
                   : what == RLIMIT_STACK ? 8 << 20
                   : what == RLIMIT_CORE  ? 0
                                          : limit.rlim_max;
    limit.rlim_cur = usual < limit.rlim_max ? usual : limit.rlim_max;
    setrlimit(static_cast<decltype(RLIMIT_CPU)>(what), &limit);
  }
}

[[noreturn]] void execute(const Spec& spec) {
  setsid();
  drop_capabilities();
  if (spec.user != 0 && !become_user(static_cast<unsigned>(spec.user))) {
    for (const char* text : {"spell: cannot become the run's user: ", text_of_error(errno), "\n"})
      (void)!write(2, text, strlen(text));
    _exit(126);
  }
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  char* arguments[] = {const_cast<char*>("bash"), const_cast<char*>("-c"),
                       const_cast<char*>(spec.command), nullptr};
  int error = ENOENT;
  for (const char* shell : {"/bin/bash", "/usr/bin/bash", "/usr/local/bin/bash", "/bin/sh"}) {
    arguments[0] = const_cast<char*>(strrchr(shell, '/') + 1);
    execve(shell, arguments, spec.env);
    if (errno != ENOENT && errno != ENOTDIR) {
      error = errno;
      break;
    }
  }
  for (const char* text : {"spell: cannot run the command: ", text_of_error(error), "\n"})
    (void)!write(2, text, strlen(text));
  _exit(error == ENOENT ? 127 : 126);
}

/// The child borrows this process's memory until it has executed the shell.
[[gnu::noinline]] pid_t start_command(const Spec& spec) {
  pid_t child = vfork();
  if (child == 0) execute(spec);
  return child;
}

[[noreturn]] void serve(pid_t command, int level, const sigset_t& signals) {
  for (;;) {
    int status;
    pid_t gone;
    while ((gone = waitpid(-1, &status, WNOHANG)) > 0) {
      if (gone != command) continue;
      if (level == best_effort) end_children();
      Report report;
      report.kind = Report::ended;
      report.status = status;
      send(report);
      _exit(0);
    }
    int signal = sigwaitinfo(&signals, nullptr);
    if (signal == signal_to_stop()) kill(-command, SIGTERM);
    if (level == best_effort && signal == signal_to_kill(level)) {
      kill(-command, SIGKILL);
      end_children();
      _exit(0);
    }
  }
}

[[noreturn]] void run_init(const Spec& spec, const char* folder, int level, InitFiles files,
                           uid_t user, gid_t group) {
  bool fenced = level != best_effort;
  prctl(PR_SET_PDEATHSIG, signal_to_kill(level));
  sigset_t signals;
  sigemptyset(&signals);
  for (int signal : {SIGCHLD, signal_to_stop(), signal_to_kill(best_effort)})
    sigaddset(&signals, signal);
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, nullptr);
  for (int signal : {SIGTERM, SIGHUP, SIGINT, SIGPIPE, SIGCHLD}) ::signal(signal, SIG_DFL);
  arrange_descriptors(files);
  // The supervisor may have died before the first line: then nobody reads the reports.
  pollfd reader{report_descriptor, 0, 0};
  if (poll(&reader, 1, 0) != 0) _exit(1);

  if (level == user_namespaces &&
      !(write_file("/proc/self/setgroups", "deny") && map_one_id("/proc/self/uid_map", user) &&
        map_one_id("/proc/self/gid_map", group)))
    give_up(Report::no_fence, "", "map the user into a namespace", errno);
  Failure failure;
  if (fenced && !build_root(spec, folder, level, files.owner_map, failure))
    give_up(failure.of_mount ? Report::error : Report::no_fence, "mount_failed", failure.what,
            failure.error);
  if (!fenced && spec.mounts.size > 0)
    give_up(Report::error, "mount_failed", "mount without namespaces", 0);
  if (fenced)
    read_nothing();  // the one it has is of the old root
  else
    prctl(PR_SET_CHILD_SUBREAPER, 1);
  prctl(PR_SET_DUMPABLE, 0);  // nobody inside reads its memory or descriptors

  char root[PATH_MAX] = "/spell", tmp[PATH_MAX] = "/spell-tmp";
  if (!fenced) {
    strcat(strncpy(root, folder, sizeof root - 16), "/spell");
    strcat(strncpy(tmp, folder, sizeof tmp - 16), "/tmp");
  }
  size_t used = spec.env_size;
  add_default(spec, used, "SPELL_ROOT", root);
  add_default(spec, used, "TMPDIR", tmp);
  enter_working_folder(spec, root);
  umask(022);
  set_default_limits();

  Report started;  // first: whoever sees output knows that it runs
  started.kind = Report::started;
  send(started);
  pid_t command = start_command(spec);
  if (command < 0) give_up(Report::error, "start_failed", "start a process", errno);
  serve(command, level, signals);
}

/// The parent of a process as /proc says; 0 if it is gone.
pid_t parent_of(const char* process) {
  char path[64] = "/proc/", text[512];
  strcat(strncat(path, process, 20), "/stat");
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return 0;
  ssize_t n = read(file, text, sizeof text - 1);
  close(file);
  if (n <= 0) return 0;
  text[n] = 0;
  const char* at = strrchr(text, ')');  // the name may hold anything, also ')'
  return at && strlen(at) > 4 ? static_cast<pid_t>(strtol(at + 4, nullptr, 10)) : 0;
}

}  // namespace

int signal_to_stop() { return SIGTERM; }
int signal_to_kill(int level) { return level == best_effort ? SIGUSR1 : SIGKILL; }

int start_init(const Spec& spec, const char* folder, int level, InitFiles files) {
  unsigned long flags = SIGCHLD;
  if (level != best_effort) flags |= CLONE_NEWNS | CLONE_NEWPID;
  if (spec.user != 0) {
    flags |= CLONE_NEWIPC;
    files.owner_map = make_owner_map(static_cast<unsigned>(spec.user));
    if (files.owner_map < 0) return -1;
  }
  if (level == user_namespaces) flags |= CLONE_NEWUSER;
  uid_t user = geteuid();
  gid_t group = getegid();
  long child = syscall(SYS_clone, flags, nullptr, nullptr, nullptr, nullptr);
  if (child == 0) run_init(spec, folder, level, files, user, group);
  if (files.owner_map >= 0) close(files.owner_map);
  return static_cast<int>(child);
}

void end_children() {
  pid_t self = getpid();
  sigset_t child, before;
  sigemptyset(&child);
  sigaddset(&child, SIGCHLD);
  sigprocmask(SIG_BLOCK, &child, &before);
  for (long long until = monotonic_ms() + 5000, now; (now = monotonic_ms()) < until;) {
    pid_t gone;
    while ((gone = waitpid(-1, nullptr, WNOHANG)) > 0) {
    }
    if (gone < 0 && errno == ECHILD) break;
    DIR* processes = opendir("/proc");
    if (!processes) break;
    bool refused = false;
    while (dirent* entry = readdir(processes)) {
      if (entry->d_name[0] < '0' || entry->d_name[0] > '9' || parent_of(entry->d_name) != self)
        continue;
      int process = static_cast<int>(strtol(entry->d_name, nullptr, 10));
      refused = (kill(process, SIGKILL) != 0 && errno == EPERM) || refused;
    }
    closedir(processes);
    // Each death is told, and brings the children that it left. Those of one that may not be killed
    // come unannounced.
    long long left = refused && until - now > 10 ? 10 : until - now;
    timespec wait{left / 1000, left % 1000 * 1'000'000};
    sigtimedwait(&child, nullptr, &wait);
  }
  sigprocmask(SIG_SETMASK, &before, nullptr);
}

}  // namespace spell::supervisor
