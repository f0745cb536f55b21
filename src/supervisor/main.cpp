// spell-supervisor FOLDER: runs one command, owns its output, its exit status and its process tree.
// The spec comes on stdin. Its first packet to the caller says that it stands; it lives on when the
// caller goes, which starts it in a session of its own. Single-threaded; of the C++ library it uses
// only what needs no run time. See protocol.hpp for what it says and hears, init.hpp and root.hpp
// for the fence.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "supervisor/run.hpp"

using namespace spell::supervisor;

namespace {

constexpr unsigned rename_noreplace = 1;  ///< RENAME_NOREPLACE: not every libc has it

[[noreturn]] void leave(Start status) { _exit(static_cast<int>(status)); }

int lock_folder() {
  // The file of an earlier run, where the folder has one: see kept_lock. Never over one that is in
  // use.
  syscall(SYS_renameat2, AT_FDCWD, kept_lock, AT_FDCWD, "lock", rename_noreplace);
  int file = open("lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (file < 0) leave(errno == ENOSPC || errno == EDQUOT ? Start::no_space : Start::bad_folder);
  struct flock whole {};
  whole.l_type = F_WRLCK;
  if (fcntl(file, F_OFD_SETLK, &whole) != 0) leave(Start::locked);
  return file;
}

}  // namespace

int main(int count, char** arguments) {
  static const char usage[] = "usage: spell-supervisor FOLDER < SPEC (started by Spell's worker)\n";
  if (count != 2) {
    (void)!write(2, usage, sizeof usage - 1);
    return static_cast<int>(Start::usage);
  }
  umask(077);
  static Spec spec;
  if (chdir(arguments[1]) != 0) leave(Start::bad_folder);
  if (!read_spec(0, spec)) leave(Start::bad_spec);
  int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null >= 0) dup2(null, 0), close(null);

  int lock = lock_folder();
  static Spool spool;
  if (!spool.create("spool"))
    leave(errno == EEXIST   ? Start::used_folder
          : errno == ENOSPC ? Start::no_space
                            : Start::bad_folder);
  int client = client_descriptor;
  if (fcntl(client, F_SETFD, FD_CLOEXEC) != 0) client = -1;

  static MaskValues secrets;
  if (!secrets.set(spec.masks)) leave(Start::system);
  struct sigaction on_end {};
  on_end.sa_handler = [](int) { told_to_end = 1; };
  sigaction(SIGTERM, &on_end, nullptr);
  signal(SIGHUP, SIG_IGN);
  signal(SIGINT, SIG_IGN);
  sigset_t end;
  sigemptyset(&end);
  sigaddset(&end, SIGTERM);
  sigprocmask(SIG_BLOCK, &end, nullptr);  // delivered only where the loop waits
  static char folder[PATH_MAX];
  if (!getcwd(folder, sizeof folder)) return static_cast<int>(Start::bad_folder);
  static Run run(spec, secrets, folder, lock, spool);
  run.live(client);
  return 0;
}
