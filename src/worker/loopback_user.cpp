#include "worker/loopback_user.hpp"

#include <arpa/inet.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstring>

#include "base/fd.hpp"

namespace spell::worker {

std::optional<std::uint32_t> loopback_user(int from, int to) {
  base::Fd netlink(::socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
  if (!netlink) return std::nullopt;
  struct {
    nlmsghdr header;
    inet_diag_req_v2 request;
  } question{};
  question.header.nlmsg_len = sizeof question;
  question.header.nlmsg_type = SOCK_DIAG_BY_FAMILY;
  question.header.nlmsg_flags = NLM_F_REQUEST;
  auto& request = question.request;
  request.sdiag_family = AF_INET;
  request.sdiag_protocol = IPPROTO_TCP;
  request.id.idiag_sport = htons(static_cast<std::uint16_t>(from));
  request.id.idiag_dport = htons(static_cast<std::uint16_t>(to));
  request.id.idiag_src[0] = request.id.idiag_dst[0] = htonl(INADDR_LOOPBACK);
  request.id.idiag_cookie[0] = request.id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
  if (::send(netlink.get(), &question, sizeof question, 0) != sizeof question) return std::nullopt;
  alignas(nlmsghdr) char bytes[1024];
  ssize_t n = ::recv(netlink.get(), bytes, sizeof bytes, 0);
  nlmsghdr header;
  inet_diag_msg answer;
  if (n < static_cast<ssize_t>(NLMSG_LENGTH(sizeof answer))) return std::nullopt;
  std::memcpy(&header, bytes, sizeof header);
  if (header.nlmsg_type != SOCK_DIAG_BY_FAMILY) return std::nullopt;
  std::memcpy(&answer, bytes + NLMSG_HDRLEN, sizeof answer);
  return answer.idiag_uid;
}

}  // namespace spell::worker
