// Which GPUs there are, what they do, and which of them a run gets.
#include "worker/gpus.hpp"

#include <future>

#include "base/file.hpp"
#include "temporary_folder.hpp"
#include "worker/gpu_figures.hpp"

using namespace spell;
using namespace spell::worker;

namespace {

std::vector<GpuInfo> machine(int count) {
  std::vector<GpuInfo> gpus;
  for (int i = 0; i < count; ++i) gpus.push_back({i, "GPU-" + std::to_string(i), "V100", 16});
  return gpus;
}
using Ids = std::vector<std::string>;

}  // namespace

// Read off an Ubuntu 24.04 machine with one H200 and driver 580.159.04; other GPUs' lines are of
// the same form.
constexpr const char* idle_h200 =
    "0, GPU-07a466ee-866c-ad45-6157-a8affb1feafe, NVIDIA H200, 143771, 0, 0, 38, 109.39\n";

TEST_CASE("GPUs and what they do are read from what nvidia-smi prints") {
  auto gpus = parse_gpus(idle_h200);
  REQUIRE(gpus.size() == 1);
  CHECK(gpus[0].uuid == "GPU-07a466ee-866c-ad45-6157-a8affb1feafe");
  auto& stats = gpus[0].stats;
  CHECK(stats.index == 0);
  CHECK(stats.name == "NVIDIA H200");
  CHECK(stats.memory_total == std::int64_t{143771} << 20);
  CHECK(stats.memory == 0);
  CHECK(stats.use_percent == 0);
  CHECK(stats.temperature == 38);
  CHECK(stats.power_milliwatts == 109'390);
}

TEST_CASE("what nvidia-smi does not know is not there, and lines that are no GPU's are left out") {
  auto gpus = parse_gpus(
      "1, GPU-1, Some GPU, [N/A], [N/A], [Not Supported], [N/A], [Unknown Error]\r\n"
      "Field \"nosuch\" is not a valid field to query.\n"
      "-1, GPU-a, x, 1, 1, 1, 1, 1\nx, GPU-a, x, 1, 1, 1, 1, 1\n0, , x, 1, 1, 1, 1, 1\n"
      "0, GPU-0, NVIDIA H200, 143771, 512, 37, 38, 109.39, more\n"
      "0, GPU-0, \xff, 143771, 512, -37, 1e99, nan");
  REQUIRE(gpus.size() == 2);
  CHECK(gpus[0].uuid == "GPU-0");
  CHECK(gpus[0].stats.memory == std::int64_t{512} << 20);
  CHECK_FALSE(gpus[0].stats.use_percent);
  CHECK_FALSE(gpus[0].stats.temperature);
  CHECK_FALSE(gpus[0].stats.power_milliwatts);
  CHECK(gpus[1].stats.index == 1);
  CHECK_FALSE(gpus[1].stats.memory_total);
  CHECK_FALSE(gpus[1].stats.use_percent);
  CHECK(parse_gpus("").empty());
  CHECK(parse_gpus("No devices were found\n").empty());
}

TEST_CASE("a machine's GPUs are listed in order, with their memory") {
  testing::TemporaryFolder folder;
  std::string path = folder.path + "/smi";
  REQUIRE(base::write_file(path,
                           "#!/bin/sh\necho '1, GPU-1, B, [N/A], 0, 0, 0, 0'\n"
                           "echo '0, GPU-0, A, 16, 0, 0, 0, 0'\n",
                           0755));
  auto gpus = find_gpus(path);
  REQUIRE(gpus);
  REQUIRE(gpus->size() == 2);
  CHECK((*gpus)[0].uuid == "GPU-0");
  CHECK((*gpus)[0].name == "A");
  CHECK((*gpus)[0].memory == 16 << 20);
  CHECK((*gpus)[1].index == 1);
  CHECK((*gpus)[1].memory == 0);
}

TEST_CASE("a machine without the program has no GPUs; one whose program fails says so") {
  testing::TemporaryFolder folder;
  auto program = [&](const std::string& text) {
    std::string path = folder.path + "/smi";
    REQUIRE(base::write_file(path, "#!/bin/sh\n" + text, 0755));
    return path;
  };
  CHECK(find_gpus(program("echo '0, GPU-a, Tesla, 16, 1, 2, 3, 4'"))->size() == 1);
  CHECK(find_gpus(program("exit 0"))->empty());
  auto failed = find_gpus(program("echo 'NVIDIA-SMI has failed'; exit 9"));
  REQUIRE_FALSE(failed);
  CHECK(failed.error().message().find("NVIDIA-SMI has failed") != std::string::npos);
}

TEST_CASE("figures are those of the GPUs that were asked for, and not older than wanted") {
  testing::TemporaryFolder folder;
  std::string path = folder.path + "/smi";
  REQUIRE(base::write_file(path,
                           "#!/bin/sh\nfor i in 0 1 2; do echo \"$i, GPU-$i, A, 16, $i, 0, 0, 0\"; "
                           "done\n",
                           0755));
  std::promise<void> read;
  auto told = read.get_future();
  GpuFigures figures(path, [&] { read.set_value(); });
  auto now = GpuFigures::Clock::now();
  CHECK_FALSE(figures.look({"GPU-0"}, {}));
  figures.ask(now);
  figures.ask(now);  // once a second is enough
  REQUIRE(told.wait_for(std::chrono::seconds(30)) == std::future_status::ready);
  auto own = figures.look({"GPU-2", "GPU-1", "GPU-9"}, now);
  REQUIRE(own);
  REQUIRE(own->size() == 2);
  CHECK((*own)[0].index == 1);
  CHECK((*own)[1].memory == 2 << 20);
  CHECK_FALSE(figures.look({"GPU-2"}, now + std::chrono::seconds(1)));
}

TEST_CASE("a run gets neighbours, out of the smallest gap") {
  auto eight = machine(8);
  CHECK(*choose_gpus(eight, {}, 0) == Ids{});
  CHECK(*choose_gpus(eight, {}, 2) == Ids{"GPU-0", "GPU-1"});
  // Free: 0 | 2 3 | 5 6 7
  std::set<std::string> used{"GPU-1", "GPU-4"};
  CHECK(*choose_gpus(eight, used, 1) == Ids{"GPU-0"});
  CHECK(*choose_gpus(eight, used, 2) == Ids{"GPU-2", "GPU-3"});
  CHECK(*choose_gpus(eight, used, 3) == Ids{"GPU-5", "GPU-6", "GPU-7"});
  CHECK(*choose_gpus(eight, used, 5) == Ids{"GPU-0", "GPU-2", "GPU-3", "GPU-5", "GPU-6"});
  CHECK_FALSE(choose_gpus(eight, used, 7));
  CHECK_FALSE(choose_gpus({}, {}, 1));
}
