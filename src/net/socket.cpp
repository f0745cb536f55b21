#include "net/socket.hpp"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>
#include <memory>

#include "base/error.hpp"

namespace spell::net {

namespace {

void set_up(int fd) {
#ifndef __linux__
  ::fcntl(fd, F_SETFD, FD_CLOEXEC);
  ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
#endif
#ifdef SO_NOSIGPIPE
  int on = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof on);
#endif
  (void)fd;
}

}  // namespace

Result<UnixAddress> unix_address(const std::string& path) {
  UnixAddress out;
  std::string shown = path;
  if (path.empty() || path.find('\0') != std::string::npos)
    return base::error("invalid_path", "a socket needs a path");
  if (path.size() >= sizeof out.address.sun_path) {
#ifdef __linux__
    auto slash = path.rfind('/');
    std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
    auto opened = base::open(folder, O_PATH | O_DIRECTORY);
    if (!opened) return opened.error();
    out.folder = std::move(*opened);
    shown = "/proc/self/fd/" + std::to_string(out.folder.get()) + "/" + path.substr(slash + 1);
#endif
    if (shown.size() >= sizeof out.address.sun_path)
      return base::error("invalid_path", "the path " + path + " is too long for a socket");
  }
  out.address.sun_family = AF_UNIX;
  std::memcpy(out.address.sun_path, shown.c_str(), shown.size() + 1);
  out.size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + shown.size() + 1);
  return out;
}

Result<base::Fd> make_socket(int family) {
#ifdef __linux__
  base::Fd fd(::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
#else
  base::Fd fd(::socket(family, SOCK_STREAM, 0));
#endif
  if (!fd) return base::errno_error("make a socket");
  set_up(fd.get());
  return fd;
}

Result<std::pair<base::Fd, base::Fd>> make_socket_pair() {
  int ends[2];
#ifdef __linux__
  bool made = ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0;
#else
  bool made = ::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0;
#endif
  if (!made) return base::errno_error("make a pair of sockets");
  for (int end : ends) set_up(end);
  return std::pair(base::Fd(ends[0]), base::Fd(ends[1]));
}

Result<base::Fd> listen_unix(const std::string& path) {
  auto address = unix_address(path);
  if (!address) return address.error();
  struct stat st;
  if (::lstat(path.c_str(), &st) == 0) {
    if (!S_ISSOCK(st.st_mode))
      return base::error("invalid_path", path + " is in the way: it is not a socket");
    if (::unlink(path.c_str()) != 0) return base::errno_error("replace " + path);
  }
  auto fd = make_socket(AF_UNIX);
  if (!fd) return fd.error();
  if (::bind(fd->get(), reinterpret_cast<sockaddr*>(&address->address), address->size) != 0)
    return base::errno_error("bind " + path);
  // Nobody can connect before listen(): whatever the umask, the socket never takes a stranger.
  if (::chmod(path.c_str(), 0600) != 0 || ::listen(fd->get(), SOMAXCONN) != 0) {
    Error e = base::errno_error("listen on " + path);
    ::unlink(path.c_str());
    return e;
  }
  return fd;
}

std::pair<std::string, std::string> split_host(std::string_view text, std::string_view otherwise) {
  auto colon = text.rfind(':');
  // Colons inside of brackets belong to an address.
  if (colon != std::string_view::npos && text.find(']', colon) != std::string_view::npos)
    colon = std::string_view::npos;
  std::string_view host = text.substr(0, colon);
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']')
    host = host.substr(1, host.size() - 2);
  return {std::string(host),
          std::string(colon == std::string_view::npos ? otherwise : text.substr(colon + 1))};
}

Result<base::Fd> listen_tcp(const std::string& where) {
  auto [host, port] = split_host(where, "");
  if (port.empty())
    return base::error("invalid_request", "'" + where + "' is no HOST:PORT to listen on");
  addrinfo hints{}, *found = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  if (int failure =
          ::getaddrinfo(host.empty() ? nullptr : host.c_str(), port.c_str(), &hints, &found))
    return base::error("invalid_request",
                       "cannot listen on " + where + ": " + ::gai_strerror(failure));
  std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> addresses(found, ::freeaddrinfo);
  auto fd = make_socket(found->ai_family);
  if (!fd) return fd.error();
  int on = 1;
  ::setsockopt(fd->get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (::bind(fd->get(), found->ai_addr, found->ai_addrlen) != 0 ||
      ::listen(fd->get(), SOMAXCONN) != 0)
    return base::errno_error("listen on " + where);
  return fd;
}

namespace {

int port_of(const sockaddr_storage& address) {
  if (address.ss_family == AF_INET)
    return ntohs(reinterpret_cast<const sockaddr_in&>(address).sin_port);
  if (address.ss_family == AF_INET6)
    return ntohs(reinterpret_cast<const sockaddr_in6&>(address).sin6_port);
  return 0;
}

}  // namespace

int local_port(int fd) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  return ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) == 0 ? port_of(address)
                                                                              : 0;
}

int peer_port(int fd) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  return ::getpeername(fd, reinterpret_cast<sockaddr*>(&address), &size) == 0 ? port_of(address)
                                                                              : 0;
}

void no_delay(int fd) {
  int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

void keep_watch(int fd) {
  int on = 1, probes = 3, idle = 20, interval = 10;  // seconds
  // Of a Unix socket the system knows; there these say that they are not for it.
  if (::setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on) != 0) return;
#ifdef TCP_KEEPIDLE
  ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
#else
  ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPALIVE, &idle, sizeof idle);
#endif
  ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
  ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
}

void limit_unanswered(int fd, bool limited) {
#ifdef TCP_USER_TIMEOUT
  unsigned limit = limited ? 50'000 : 0;  // milliseconds; 0: the system's, some 15 minutes
  ::setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &limit, sizeof limit);
#else
  (void)fd, (void)limited;
#endif
}

base::Fd accept_connection(int listening) {
  int fd;
#ifdef __linux__
  do fd = ::accept4(listening, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
#else
  do fd = ::accept(listening, nullptr, nullptr);
#endif
  while (fd < 0 && (errno == EINTR || errno == ECONNABORTED));
  if (fd >= 0) set_up(fd);
  return base::Fd(fd);
}

std::uint32_t peer_uid(int fd) {
#ifdef SO_PEERCRED
  struct ucred peer {};
  socklen_t size = sizeof peer;
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && size == sizeof peer)
    return peer.uid;
#else
  uid_t uid;
  gid_t gid;
  if (::getpeereid(fd, &uid, &gid) == 0) return uid;
#endif
  return UINT32_MAX;
}

std::string peer_address(int fd) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  char host[64];
  if (::getpeername(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0 ||
      (address.ss_family != AF_INET && address.ss_family != AF_INET6) ||
      ::getnameinfo(reinterpret_cast<sockaddr*>(&address), size, host, sizeof host, nullptr, 0,
                    NI_NUMERICHOST) != 0)
    return {};
  return host;
}

}  // namespace spell::net
