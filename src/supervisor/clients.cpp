// The supervisor's callers: what they ask, what they are told, and bringing the service back when
// nobody is there.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "supervisor/clock.hpp"
#include "supervisor/error_text.hpp"
#include "supervisor/run.hpp"

namespace spell::supervisor {

namespace {
constexpr int init_patience_ms = 1000;
}

void Run::add_client(int file, bool tell_at_once) {
  if (file < 0) return;
  for (auto& client : clients_) {
    if (client.file >= 0) continue;
    // The smallest send buffer there is: a client that does not read holds up a few packets, not
    // thousands.
    int smallest = 1;
    setsockopt(file, SOL_SOCKET, SO_SNDBUF, &smallest, sizeof smallest);
    client = {file, tell_at_once};
    ++client_count_;
    alone_since_ = 0;
    return;
  }
  close(file);
}

void Run::drop_client(Client& client) {
  close(client.file);
  client = {};
  if (--client_count_ == 0) alone_since_ = monotonic_ms();
}

void Run::take_request(Client& client) {
  char packet[packet_limit];
  int files[passed_limit];
  ssize_t n = receive_files(client.file, packet, sizeof packet, files);
  // Of one that left without reading all it was told a reset comes first, then what it asked for.
  if (n < 0 && (errno == EAGAIN || errno == EINTR || errno == ECONNRESET)) return;
  if (n <= 0) return drop_client(client);
  FieldReader reader(packet, static_cast<size_t>(n));
  Field field;
  std::string_view what, reason;
  long long until_us = 0, number = 0;
  while (reader.next(field)) {
    if (field.key == "do") what = field.value;
    if (field.key == "reason") reason = field.value;
    if (field.key == "until_us") until_us = number_of(field.value, 0);
    if (field.key == "signal") number = number_of(field.value, 0);
  }
  if (what == "stop") request_stop(reason);
  if (what == "kill") request_kill(reason);
  if (what == "lease") renew_lease(until_us);
  if (what == "allow") allow(until_us);
  if (what == "signal") pass_signal(number);
  if (what == "exec") let_in({packet, static_cast<size_t>(n)}, files);
  close_files(files);
}

/// Init knows the command's process group.
void Run::pass_signal(long long number) const {
  if (phase_ != Phase::running || has_status_ || number <= 0 || number >= NSIG) return;
  sigval value;
  value.sival_int = static_cast<int>(number);
  sigqueue(init_, signal_to_pass(), value);
}

/// Init knows the run from inside: it carries the request out, and answers for itself.
void Run::let_in(std::string_view packet, int (&files)[passed_limit]) {
  int control = files[passed_control];
  if (control < 0) return;
  // Without it an older supervisor could not be told from a run that ends just now.
  FieldWriter<packet_limit> taken;
  taken.put("taken", 1);
  (void)!send(control, taken.data(), taken.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  bool running = phase_ == Phase::running && !has_status_;
  // Init takes them as fast as it can start processes; a few fit in between.
  pollfd room{requests_, POLLOUT, 0};
  do {
    if (running && send_files(requests_, packet.data(), packet.size(), files)) return;
  } while (running && errno == EAGAIN && poll(&room, 1, init_patience_ms) > 0);
  FieldWriter<packet_limit> refusal;
  refusal.put("error_code", running ? "start_failed" : "run_not_running");
  refusal.put("error", running ? text_of_error(errno) : "the run is not running");
  (void)!send(control, refusal.data(), refusal.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
}

void Run::tell_clients() {
  bool somebody = false;
  for (auto& client : clients_) somebody = somebody || (client.file >= 0 && client.behind);
  if (!somebody) return;
  tell_at_us_ = 0;
  FieldWriter<packet_limit> state;
  state.put("started_us", started_us_);
  state.put("spool_end", spool_.end());
  state.put("output_bytes", spool_.output_bytes());
  state.put("log_full", full_since_ != 0 ? 1 : 0);
  state.put("level", phase_ == Phase::starting ? "" : name_of(level_));
  state.put("containment", containment_);
  if (has_status_) state.put("command_ended", 1);
  if (stopped_us_) state.put("stopping", 1);
  for (auto& client : clients_) {
    if (client.file < 0 || !client.behind) continue;
    ssize_t n = send(client.file, state.data(), state.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    // One that has gone may have asked for something first: take_request() finds both.
    if (n >= 0 || (errno != EAGAIN && errno != EINTR)) client.behind = false;
  }
}

bool Run::service_is_away() const {
  if (!spec_.revive || !spec_.service_lock[0]) return false;
  int file = open(spec_.service_lock, O_RDONLY | O_CLOEXEC);
  if (file < 0) return errno == ENOENT;
  bool free = flock(file, LOCK_SH | LOCK_NB) == 0;
  close(file);
  return free;
}

void Run::revive_service() {
  pid_t child = fork();
  if (child > 0) waitpid(child, nullptr, 0);
  if (child != 0) return;
  setsid();
  if (fork() != 0) _exit(0);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  for (int signal : {SIGTERM, SIGHUP, SIGINT}) ::signal(signal, SIG_DFL);
  if (chdir("/") == 0) execve(spec_.revive[0], spec_.revive, environ);
  _exit(127);
}

}  // namespace spell::supervisor
