#include "exec/guest.hpp"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <tuple>

#include "base/error.hpp"
#include "exec/spec.hpp"
#include "supervisor/passing.hpp"
#include "supervisor/protocol.hpp"

namespace spell::exec {

using supervisor::Field;
using supervisor::FieldReader;
using supervisor::number_of;

namespace {

void set_size(int terminal, int columns, int rows) {
  winsize size{};
  size.ws_col = static_cast<unsigned short>(columns);
  size.ws_row = static_cast<unsigned short>(rows);
  ::ioctl(terminal, TIOCSWINSZ, &size);
}

struct Ends {
  base::Fd ours, theirs;
};

Result<Ends> make_pipe(bool we_write) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return base::errno_error("make a pipe");
  Ends out{base::Fd(ends[we_write ? 1 : 0]), base::Fd(ends[we_write ? 0 : 1])};
  ::fcntl(out.ours.get(), F_SETFL, O_NONBLOCK);
  return out;
}

Result<Ends> make_terminal(int columns, int rows) {
  Ends out;
  out.ours = base::Fd(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK));
  char name[64];
  if (!out.ours || ::grantpt(out.ours.get()) != 0 || ::unlockpt(out.ours.get()) != 0 ||
      ::ptsname_r(out.ours.get(), name, sizeof name) != 0)
    return base::errno_error("make a terminal");
  auto slave = base::open(name, O_RDWR | O_NOCTTY);
  if (!slave) return slave.error();
  out.theirs = std::move(*slave);
  set_size(out.ours.get(), columns, rows);
  return out;
}

Result<base::Fd> copy(const base::Fd& fd) {
  base::Fd made(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 3));
  if (!made) return base::errno_error("copy a descriptor");
  return made;
}

}  // namespace

Result<Guest> Guest::start(base::Fd supervisor, const GuestOptions& options) {
  SpecWriter spec;
  spec.put("command", options.command);
  spec.put("terminal", options.terminal ? 1 : 0);
  for (auto& [name, value] : options.env) spec.put("env", name + "=" + value);
  auto text = std::move(spec).finish();
  if (!text) return text.error();
  auto file = file_with(*text);
  if (!file) return file.error();

  Guest guest;
  guest.supervisor_ = std::move(supervisor);
  auto& request = guest.request_.emplace();
  request.spec = std::move(*file);
  if (options.terminal) {
    auto terminal = make_terminal(options.columns, options.rows);
    if (!terminal) return terminal.error();
    for (auto* into : {&guest.input, &guest.output}) {
      auto end = copy(terminal->ours);
      if (!end) return end.error();
      *into = std::move(*end);
    }
    guest.master_ = std::move(terminal->ours);
    for (auto* into : {&request.input, &request.output, &request.errors}) {
      auto end = copy(terminal->theirs);
      if (!end) return end.error();
      *into = std::move(*end);
    }
  } else {
    for (auto [ours, theirs, we_write] : {std::tuple(&guest.input, &request.input, true),
                                          std::tuple(&guest.output, &request.output, false),
                                          std::tuple(&guest.errors, &request.errors, false)}) {
      auto pipe = make_pipe(we_write);
      if (!pipe) return pipe.error();
      *ours = std::move(pipe->ours);
      *theirs = std::move(pipe->theirs);
    }
  }
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0)
    return base::errno_error("make a socket");
  guest.control_ = base::Fd(ends[0]);
  request.control = base::Fd(ends[1]);
  return guest;
}

Result<> Guest::ask() {
  supervisor::FieldWriter<supervisor::packet_limit> packet;
  packet.put("do", "exec");
  auto& request = *request_;
  int files[supervisor::passed_limit] = {request.spec.get(), request.input.get(),
                                         request.output.get(), request.errors.get(),
                                         request.control.get()};
  if (supervisor::send_files(supervisor_.get(), packet.data(), packet.size(), files)) {
    request_.reset();
    return ok();
  }
  if (errno == EAGAIN || errno == EINTR) return ok();
  if (errno == EPIPE || errno == ECONNRESET || errno == ENOTCONN)
    return base::error("run_not_running", "the run is not running");
  return base::errno_error("reach the run's supervisor");
}

pollfd Guest::event() const {
  if (request_) return {supervisor_.get(), POLLOUT, 0};
  return {control_.get(), POLLIN, 0};
}

Result<std::optional<Guest::Exit>> Guest::next() {
  if (request_) SPELL_TRY(ask());
  if (request_) return std::optional<Exit>();
  char packet[supervisor::packet_limit];
  for (;;) {
    ssize_t n = ::recv(control_.get(), packet, sizeof packet, MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return std::optional<Exit>();
    if (n <= 0) {
      // It hangs up before what it was asked is closed.
      pollfd supervisor{supervisor_.get(), 0, 0};
      if (taken_ || ::poll(&supervisor, 1, 0) != 0)
        return base::error("run_ended", "the run has ended, and the command with it");
      return base::error("supervisor_version",
                         "the run was started by an older version, which lets no command in: what "
                         "is started from now on does");
    }
    std::string code, text;
    std::optional<Exit> exit;
    Field field;
    for (FieldReader reader(packet, static_cast<std::size_t>(n)); reader.next(field);) {
      auto number = static_cast<int>(number_of(field.value, 0));
      if (field.key == "taken") taken_ = true;
      if (field.key == "process") started_ = true;
      if (field.key == "code") exit = Exit{number, {}};
      if (field.key == "signal" && exit) exit->signal = number;
      if (field.key == "error_code") code = field.value;
      if (field.key == "error") text = field.value;
    }
    if (!code.empty()) return base::error(code, text);
    if (exit) return exit;
  }
}

void Guest::send_signal(int number) const {
  supervisor::FieldWriter<supervisor::packet_limit> packet;
  packet.put("signal", number);
  (void)!::send(control_.get(), packet.data(), packet.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
}

void Guest::resize(int columns, int rows) const {
  if (master_) set_size(master_.get(), columns, rows);
}

}  // namespace spell::exec
