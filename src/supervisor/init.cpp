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
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "supervisor/clock.hpp"
#include "supervisor/error_text.hpp"
#include "supervisor/execute.hpp"
#include "supervisor/groups.hpp"
#include "supervisor/guests.hpp"
#include "supervisor/mount.hpp"
#include "supervisor/process.hpp"

namespace spell::supervisor {

namespace {

constexpr int report_descriptor = 3, request_descriptor = 4, map_descriptor = 5;

void send(Report report) {
  report.time_us = boot_us();
  (void)!write(report_descriptor, &report, sizeof report);
}

void append_text(Report& report, const char* text) {
  size_t used = strlen(report.text);
  strncpy(report.text + used, text, sizeof report.text - 1 - used);
}

[[noreturn]] void give_up(Report::Kind kind, const char* code, const char* what, int error) {
  Report report;
  report.kind = kind;
  strncpy(report.code, code, sizeof report.code - 1);
  append_text(report, "cannot ");
  append_text(report, what);
  if (error) {
    append_text(report, ": ");
    append_text(report, text_of_error(error));
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

/// Only what the command may hold stays open: 0, 1, 2; and the report, the requests and the owner
/// map, which close at exec.
void arrange_descriptors(InitFiles& files) {
  int report = fcntl(files.report, F_DUPFD_CLOEXEC, 16),
      output = fcntl(files.output, F_DUPFD_CLOEXEC, 16),
      errors = fcntl(files.errors, F_DUPFD_CLOEXEC, 16),
      requests = fcntl(files.requests, F_DUPFD_CLOEXEC, 16),
      map = files.owner_map < 0 ? -1 : fcntl(files.owner_map, F_DUPFD_CLOEXEC, 16);
  dup2(output, 1);
  dup2(errors, 2);
  dup3(report, report_descriptor, O_CLOEXEC);
  dup3(requests, request_descriptor, O_CLOEXEC);
  int first = request_descriptor + 1;
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
  append_text(report, "cannot start in the folder ");
  append_text(report, spec.working_folder);
  append_text(report, ": ");
  append_text(report, text_of_error(errno));
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

/// The child borrows this process's memory until it has executed the shell.
[[gnu::noinline]] pid_t start_command(const Spec& spec) {
  pid_t child = vfork();
  if (child == 0) {
    setsid();
    become_ordinary(spec);
    execute_shell(spec.command, spec.env);
  }
  return child;
}

/// Returns when the command has ended or is to be ended; nothing of a fenced run outlives that.
void serve(const Spec& spec, pid_t command, int level, int signals) {
  static Guests guests(spec);
  pollfd files[2 + Guests::limit];
  for (;;) {
    int status;
    pid_t gone;
    while ((gone = waitpid(-1, &status, WNOHANG)) > 0) {
      if (gone != command) {
        guests.ended(gone, status);
        continue;
      }
      if (level == best_effort) end_children();
      Report report;
      report.kind = Report::ended;
      report.status = status;
      return send(report);
    }
    files[0] = {signals, POLLIN, 0};
    files[1] = {request_descriptor, POLLIN, 0};
    if (poll(files, sizeof files / sizeof *files, guests.watch(files + 2)) < 0) continue;
    if (files[1].revents & POLLIN) guests.take_request(request_descriptor);
    guests.serve(files + 2);
    signalfd_siginfo info;
    while (read(signals, &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
      int signal = static_cast<int>(info.ssi_signo);
      if (signal == signal_to_stop()) kill(-command, SIGTERM);
      if (signal == signal_to_pass()) kill(-command, info.ssi_int);
      if (level != best_effort || signal != signal_to_kill(level)) continue;
      kill(-command, SIGKILL);
      return end_children();
    }
  }
}

[[noreturn]] void run_init(const Spec& spec, const char* folder, int level, InitFiles files,
                           uid_t user, gid_t group, bool inside) {
  bool fenced = level != best_effort;
  prctl(PR_SET_PDEATHSIG, signal_to_kill(level));
  sigset_t signals;
  sigemptyset(&signals);
  for (int signal : {SIGCHLD, signal_to_stop(), signal_to_pass(), signal_to_kill(best_effort)})
    sigaddset(&signals, signal);
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, nullptr);
  for (int signal : {SIGTERM, SIGHUP, SIGINT, SIGPIPE, SIGCHLD}) ::signal(signal, SIG_DFL);
  arrange_descriptors(files);
  // The supervisor may have died before the first line: then nobody reads the reports.
  pollfd reader{report_descriptor, 0, 0};
  if (poll(&reader, 1, 0) != 0) _exit(1);

  if (!enter_groups(spec, inside))
    give_up(Report::error, "start_failed", "enter the control group that limits the run", errno);
  if (level == user_namespaces &&
      !(write_file("/proc/self/setgroups", "deny") && map_one_id("/proc/self/uid_map", user) &&
        map_one_id("/proc/self/gid_map", group)))
    give_up(Report::no_fence, "", "map the user into a namespace", errno);
  Failure failure;
  umask(022);  // also for what is made on the way to a mount: the run's user goes through it
  if (fenced && !build_root(spec, folder, level, files.owner_map, failure))
    give_up(failure.of_mount ? Report::error : Report::no_fence, "mount_failed", failure.what,
            failure.error);
  if (!fenced && (spec.mounts.size > 0 || spec.system.there() || spec.root.there()))
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
  set_default_limits();

  Report started;  // first: whoever sees output knows that it runs
  started.kind = Report::started;
  send(started);
  int arriving = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
  pid_t command = arriving < 0 ? -1 : start_command(spec);
  if (command < 0) give_up(Report::error, "start_failed", "start a process", errno);
  serve(spec, command, level, arriving);
  _exit(0);
}

}  // namespace

int signal_to_stop() { return SIGTERM; }
int signal_to_pass() { return SIGUSR2; }
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
  bool inside = false;
  long child = clone_into_group(spec, flags & ~SIGCHLD, inside);
  if (child < 0) child = syscall(SYS_clone, flags, nullptr, nullptr, nullptr, nullptr);
  if (child == 0) run_init(spec, folder, level, files, user, group, inside);
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
