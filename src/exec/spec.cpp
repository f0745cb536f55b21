#include "exec/spec.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/error.hpp"
#include "supervisor/protocol.hpp"

namespace spell::exec {

SpecWriter::SpecWriter() { put("spell-supervisor", supervisor::protocol_version); }

void SpecWriter::put(std::string_view key, std::string_view value) {
  if (value.find('\0') != std::string_view::npos) bad_.assign(key);
  text_.append(key).append("=").append(value).push_back('\0');
}

Result<std::string> SpecWriter::finish() && {
  if (!bad_.empty()) return base::error("invalid_request", bad_ + " has a NUL byte in it");
  put("end", "");
  return std::move(text_);
}

Result<base::Fd> file_with(std::string_view bytes) {
  base::Fd file(::memfd_create("spell-spec", MFD_CLOEXEC));
  if (!file) return base::errno_error("make an anonymous file");
  SPELL_TRY(base::write_all(file.get(), bytes));
  if (::lseek(file.get(), 0, SEEK_SET) != 0) return base::errno_error("rewind an anonymous file");
  return file;
}

Result<base::Fd> connect_supervisor(const std::string& folder) {
  base::Fd made(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!made) return base::errno_error("make a socket");
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  std::string path = folder + "/sock";
  base::Fd parent;
  if (path.size() >= sizeof name.sun_path) {
    auto opened = base::open(folder, O_PATH | O_DIRECTORY);
    if (!opened) return opened.error();
    parent = std::move(*opened);
    path = "/proc/self/fd/" + std::to_string(parent.get()) + "/sock";
  }
  path.copy(name.sun_path, sizeof name.sun_path - 1);
  if (::connect(made.get(), reinterpret_cast<sockaddr*>(&name), sizeof name) != 0)
    return base::errno_error("reach the supervisor at " + folder + "/sock");
  return made;
}

}  // namespace spell::exec
