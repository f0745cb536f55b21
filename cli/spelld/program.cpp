#include "program.hpp"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>

#include "base/fd.hpp"
#include "base/text.hpp"

namespace spell::daemon {

std::string own_path() {
  char path[4096];
  ssize_t n = ::readlink("/proc/self/exe", path, sizeof path - 1);
  return n > 0 ? std::string(path, static_cast<std::size_t>(n)) : "spelld";
}

std::string packages_folder(const std::string& option) {
  if (!option.empty()) return option;
  std::string path = own_path();
  return path.substr(0, path.rfind('/') + 1) + "../share/spell/packages";
}

std::string sdk_folder() {
  std::string path = own_path(), folder = path.substr(0, path.rfind('/') + 1) + "../";
  for (auto* place : {"libexec/spelld/sdk", "libexec/spell/sdk"})  // a package's, an installation's
    if (::access((folder + place).c_str(), F_OK) == 0) return folder + place;
  return folder + "sdk";
}

std::string pools_folder() {
  if (const char* folder = std::getenv("SPELL_LIBEXEC"); folder && *folder)
    return std::string(folder) + "/pools";
  std::string path = own_path(), folder = path.substr(0, path.rfind('/') + 1) + "../";
  for (auto* place : {"libexec/spelld/pools", "libexec/spell/pools"})
    if (::access((folder + place).c_str(), F_OK) == 0) return folder + place;
  return folder + "pools";
}

std::string worker_program() {
  const char* path = std::getenv("PATH");
  auto folders = base::split(path ? path : "", ':');
  folders.insert(folders.begin(), own_path().substr(0, own_path().rfind('/')));
  for (auto& folder : folders)
    if (std::string program = folder + "/spell-worker";
        folder.starts_with('/') && ::access(program.c_str(), X_OK) == 0)
      return program;
  return "";
}

void tell_systemd_ready() {
  const char* name = std::getenv("NOTIFY_SOCKET");
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  if (!name || (*name != '/' && *name != '@') || std::strlen(name) >= sizeof address.sun_path)
    return;
  std::strcpy(address.sun_path, name);
  if (*name == '@') address.sun_path[0] = '\0';
  auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + std::strlen(name));
  base::Fd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  constexpr char ready[] = "READY=1";
  (void)::sendto(socket.get(), ready, sizeof ready - 1, MSG_NOSIGNAL,
                 reinterpret_cast<sockaddr*>(&address), size);
}

}  // namespace spell::daemon
