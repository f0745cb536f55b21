// spell-supervisor FOLDER: runs one command, owns its output, its exit status and its process tree.
// The spec comes on stdin. Its first packet to the caller says that it stands; it lives on when the
// caller goes, which starts it in a session of its own. Single-threaded; of the C++ library it uses
// only what needs no run time. See protocol.hpp for what it says and hears, init.hpp and root.hpp
// for the fence.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "supervisor/run.hpp"

using namespace spell::supervisor;

namespace {

[[noreturn]] void leave(Start status) { _exit(static_cast<int>(status)); }

int lock_folder() {
  int file = open("lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (file < 0) leave(errno == ENOSPC || errno == EDQUOT ? Start::no_space : Start::bad_folder);
  struct flock whole {};
  whole.l_type = F_WRLCK;
  if (fcntl(file, F_OFD_SETLK, &whole) != 0) leave(Start::locked);
  return file;
}

int listen_here() {
  int file = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  sockaddr_un name{AF_UNIX, "sock"};
  unlink("sock");
  if (file < 0 || bind(file, reinterpret_cast<sockaddr*>(&name), sizeof name) != 0 ||
      listen(file, 16) != 0)
    leave(Start::system);
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
  int listener = listen_here();
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
  static Run run(spec, secrets, folder, lock, listener, spool);
  run.live(client);
  return 0;
}
