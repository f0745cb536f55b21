// What no service can avoid to run a command contained and durably: a helper process in PID and
// mount namespaces of its own that starts `bash -c true`, writes what a spool must hold, syncs it,
// and waits. Prints the seconds for all.
//
//     spell_bench_floor_runs COUNT PARALLEL FOLDER
#include <fcntl.h>
#include <sched.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

namespace {

/// In the helper: one contained run. The exit status of the command.
int contained(const char* spool) {
  int namespaces = CLONE_NEWPID | CLONE_NEWNS | (::geteuid() == 0 ? 0 : CLONE_NEWUSER);
  if (::unshare(namespaces) != 0) {
    std::perror("unshare");
    return 125;
  }
  pid_t command = ::fork();
  if (command == 0) {
    ::execl("/bin/bash", "bash", "-c", "true", nullptr);
    ::_exit(127);
  }
  int status = 0;
  if (command < 0 || ::waitpid(command, &status, 0) != command) return 125;
  int fd = ::open(spool, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  char record[64] = {};
  bool kept =
      fd >= 0 && ::write(fd, record, sizeof record) == sizeof record && ::fdatasync(fd) == 0;
  return kept && WIFEXITED(status) ? WEXITSTATUS(status) : 125;
}

bool run_one(const std::string& self, std::string spool) {
  std::string mode = "--one";
  char* arguments[] = {const_cast<char*>(self.c_str()), mode.data(), spool.data(), nullptr};
  pid_t helper = 0;
  if (::posix_spawn(&helper, "/proc/self/exe", nullptr, nullptr, arguments, environ) != 0)
    return false;
  int status = 0;
  return ::waitpid(helper, &status, 0) == helper && status == 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 3 && std::strcmp(argv[1], "--one") == 0) return contained(argv[2]);
  if (argc != 4)
    return std::fputs("usage: spell_bench_floor_runs COUNT PARALLEL FOLDER\n", stderr), 2;
  int count = std::atoi(argv[1]), parallel = std::atoi(argv[2]);
  std::atomic<int> next = 0;
  std::atomic<bool> failed = false;
  auto start = std::chrono::steady_clock::now();
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < parallel; ++i)
      threads.emplace_back([&] {
        for (int n; (n = next++) < count;)
          if (!run_one(argv[0], std::string(argv[3]) + "/spool-" + std::to_string(n)))
            failed = true;
      });
  }
  if (failed) return std::fputs("spell_bench_floor_runs: a run failed\n", stderr), 1;
  std::printf("%f\n",
              std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
}
