#include "supervisor/run.hpp"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "supervisor/clock.hpp"
#include "supervisor/error_text.hpp"

namespace spell::supervisor {

volatile sig_atomic_t told_to_end = 0;

namespace {

constexpr int pipe_size = 1 << 20;
constexpr long long look_limit_ms = 10'000;
constexpr size_t small_read = 32 << 10;
constexpr long long hold_us = 1000;
constexpr long long start_told_us = 3000;  ///< a shorter command is told of once, when it has ended
constexpr long long listens_us = 20'000;   ///< a shorter run needs no socket: see listen_here()
constexpr long long listen_again_us = 1'000'000;
constexpr long long last_words =
    16 << 20;  ///< output beyond the log's limit that a run may write while it is being stopped
char buffer[frame_payload_limit];

bool make_pipe(int (&ends)[2]) {
  if (pipe2(ends, O_CLOEXEC) != 0) return false;
  fcntl(ends[0], F_SETFL, O_NONBLOCK);
  fcntl(ends[0], F_SETPIPE_SZ, pipe_size);
  return true;
}

void copy(char* out, size_t room, std::string_view text) {
  size_t size = text.size() < room - 1 ? text.size() : room - 1;
  memcpy(out, text.data(), size);
  out[size] = 0;
}

void read_boot_id(char* out, size_t room) {
  int file = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
  ssize_t n = file < 0 ? 0 : read(file, out, room - 1);
  if (file >= 0) close(file);
  while (n > 0 && out[n - 1] == '\n') --n;
  out[n > 0 ? n : 0] = 0;
}

/// Field 22 of /proc/PID/stat: with the id it names a process for good.
long long start_of(int process) {
  char path[48] = "/proc/", text[1024];
  strcat(strcat(path, Digits(process).text()), "/stat");
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return 0;
  ssize_t n = read(file, text, sizeof text - 1);
  close(file);
  if (n <= 0) return 0;
  text[n] = 0;
  char* at = strrchr(text, ')');
  for (int field = 2; at && field < 22; ++field) at = strchr(at + 1, ' ');
  return at ? strtoll(at + 1, nullptr, 10) : 0;
}

}  // namespace

bool Run::start(int level) {
  level_ = level;
  int out[2], errors[2] = {-1, -1}, report[2], requests[2];
  if (!make_pipe(out) || (spec_.split_output && !make_pipe(errors)) ||
      pipe2(report, O_CLOEXEC | O_NONBLOCK) != 0 ||
      socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, requests) != 0) {
    copy(error_code_, sizeof error_code_, "start_failed");
    copy(error_, sizeof error_, "cannot make pipes");
    return false;
  }
  if (level == best_effort) prctl(PR_SET_CHILD_SUBREAPER, 1);
  init_ = start_init(spec_, folder_, level,
                     {out[1], spec_.split_output ? errors[1] : out[1], report[1], requests[1]});
  int error = errno;
  close(out[1]);
  close(report[1]);
  close(requests[1]);
  if (spec_.split_output) close(errors[1]);
  sources_[0].file = out[0];
  sources_[1].file = errors[0];
  sources_[1].flags = frame_stderr;
  reports_ = report[0];
  requests_ = requests[0];
  if (init_ >= 0) return true;
  copy(error_, sizeof error_, "cannot make namespaces: ");
  strncat(error_, text_of_error(error), sizeof error_ - strlen(error_) - 1);
  // As in a chroot, or where an administrator allows none.
  bool none_here = error == EPERM || error == EINVAL || error == ENOSPC || error == EUSERS;
  bool no_weaker = level == weakest() && level < best_effort;
  copy(error_code_, sizeof error_code_, none_here && no_weaker ? "no_isolation" : "start_failed");
  return false;
}

void Run::write_lock_file() {
  FieldWriter<512> content;
  content.put("boot", boot_);
  content.put("run", spec_.run);
  content.put("pid", getpid());
  if (init_ > 0) {
    content.put("init", init_);
    content.put("init_start", start_of(init_));
  }
  (void)!pwrite(lock_, content.data(), content.size(), 0);
}

