#include "supervisor/guests.hpp"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "supervisor/clock.hpp"
#include "supervisor/error_text.hpp"
#include "supervisor/execute.hpp"
#include "supervisor/passing.hpp"
#include "supervisor/process.hpp"

namespace spell::supervisor {

namespace {

constexpr long long hang_up_grace_ms = 2000;

/// Of the form that protocol.hpp describes.
struct GuestSpec {
  const char* command = nullptr;
  char** env = nullptr;
  bool terminal = false;
};

/// The run's environment, with what the guest brings in place of the same names.
bool read_guest(int file, const Spec& run, GuestSpec& out) {
  char* bytes;
  size_t size, more = 0, own = 0;
  if (!read_all(file, bytes, size)) return false;
  Field field;
  bool whole = false;
  for (FieldReader reader(bytes, size); reader.next(field);) {
    more += field.key == "env";
    whole = field.key == "end";
  }
  while (run.env[own]) ++own;
  out.env = static_cast<char**>(calloc(own + more + 1, sizeof(char*)));
  if (!whole || !out.env) return false;
  size_t used = 0;
  for (FieldReader reader(bytes, size); reader.next(field);) {
    auto* text = const_cast<char*>(field.value.data());
    if (field.key == "command") out.command = text;
    if (field.key == "env") out.env[used++] = text;
    if (field.key == "terminal") out.terminal = field.value == "1";
  }
  for (size_t i = 0; i < own; ++i) {
    bool replaced = false;
    for (size_t j = 0; j < more; ++j) {
      const char* equals = strchr(out.env[j], '=');
      size_t name = equals ? static_cast<size_t>(equals - out.env[j]) + 1 : 0;
      replaced = replaced || (name > 0 && strncmp(out.env[j], run.env[i], name) == 0);
    }
    if (!replaced) out.env[used++] = run.env[i];
  }
  return out.command != nullptr;
}

void tell(int control, const FieldWriter<packet_limit>& packet) {
  (void)!send(control, packet.data(), packet.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
}

void refuse(int control, const char* code, const char* text) {
  FieldWriter<packet_limit> packet;
  packet.put("error_code", code);
  packet.put("error", text);
  tell(control, packet);
}

[[noreturn]] void become(const Spec& run, const int (&files)[passed_limit]) {
  GuestSpec guest;
  if (!read_guest(files[passed_spec], run, guest)) _exit(126);
  setsid();
  for (int i = 0; i < 3; ++i) dup2(files[passed_input + i], i);
  if (guest.terminal) ioctl(0, TIOCSCTTY, 0);
  become_ordinary(run);
  execute_shell(guest.command, guest.env);
}

void end_session(pid_t session) {
  DIR* processes = opendir("/proc");
  if (!processes) return;
  while (dirent* entry = readdir(processes))
    if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9' && session_of(entry->d_name) == session)
      kill(static_cast<pid_t>(strtol(entry->d_name, nullptr, 10)), SIGKILL);
  closedir(processes);
}

}  // namespace

void Guests::take_request(int requests) {
  char packet[packet_limit];
  int files[passed_limit];
  for (;;) {
    ssize_t n = receive_files(requests, packet, sizeof packet, files);
    if (n <= 0) return;
    int control = files[passed_control];
    Guest* free = nullptr;
    for (auto& guest : guests_)
      if (guest.process == 0) free = &guest;
    if (control >= 0 && !free)
      refuse(control, "too_many_streams",
             "128 commands are in this run; try again when some have ended");
    if (control >= 0 && free) {
      pid_t child = fork();
      if (child == 0) become(spec_, files);
      if (child < 0) {
        refuse(control, "start_failed", text_of_error(errno));
      } else {
        *free = {child, control};
        files[passed_control] = -1;
        FieldWriter<packet_limit> started;
        started.put("process", child);
        tell(control, started);
      }
    }
    close_files(files);
  }
}

bool Guests::ended(pid_t child, int status) {
  for (auto& guest : guests_) {
    if (guest.process != child || guest.over) continue;
    FieldWriter<packet_limit> packet;
    int signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    packet.put("code", signal ? 128 + signal : WEXITSTATUS(status));
    if (signal) packet.put("signal", signal);
    if (guest.control >= 0) {
      tell(guest.control, packet);
      close(guest.control);
      guest.control = -1;
    }
    if (guest.kill_at)
      guest.over = true;
    else
      guest = {};
    return true;
  }
  return false;
}

int Guests::watch(pollfd* files) const {
  long long next = -1, now = monotonic_ms();
  for (nfds_t i = 0; i < limit; ++i) {
    files[i] = {guests_[i].control, POLLIN, 0};
    if (guests_[i].kill_at == 0) continue;
    long long left = guests_[i].kill_at > now ? guests_[i].kill_at - now : 0;
    if (next < 0 || left < next) next = left;
  }
  return static_cast<int>(next);
}

void Guests::hang_up(Guest& guest) {
  close(guest.control);
  guest.control = -1;
  guest.kill_at = monotonic_ms() + hang_up_grace_ms;
  kill(-guest.process, SIGHUP);
  kill(-guest.process, SIGCONT);
}

void Guests::serve(const pollfd* files) {
  for (nfds_t i = 0; i < limit; ++i) {
    Guest& guest = guests_[i];
    if (guest.process == 0) continue;
    if (guest.kill_at && guest.kill_at <= monotonic_ms()) {
      end_session(guest.process);
      if (guest.over)
        guest = {};
      else
        guest.kill_at = 0;  // its end is told by the kernel
      continue;
    }
    if (!files[i].revents || guest.control != files[i].fd) continue;
    char packet[packet_limit];
    ssize_t n = recv(guest.control, packet, sizeof packet, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    if (n <= 0) {
      hang_up(guest);
      continue;
    }
    Field field;
    for (FieldReader reader(packet, static_cast<size_t>(n)); reader.next(field);) {
      auto signal = field.key == "signal" ? number_of(field.value, 0) : 0;
      if (signal > 0 && signal < 65) kill(-guest.process, static_cast<int>(signal));
    }
  }
}

}  // namespace spell::supervisor
