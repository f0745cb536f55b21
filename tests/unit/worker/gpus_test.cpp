// Which GPUs there are, and which of them a run gets.
#include "worker/gpus.hpp"

#include <sys/stat.h>

#include "temporary_folder.hpp"

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

TEST_CASE("GPUs are read from what nvidia-smi prints") {
  auto gpus = parse_gpu_list(
      "1, GPU-b, NVIDIA H200, 143771\n0, GPU-07a466ee-866c-ad45-6157-a8affb1feafe, NVIDIA H200, "
      "143771\n");
  REQUIRE(gpus.size() == 2);
  CHECK(gpus[0].uuid == "GPU-07a466ee-866c-ad45-6157-a8affb1feafe");
  CHECK(gpus[0].name == "NVIDIA H200");
  CHECK(gpus[0].memory == std::int64_t{143771} << 20);
  CHECK(gpus[1].index == 1);
  CHECK(parse_gpu_list("").empty());
  CHECK(parse_gpu_list("No devices were found\n").empty());
  CHECK(parse_gpu_list("Field \"nosuch\" is not a valid field to query.\n").empty());
  CHECK(parse_gpu_list("-1, GPU-a, x, 1\nx, GPU-a, x, 1\n0, , x, 1\n").empty());
  CHECK(parse_gpu_list("0, GPU-a, x, [N/A]\n")[0].memory == 0);
}

TEST_CASE("a machine without the program has no GPUs; one whose program fails says so") {
  testing::TemporaryFolder folder;
  auto program = [&](const std::string& text) {
    std::string path = folder.path + "/smi";
    REQUIRE(base::write_file(path, "#!/bin/sh\n" + text, 0755));
    return path;
  };
  CHECK(find_gpus(program("echo '0, GPU-a, Tesla, 16'"))->size() == 1);
  CHECK(find_gpus(program("exit 0"))->empty());
  auto failed = find_gpus(program("echo 'NVIDIA-SMI has failed'; exit 9"));
  REQUIRE_FALSE(failed);
  CHECK(failed.error().message().find("NVIDIA-SMI has failed") != std::string::npos);
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