/// For callers that come later: who started this run has a connection. A short run that keeps it
/// spares itself the socket, whose making and removing costs more than all else it does to the
/// disk. Who comes too early waits for the socket, and for the lock file's change after it.
void Run::listen_here() {
  sockaddr_un name{AF_UNIX, "sock"};
  int file = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  unlink("sock");
  if (file >= 0 && bind(file, reinterpret_cast<sockaddr*>(&name), sizeof name) == 0 &&
      listen(file, 16) == 0) {
    listener_ = file;
    listen_at_us_ = 0;
    return write_lock_file();
  }
  if (file >= 0) close(file);
  listen_at_us_ = monotonic_us() + listen_again_us;  // the disk is full
}

void Run::live(int first_client) {
  read_boot_id(boot_, sizeof boot_);
  write_lock_file();
  alone_since_ = monotonic_ms();
  listen_at_us_ = monotonic_us() + listens_us;
  add_client(first_client, true);
  if (client_count_ == 0) listen_here();
  groups_.watch(spec_);
  if (spec_.lease_until_us > 0) renew_lease(spec_.lease_until_us);
  if (spec_.allowed_until_us > 0) allow(spec_.allowed_until_us);
  tell_clients();
  // Of a computer that was frozen in between: what another may have by now is not begun.
  if (lease_is_over()) {
    level_ = spec_.level;
    request_kill("lease_expired");
    begin_draining();
  }
  for (int level = spec_.level; phase_ == Phase::starting && init_ < 0 && level <= weakest();
       ++level) {
    if (start(level)) break;
    for (auto& source : sources_) close(source.file), source.file = -1;
    close(reports_), reports_ = -1;
    close(requests_), requests_ = -1;
    copy(containment_, sizeof containment_, error_);
    if (level == weakest()) begin_draining();
  }
  if (init_ > 0) error_code_[0] = error_[0] = 0;
  write_lock_file();
  while (phase_ != Phase::over) {
    wait_for_events();
    if (phase_ != Phase::over) tell_clients();
  }
  if (listener_ >= 0) unlink("sock");
  close(lock_);  // before the clients' ends, and those still waiting: who sees his close finds the
                 // lock free
  close(listener_);
  // Those close with the end of this process, which the one that started it then waits for.
  if (client_count_ == 0 && service_is_away()) revive_service();
}

void Run::take_report() {
  Report report;
  ssize_t n;
  while ((n = read(reports_, &report, sizeof report)) == static_cast<ssize_t>(sizeof report)) {
    switch (report.kind) {
      case Report::started:
        phase_ = Phase::running;
        started_us_ = report.time_us;
        tell_at_us_ = monotonic_us() + start_told_us;
        if (spec_.timeout_s > 0) {
          long long end = started_us_ + spec_.timeout_s * 1'000'000;
          itimerspec when{{0, 0}, {end / 1'000'000, end % 1'000'000 * 1000}};
          timer_ = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
          timerfd_settime(timer_, TFD_TIMER_ABSTIME, &when, nullptr);
        }
        break;
      case Report::ended:
        has_status_ = true;
        status_ = report.status;
        ended_us_ = report.time_us;
        break;
      case Report::no_fence:
        no_fence_ = true;
        copy(containment_, sizeof containment_, report.text);
        break;
      case Report::error:
        copy(error_code_, sizeof error_code_, report.code);
        copy(error_, sizeof error_, report.text);
        break;
    }
    if (report.kind != Report::started)
      for (auto& client : clients_) client.behind = true;
  }
  if (n == 0) init_is_gone();
}

void Run::init_is_gone() {
  close(reports_);
  close(requests_);
  reports_ = requests_ = -1;
  // Of a pid 1 this returns when the kernel has ended all that was in its namespace.
  while (waitpid(init_, nullptr, 0) < 0 && errno == EINTR) {
  }
  init_ = -1;
  if (level_ == best_effort) end_children();
  // Only an init that has said so could not make its fence: one that was killed is no reason to try
  // with less.
  bool no_fence = no_fence_ && level_ < best_effort && !killed_;
  no_fence_ = false;
  if (no_fence && level_ == weakest()) {
    no_fence = false;
    copy(error_code_, sizeof error_code_, "no_isolation");
    copy(error_, sizeof error_, containment_[0] ? containment_ : "the fence could not be made");
  }
  if (!no_fence) return begin_draining();
  for (auto& source : sources_)
    if (source.file >= 0) close(source.file), source.file = -1;
  while (level_ < weakest())
    if (start(level_ + 1)) {
      error_code_[0] = error_[0] = 0;
      write_lock_file();
      if (stopping_) kill(init_, signal_to_stop());
      return;
    }
  begin_draining();
}

