#include "worker/figures.hpp"

#include "catch.hpp"

using namespace spell;
using namespace spell::worker;

TEST_CASE("a process is read from its line, whatever it calls itself") {
  ProcessLine line;
  REQUIRE(
      parse_process("71 (a) R 9 (b)) S 42 71 71 34816 71 4194304 100 200 0 0 5 7 11 13 20 0 3 0 "
                    "12345 1000000 250 18446744073709551615",
                    line));
  CHECK(line.parent == 42);
  CHECK(line.ticks == 5 + 7 + 11 + 13);
  CHECK(line.threads == 3);
  CHECK(line.pages == 250);
  CHECK_FALSE(parse_process("", line));
  CHECK_FALSE(parse_process("71 (sh) S 42 71", line));
}

TEST_CASE("the network's figures leave loopback out") {
  auto traffic = parse_traffic(
      "Inter-|   Receive                                                |  Transmit\n"
      " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs\n"
      "    lo:  900000   10    0    0    0     0          0         0  800000   10    0 0 0 0 0 0\n"
      "  eth0:    1000   10    0    0    0     0          0         0     200   10    0 0 0 0 0 0\n"
      "wlan0:50 1 0 0 0 0 0 0 7 1 0 0 0 0 0 0\n");
  CHECK(traffic.received == 1050);
  CHECK(traffic.sent == 207);
}
