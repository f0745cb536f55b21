// What a log that is on disk twice, in the worker's spool and in the service's store, cannot avoid:
// what comes from stdin goes to two files, both synced at the end.
//
//     PROGRAM | spell_bench_floor_log FILE FILE
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>

int main(int argc, char** argv) {
  if (argc != 3) return std::fputs("usage: spell_bench_floor_log FILE FILE\n", stderr), 2;
  int files[2];
  for (int i = 0; i < 2; ++i)
    if ((files[i] = ::open(argv[i + 1], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)) < 0)
      return std::perror(argv[i + 1]), 1;
  static char buffer[65536];
  for (ssize_t n; (n = ::read(0, buffer, sizeof buffer)) > 0;)
    for (int fd : files)
      if (::write(fd, buffer, n) != n) return std::perror("write"), 1;
  for (int fd : files)
    if (::fdatasync(fd) != 0) return std::perror("fdatasync"), 1;
}