void Run::begin_draining() {
  phase_ = Phase::draining;
  note_memory();
  // What became of the command died with the init. Nobody here had asked for that.
  end_unknown_ = !has_status_ && !error_code_[0] && !stopping_ && !killed_;
  // What the pipes can hold, and a frame that waits for space: who writes more is a stray that
  // could not be ended.
  drain_limit_ = spool_.output_bytes() + 4LL * pipe_size;
  if (!ended_us_) ended_us_ = boot_us();
  kill_at_ = 0;
  if (timer_ >= 0) close(timer_), timer_ = -1;
  if (lease_timer_ >= 0) close(lease_timer_), lease_timer_ = -1;
  if (allowance_timer_ >= 0) close(allowance_timer_), allowance_timer_ = -1;
  end_.put("started_us", started_us_);
  if (stopped_us_) end_.put("stopped_us", stopped_us_);
  if (error_code_[0]) {
    end_.put("error_code", error_code_);
    end_.put("error", error_);
  } else {
    int signal = has_status_ ? (WIFSIGNALED(status_) ? WTERMSIG(status_) : 0) : SIGKILL;
    end_.put("code", signal ? 128 + signal : WEXITSTATUS(status_));
    if (signal) end_.put("signal", signal);
  }
  end_.put("ended_us", ended_us_);
  end_.put("ended_by", ended_by_);
  end_.put("level", name_of(level_));
  end_.put("containment", containment_);
  end_.put("end", "");
  finish();
}

/// Once the tree is gone nothing writes any more: what the pipes hold is the rest.
void Run::finish() {
  long long now = monotonic_us();
  for (auto& source : sources_) {
    while (source.file >= 0 && !spool_.pending()) {
      if (!pump(source, now) && source.file >= 0 && !spool_.pending()) close_source(source);
    }
    if (spool_.pending()) return;
  }
  if (!end_appended_ && !end_unknown_) spool_.append(frame_end, 0, end_.data(), end_.size());
  end_appended_ = true;
  if (spool_.pending()) return note_full(true, now / 1000);
  if (spool_.output_bytes() > 0) spool_.sync();
  phase_ = Phase::over;
}

long long Run::log_limit() const {
  if (phase_ == Phase::draining) return drain_limit_;
  return spec_.log_limit + (stopping_ ? last_words : 0);
}

/// Reads what there is, at most a few buffers full. False: there was nothing.
bool Run::pump(Source& source, long long now) {
  size_t total = 0;
  for (int round = 0; round < 4 && spool_.output_bytes() < log_limit(); ++round) {
    size_t held = source.mask.held();
    ssize_t n = read(source.file, buffer + held, sizeof buffer - held);
    if (n < 0) break;
    if (n == 0) {
      close_source(source);
      break;
    }
    total += static_cast<size_t>(n);
    spool_output(source, held + static_cast<size_t>(n), false);
    if (spool_.pending() || n < static_cast<ssize_t>(small_read)) break;
  }
  // The second of two small reads in quick succession is a burst: let it gather.
  hold_until_us_ = total < small_read && now - pumped_us_ < 2 * hold_us ? now + hold_us : 0;
  pumped_us_ = now;
  return total > 0;
}

/// What is in the buffer, behind what the mask holds back of this source.
void Run::spool_output(Source& source, size_t size, bool last) {
  if (secrets_.any()) size = source.mask.apply(secrets_, buffer, size, last);
  if (size == 0) return;
  spool_.append(frame_output, source.flags, buffer, size);
  for (auto& client : clients_) client.behind = true;
  if (spool_.pending()) note_full(true, monotonic_ms());
}

void Run::close_source(Source& source) {
  spool_output(source, source.mask.held(), true);
  close(source.file);
  source.file = -1;
}

