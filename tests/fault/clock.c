/* Preloaded: all clocks of a program are ahead of the computer's by what the file $SPELL_TEST_CLOCK says, and
   what waits for a time waits by them. The file is shared: see clock.py, which puts the clocks forward in steps
   and, between two of them, waits until every thread that waits has seen the last one. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { slots = 1000, size = 1 << 16, slice_ms = 3 };
enum { busy, waiting };
static struct {
  _Atomic int64_t ahead_ns;
  _Atomic uint64_t step;
  struct slot {
    _Atomic int32_t thread, state;
    _Atomic uint64_t seen;
  } slot[slots];
} * shared;
static pthread_key_t at_end;
static __thread struct slot* mine;

#define REAL(name) ((__typeof__(&name))real(#name))
static void* real(const char* name) {
  /* Of pthread_cond_…() there are older versions too, on some machines. */
  void* found = dlvsym(RTLD_NEXT, name, "GLIBC_2.3.2");
  return found ? found : dlsym(RTLD_NEXT, name);
}

static void leave(void* slot) { ((struct slot*)slot)->thread = 0; }

__attribute__((constructor)) static void begin(void) {
  const char* path = getenv("SPELL_TEST_CLOCK");
  int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
  if (file < 0) abort();
  void* there = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (there == MAP_FAILED || pthread_key_create(&at_end, leave) != 0) abort();
  close(file);
  shared = there;
}

/* Before a look at the clock: what is taken for seen is what that look, or a later one, shows. */
static void mark(int state, uint64_t step) {
  if (!mine) {
    int32_t nobody;
    for (int i = 0; i < slots && !mine; ++i)
      if (nobody = 0, atomic_compare_exchange_strong(&shared->slot[i].thread, &nobody, (int32_t)syscall(SYS_gettid)))
        mine = &shared->slot[i];
    if (!mine) abort();
    pthread_setspecific(at_end, mine);
  }
  mine->seen = step;
  mine->state = state;
}

static int64_t ns_of(struct timespec t) { return t.tv_sec * 1000000000LL + t.tv_nsec; }
static struct timespec time_of(int64_t ns) { return (struct timespec){ns / 1000000000, ns % 1000000000}; }

int clock_gettime(clockid_t clock, struct timespec* out) {
  static __typeof__(&clock_gettime) next;
  if (!next) next = REAL(clock_gettime);
  int result = next(clock, out);
  if (result == 0 && shared && clock != CLOCK_PROCESS_CPUTIME_ID && clock != CLOCK_THREAD_CPUTIME_ID)
    *out = time_of(ns_of(*out) + shared->ahead_ns);
  return result;
}
static int64_t now(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return ns_of(t);
}
int gettimeofday(struct timeval* restrict out, void* restrict zone) {
  (void)zone;
  int64_t ns = now(CLOCK_REALTIME);
  *out = (struct timeval){ns / 1000000000, ns % 1000000000 / 1000};
  return 0;
}
time_t time(time_t* out) {
  time_t t = now(CLOCK_REALTIME) / 1000000000;
  if (out) *out = t;
  return t;
}

/* How long to wait at a time: 0 when the deadline has come. */
static int next_slice(int64_t deadline) {
  uint64_t step = shared->step;
  int64_t left = deadline - now(CLOCK_MONOTONIC);
  if (left <= 0) return 0;
  mark(waiting, step);
  return left > slice_ms * 1000000LL ? slice_ms : (int)((left + 999999) / 1000000);
}
static int64_t deadline_of(int timeout_ms) {
  return timeout_ms < 0 ? INT64_MAX : now(CLOCK_MONOTONIC) + timeout_ms * 1000000LL;
}

#define WAIT(timeout, call)                            \
  int64_t deadline = deadline_of(timeout);             \
  for (;;) {                                           \
    int ms = timeout == 0 ? 0 : next_slice(deadline);  \
    int result = call;                                 \
    if (result == 0 && ms > 0) continue;               \
    int error = errno;                                 \
    if (timeout != 0) mark(busy, 0);                   \
    errno = error;                                     \
    return result;                                     \
  }

int poll(struct pollfd* files, nfds_t count, int timeout) {
  static __typeof__(&poll) next;
  if (!next) next = REAL(poll);
  WAIT(timeout, next(files, count, ms))
}
int epoll_wait(int epoll, struct epoll_event* events, int most, int timeout) {
  static __typeof__(&epoll_wait) next;
  if (!next) next = REAL(epoll_wait);
  WAIT(timeout, next(epoll, events, most, ms))
}
/* Asio does without: it gives epoll_wait() a time-out. */
int timerfd_create(int clock, int flags) {
  (void)clock, (void)flags;
  errno = ENOSYS;
  return -1;
}

/* Who waits for a condition looks at what he waits for whenever he is woken; so he is, after each slice. */
static int wait_condition(pthread_cond_t* condition, pthread_mutex_t* mutex, int64_t deadline) {
  static __typeof__(&pthread_cond_clockwait) next;
  if (!next) next = REAL(pthread_cond_clockwait);
  int ms = next_slice(deadline);
  if (ms == 0) return ETIMEDOUT;
  struct timespec end = time_of(now(CLOCK_MONOTONIC) - shared->ahead_ns + ms * 1000000LL);
  int result = next(condition, mutex, CLOCK_MONOTONIC, &end);
  mark(busy, 0);
  return result == ETIMEDOUT ? 0 : result;
}
int pthread_cond_clockwait(pthread_cond_t* condition, pthread_mutex_t* mutex, clockid_t clock,
                           const struct timespec* until) {
  return wait_condition(condition, mutex, now(CLOCK_MONOTONIC) + ns_of(*until) - now(clock));
}
int pthread_cond_timedwait(pthread_cond_t* restrict condition, pthread_mutex_t* restrict mutex,
                           const struct timespec* restrict until) {
  return pthread_cond_clockwait(condition, mutex, CLOCK_REALTIME, until);
}
int pthread_cond_wait(pthread_cond_t* restrict condition, pthread_mutex_t* restrict mutex) {
  return wait_condition(condition, mutex, INT64_MAX);
}
int clock_nanosleep(clockid_t clock, int flags, const struct timespec* asked, struct timespec* left) {
  static __typeof__(&clock_nanosleep) next;
  if (!next) next = REAL(clock_nanosleep);
  (void)left;
  int64_t wait = ns_of(*asked) - (flags & TIMER_ABSTIME ? now(clock) : 0), deadline = now(CLOCK_MONOTONIC) + wait;
  for (int ms; (ms = next_slice(deadline)) != 0;) {
    struct timespec slice = time_of(ms * 1000000LL);
    next(CLOCK_MONOTONIC, 0, &slice, NULL);
  }
  mark(busy, 0);
  return 0;
}
int nanosleep(const struct timespec* asked, struct timespec* left) {
  return clock_nanosleep(CLOCK_MONOTONIC, 0, asked, left);
}

/* The kernel's own timers go on as ever: shorter, so that they run out in what passes for an hour. */
int setsockopt(int fd, int level, int name, const void* value, socklen_t length) {
  static __typeof__(&setsockopt) next;
  if (!next) next = REAL(setsockopt);
  int seconds = 1, limit_ms = 3000;
  if (level == IPPROTO_TCP && (name == TCP_KEEPIDLE || name == TCP_KEEPINTVL)) value = &seconds;
  if (level == IPPROTO_TCP && name == TCP_USER_TIMEOUT && *(const int*)value != 0) value = &limit_ms;
  return next(fd, level, name, value, length);
}
