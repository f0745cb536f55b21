/* Preloaded: ends spelld by SIGKILL before its Nth call that changes the disk, N being read from the
   file $KILL_AT; counts while that file is there, from 1 each time it was made anew. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static ino_t seen;
static long count;

static void step(void) {
  const char* path = getenv("KILL_AT");
  struct stat st;
  int saved = errno;
  if (path && strcmp(program_invocation_short_name, "spelld") == 0 && stat(path, &st) == 0) {
    pthread_mutex_lock(&mutex);
    if (st.st_ino != seen) count = 0;
    seen = st.st_ino;
    char text[32] = "";
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file >= 0) {
      if (read(file, text, sizeof text - 1) > 0 && ++count == atol(text)) kill(getpid(), SIGKILL);
      close(file);
    }
    pthread_mutex_unlock(&mutex);
  }
  errno = saved;
}

#define WRAP(type, name, parameters, arguments)                   \
  type name parameters {                                          \
    static type(*real) parameters;                                \
    if (!real) real = (type(*) parameters)dlsym(RTLD_NEXT, #name); \
    step();                                                       \
    return real arguments;                                        \
  }

WRAP(int, fsync, (int fd), (fd))
WRAP(int, fdatasync, (int fd), (fd))
WRAP(int, rename, (const char* from, const char* to), (from, to))
WRAP(int, unlink, (const char* path), (path))
WRAP(int, unlinkat, (int folder, const char* path, int flags), (folder, path, flags))
WRAP(int, ftruncate, (int fd, off_t size), (fd, size))
WRAP(int, ftruncate64, (int fd, off64_t size), (fd, size))
WRAP(ssize_t, pwrite, (int fd, const void* bytes, size_t size, off_t at), (fd, bytes, size, at))
WRAP(ssize_t, pwrite64, (int fd, const void* bytes, size_t size, off64_t at), (fd, bytes, size, at))
