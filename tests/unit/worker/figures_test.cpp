#include "worker/figures.hpp"

#include "catch.hpp"
#include "worker/gpu_figures.hpp"

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

TEST_CASE("what nvidia-smi says is read; what it does not know is not there") {
  auto gpus = parse_gpus(
      "0, GPU-07a466ee-866c-ad45-6157-a8affb1feafe, NVIDIA H200, 143771, 512, 37, 38, 109.39\n"
      "1, GPU-1, Some GPU, [N/A], [N/A], [Not Supported], [N/A], [N/A]\n"
      "Field \"nosuch\" is not a valid field to query.\n");
  REQUIRE(gpus.size() == 2);
  CHECK(gpus[0].uuid == "GPU-07a466ee-866c-ad45-6157-a8affb1feafe");
  CHECK(gpus[0].stats.name == "NVIDIA H200");
  CHECK(gpus[0].stats.memory_total == 143771LL << 20);
  CHECK(gpus[0].stats.memory == 512LL << 20);
  CHECK(gpus[0].stats.use_percent == 37);
  CHECK(gpus[0].stats.temperature == 38);
  CHECK(gpus[0].stats.power_milliwatts == 109'390);
  CHECK(gpus[1].stats.index == 1);
  CHECK_FALSE(gpus[1].stats.memory_total);
  CHECK_FALSE(gpus[1].stats.use_percent);
}
