// The system's calls around sockets: Unix sockets of any path length, close-on-exec everywhere, who
// is at the other end.
#pragma once
#include <sys/socket.h>
#include <sys/un.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "base/fd.hpp"

namespace spell::net {

#ifdef MSG_NOSIGNAL
inline constexpr int no_signal = MSG_NOSIGNAL;
#else
inline constexpr int no_signal = 0;  // SO_NOSIGPIPE is set on each socket instead
#endif

/// The address of a Unix socket; for paths that are longer than sun_path it leads through an open
/// folder, which must outlive its use.
struct UnixAddress {
  sockaddr_un address{};
  socklen_t size = 0;
  base::Fd folder;
};
Result<UnixAddress> unix_address(const std::string& path);

/// A non-blocking listening socket of mode 0600. A socket that lies at `path` is replaced, anything
/// else is an error.
Result<base::Fd> listen_unix(const std::string& path);
/// The same on "HOST:PORT"; HOST may be an address, [an IPv6 address], or "" for all. Errors:
/// `io_error` with the system's word, `invalid_request`.
Result<base::Fd> listen_tcp(const std::string& where);
int local_port(int fd);
/// Small answers go at once.
void no_delay(int fd);
/// On TCP: a peer that has vanished without a word is noticed within a minute, also by who only
/// listens.
void keep_watch(int fd);
/// On TCP, where the system can: what was sent and is not taken within 50 s ends the connection.
/// Not for who may have to wait for a reader: Linux counts the time in which the other end has no
/// room, too, though it answers.
void limit_unanswered(int fd, bool limited);
/// "host:port" or "[address]:port" cut in two; the port is `otherwise` where there is none.
std::pair<std::string, std::string> split_host(std::string_view text, std::string_view otherwise);
/// A non-blocking, close-on-exec socket; SIGPIPE will not come from it.
Result<base::Fd> make_socket(int family);
/// Two ends of one connection, set up like make_socket().
Result<std::pair<base::Fd, base::Fd>> make_socket_pair();
/// The next waiting connection, set up like make_socket(); no descriptor and errno of accept(2) if
/// there is none.
base::Fd accept_connection(int listening);
/// The user at the other end of a Unix socket; UINT32_MAX if the system does not say.
std::uint32_t peer_uid(int fd);
/// Of the other end of a TCP connection; 0 for any other.
int peer_port(int fd);
/// The numeric address of the other end of a TCP connection; "" for any other.
std::string peer_address(int fd);

}  // namespace spell::net
