#include "local_program.hpp"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>

#include <vector>

extern char** environ;

namespace spell::cli {

namespace {

/// While this lives, ^C and ^\ end the program that is waited for, not this one.
class LeaveInterrupts {
 public:
  LeaveInterrupts() {
    struct sigaction ignore {};
    ignore.sa_handler = SIG_IGN;
    ::sigaction(SIGINT, &ignore, &interrupt_);
    ::sigaction(SIGQUIT, &ignore, &quit_);
  }
  ~LeaveInterrupts() {
    ::sigaction(SIGINT, &interrupt_, nullptr);
    ::sigaction(SIGQUIT, &quit_, nullptr);
  }
  LeaveInterrupts(const LeaveInterrupts&) = delete;
  LeaveInterrupts& operator=(const LeaveInterrupts&) = delete;

 private:
  struct sigaction interrupt_ {
  }, quit_{};
};

}  // namespace

Result<int> run_local_program(const std::string& command, const std::string& variable,
                              bool output_to_stderr) {
  std::vector<char*> environment;
  std::string name = variable.substr(0, variable.find('=') + 1);
  for (char** at = environ; *at; ++at)
    if (!std::string_view(*at).starts_with(name)) environment.push_back(*at);
  environment.push_back(const_cast<char*>(variable.c_str()));
  environment.push_back(nullptr);
  std::string words[] = {"sh", "-c", command};
  char* arguments[] = {words[0].data(), words[1].data(), words[2].data(), nullptr};

  LeaveInterrupts leave;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_t actions;
  ::posix_spawnattr_init(&attributes);
  ::posix_spawn_file_actions_init(&actions);
  sigset_t defaults;
  sigemptyset(&defaults);
  sigaddset(&defaults, SIGINT);
  sigaddset(&defaults, SIGQUIT);
  ::posix_spawnattr_setsigdefault(&attributes, &defaults);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
  if (output_to_stderr) ::posix_spawn_file_actions_adddup2(&actions, 2, 1);
  pid_t pid = 0;
  int failure =
      ::posix_spawn(&pid, "/bin/sh", &actions, &attributes, arguments, environment.data());
  ::posix_spawn_file_actions_destroy(&actions);
  ::posix_spawnattr_destroy(&attributes);
  if (failure != 0) return Error("io_error", std::string("start /bin/sh: ") + ::strerror(failure));
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

}  // namespace spell::cli