void Run::note_full(bool full, long long now) {
  if (full == (full_since_ != 0)) return;
  full_since_ = full ? now : 0;
  retry_at_ = full ? now + 100 : 0;
  for (auto& client : clients_) client.behind = true;
}

void Run::request_stop(std::string_view reason) {
  if (stopping_ || killed_ || phase_ >= Phase::draining) return;
  stopping_ = true;
  stopped_us_ = boot_us();
  copy(ended_by_, sizeof ended_by_, reason);
  kill_at_ = monotonic_ms() + spec_.stop_grace_s * 1000;
  if (init_ > 0) kill(init_, signal_to_stop());
}

void Run::request_kill(std::string_view reason) {
  if (phase_ >= Phase::draining) return;
  if (!reason.empty() && !killed_) copy(ended_by_, sizeof ended_by_, reason);
  killed_ = true;
  if (!stopped_us_) stopped_us_ = boot_us();
  kill_at_ = 0;
  if (init_ > 0) kill(init_, signal_to_kill(level_));
}

bool Run::lease_is_over() const { return lease_until_us_ && boot_us() >= lease_until_us_; }

/// From then on another may have the run: its time is that of a computer that sleeps, too.
void Run::renew_lease(long long until_us) {
  // One that was over before it was known to go on is over.
  if (phase_ >= Phase::draining || lease_is_over()) return;
  if (lease_timer_ < 0) lease_timer_ = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
  itimerspec when{{0, 0}, {until_us / 1'000'000, until_us % 1'000'000 * 1000}};
  lease_until_us_ = until_us;
  timerfd_settime(lease_timer_, TFD_TIMER_ABSTIME, &when, nullptr);
}

/// What it costs is paid for until then, a sleep of the computer included.
void Run::allow(long long until_us) {
  if (phase_ >= Phase::draining || stopping_ || killed_ || until_us <= 0) return;
  if (allowance_timer_ < 0)
    allowance_timer_ = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
  itimerspec when{{0, 0}, {until_us / 1'000'000, until_us % 1'000'000 * 1000}};
  timerfd_settime(allowance_timer_, TFD_TIMER_ABSTIME, &when, nullptr);
}

/// Who is over his memory is ended as a whole: nothing of it goes on half dead.
void Run::look_at_memory(long long now) {
  look_at_ = 0;
  if (phase_ >= Phase::draining || killed_) return;
  auto killed = groups_.killed();
  if (killed == Groups::Killed::over_limit) return request_kill(stopping_ ? "" : ended_by_memory);
  // The kernel says that it is about to end somebody, and not when it has: as a rule at once. Of a
  // group around these it may be another's.
  if (killed == Groups::Killed::nobody && look_pause_ < look_limit_ms)
    look_at_ = now + (look_pause_ *= 2);
}

/// What the kernel has ended for lack of memory says so, whatever else is known of its end.
void Run::note_memory() {
  auto killed = groups_.killed();
  groups_.remove(spec_);
  if (killed == Groups::Killed::over_limit) {
    if (!ended_by_[0]) copy(ended_by_, sizeof ended_by_, ended_by_memory);
    has_status_ = false;
    killed_ = true;
    error_code_[0] = 0;
  } else if (killed == Groups::Killed::for_others && !has_status_ && !error_code_[0] &&
             !ended_by_[0]) {
    copy(ended_by_, sizeof ended_by_, ended_by_machine_memory);
    killed_ = true;
  }
}

void Run::keep_deadlines(long long now) {
  if (look_at_ && now >= look_at_) look_at_memory(now);
  if (told_to_end) request_stop("shutdown");
  if (kill_at_ && now >= kill_at_) request_kill("");
  if (spool_.pending() && now >= retry_at_) {
    spool_.retry();
    retry_at_ = now + 500;
    if (!spool_.pending()) {
      note_full(false, now);
      for (auto& client : clients_) client.behind = true;
      if (phase_ == Phase::draining && spool_.end() > 0) finish();
    }
  }
  if (full_since_ && now >= full_since_ + spec_.log_wait_s * 1000) request_stop("log_limit");
  if (alone_since_ && now >= alone_since_ + 10'000 && now >= revived_at_ + 30'000) {
    if (service_is_away()) revive_service();
    revived_at_ = now;
  }
}

