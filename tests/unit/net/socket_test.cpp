// Lines on which nothing comes any more.
#include "net/socket.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "catch.hpp"

using namespace spell;
using namespace spell::net;

namespace {

int option(const base::Fd& fd, int level, int name) {
  int value = -1;
  socklen_t size = sizeof value;
  REQUIRE(::getsockopt(fd.get(), level, name, &value, &size) == 0);
  return value;
}

}  // namespace

TEST_CASE("a peer that vanished is asked for, and one that does not read is not taken for it") {
  auto line = make_socket(AF_INET);
  REQUIRE(line);
  keep_watch(line->get());
  CHECK(option(*line, SOL_SOCKET, SO_KEEPALIVE) == 1);
  int seconds = option(*line, IPPROTO_TCP, TCP_KEEPIDLE) +
                option(*line, IPPROTO_TCP, TCP_KEEPINTVL) * option(*line, IPPROTO_TCP, TCP_KEEPCNT);
  CHECK(seconds <= 60);
  // With a limit Linux ends the connection to a reader that pauses: a stream must have none.
  CHECK(option(*line, IPPROTO_TCP, TCP_USER_TIMEOUT) == 0);
  limit_unanswered(line->get(), true);
  CHECK(option(*line, IPPROTO_TCP, TCP_USER_TIMEOUT) == 50'000);
  limit_unanswered(line->get(), false);
  CHECK(option(*line, IPPROTO_TCP, TCP_USER_TIMEOUT) == 0);
}
