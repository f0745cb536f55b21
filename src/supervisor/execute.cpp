#include "supervisor/execute.hpp"

#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include "supervisor/error_text.hpp"
#include "supervisor/root.hpp"

namespace spell::supervisor {

namespace {

[[noreturn]] void cannot_run(int error) {
  for (const char* text : {"spell: cannot run the command: ", text_of_error(error), "\n"})
    (void)!write(2, text, strlen(text));
  _exit(error == ENOENT || error == ENOTDIR ? 127 : 126);
}

}  // namespace

void become_ordinary(const Spec& spec) {
  drop_capabilities();
  if (spec.user != 0 && !become_user(static_cast<unsigned>(spec.user))) {
    for (const char* text : {"spell: cannot become the run's user: ", text_of_error(errno), "\n"})
      (void)!write(2, text, strlen(text));
    _exit(126);
  }
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
}

void execute_shell(const char* command, char** env) {
  char* arguments[] = {const_cast<char*>("bash"), const_cast<char*>("-c"),
                       const_cast<char*>(command), nullptr};
  for (const char* shell : {"/bin/bash", "/usr/bin/bash", "/usr/local/bin/bash", "/bin/sh"}) {
    arguments[0] = const_cast<char*>(strrchr(shell, '/') + 1);
    execve(shell, arguments, env);
    if (errno != ENOENT && errno != ENOTDIR) cannot_run(errno);
  }
  cannot_run(ENOENT);
}

}  // namespace spell::supervisor