void Run::wait_for_events() {
  pollfd files[8 + client_limit];
  nfds_t count = 0;
  auto add = [&](int file, short events) {
    files[count] = {file, events, 0};
    return count++;
  };
  long long now_us = monotonic_us(), now = now_us / 1000;
  bool reading = !spool_.pending() && phase_ != Phase::draining;
  bool at_limit = spool_.output_bytes() >= log_limit();
  bool holding = hold_until_us_ > now_us;
  bool wanted = reading && !holding && !(at_limit && full_since_);

  // Who comes when all places are taken waits for one.
  nfds_t listener = add(client_count_ < client_limit ? listener_ : -1, POLLIN),
         reports = add(reports_, POLLIN), timer = add(timer_, POLLIN);
  add(killed_ ? -1 : lease_timer_, POLLIN);
  nfds_t allowance = add(allowance_timer_, POLLIN),
         memory = add(killed_ ? -1 : groups_.event(), POLLIN);
  nfds_t first_source = count;
  for (auto& source : sources_) add(wanted ? source.file : -1, POLLIN);
  nfds_t first_client = count;
  for (auto& client : clients_)
    add(client.file, static_cast<short>(POLLIN | (client.behind ? POLLOUT : 0)));

  long long wait_us = -1;
  auto wake_at_us = [&](long long at) {
    long long left = at > now_us ? at - now_us : 0;
    if (wait_us < 0 || left < wait_us) wait_us = left;
  };
  auto wake_at = [&](long long at_ms) {
    if (!at_ms) return;
    wake_at_us(at_ms > now ? at_ms * 1000 : now_us);
  };
  wake_at(kill_at_);
  wake_at(look_at_);
  if (spool_.pending()) wake_at(retry_at_);
  if (full_since_ && !stopping_ && phase_ != Phase::draining)
    wake_at(full_since_ + spec_.log_wait_s * 1000);
  if (alone_since_)
    wake_at(alone_since_ + 10'000 > revived_at_ + 30'000 ? alone_since_ + 10'000
                                                         : revived_at_ + 30'000);
  if (reading && holding) wake_at_us(hold_until_us_);
  if (tell_at_us_) wake_at_us(tell_at_us_);
  if (listen_at_us_) wake_at_us(listen_at_us_);
  timespec wait{wait_us / 1'000'000, wait_us % 1'000'000 * 1000};
  sigset_t none;
  sigemptyset(&none);
  int ready = ppoll(files, count, wait_us < 0 ? nullptr : &wait, &none);
  now_us = monotonic_us();
  now = now_us / 1000;

  // Of a computer that was frozen: before anything else.
  if (lease_is_over()) request_kill("lease_expired");
  if (ready > 0) {
    if (files[memory].revents) look_pause_ = 1, look_at_memory(now);
    if (files[reports].revents) take_report();
    for (nfds_t i = 0; i < 2; ++i) {
      if (!files[first_source + i].revents || sources_[i].file < 0 || spool_.pending()) continue;
      if (spool_.output_bytes() >= log_limit())
        note_full(true, now);
      else
        pump(sources_[i], now_us);
    }
    for (nfds_t i = 0; i < client_limit; ++i) {
      if (files[first_client + i].revents & (POLLIN | POLLHUP | POLLERR)) take_request(clients_[i]);
    }
    if (files[timer].revents) request_stop("timeout"), close(timer_), timer_ = -1;
    if (files[allowance].revents)
      request_stop("allowance"), close(allowance_timer_), allowance_timer_ = -1;
    if (files[listener].revents)
      add_client(accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK), true);
  }
  if (tell_at_us_ && now_us >= tell_at_us_) {
    tell_at_us_ = 0;
    for (auto& client : clients_) client.behind = true;
  }
  if (listen_at_us_ && (client_count_ == 0 || now_us >= listen_at_us_)) listen_here();
  keep_deadlines(now);
  if (full_since_ && !spool_.pending() && spool_.output_bytes() < log_limit())
    note_full(false, now);
}

}  // namespace spell::supervisor
