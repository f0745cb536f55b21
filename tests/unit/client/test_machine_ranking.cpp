// Which machine types fit, in which order, and why.
#include "catch.hpp"
#include "client/machine_ranking.hpp"

using namespace spell;

namespace {

MachineTypeInfo type(const std::string& name, std::int64_t gpus, const std::string& gpu,
                     std::int64_t gpu_memory, std::int64_t connected = 1) {
  MachineTypeInfo info;
  info.name = name;
  info.largest = {8 * (gpus + 1), (gpus + 1) * 32_GB, gpus};
  info.gpu = gpu;
  info.gpu_memory = gpu_memory;
  info.machines = 2;
  info.connected = connected;
  return info;
}

std::vector<MachineTypeInfo> house() {
  std::vector<MachineTypeInfo> types = {
      type("CPU", 0, "", 0),
      type("k80", 1, "Tesla K80", 12_GB),
      type("v100", 1, "Tesla V100", 16_GB),
      type("v100x4", 4, "Tesla V100", 16_GB, 2),
      type("a100", 1, "NVIDIA A100", 40_GB, 0),
  };
  types[2].spot = true;
  types[2].price = Dollars(0.75);
  types[3].price = Dollars(9);
  return types;
}

std::vector<std::string> names(const MachineQuery& query,
                               const std::vector<MachineTypeInfo>& types = house()) {
  auto ranked = detail::rank(types, query);
  if (!ranked) return {ranked.error().code()};
  std::vector<std::string> out;
  for (auto& one : *ranked) out.push_back(one.name);
  return out;
}

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("types that fit are ranked: there, known price, the least that is enough") {
  CHECK(names({}) == Names{"v100", "v100x4", "CPU", "k80", "a100"});
  CHECK(names({.gpus = 1}) == Names{"v100", "v100x4", "k80", "a100"});
  CHECK(names({.gpu_memory = 16_GB}) == Names{"v100", "v100x4", "a100"});
  CHECK(names({.gpus = 2}) == Names{"v100x4"});
  CHECK(names({.gpu = "v100"}) == Names{"v100", "v100x4"});
  CHECK(names({.cpus = 17}) == Names{"v100x4"});
  CHECK(names({.memory = 65_GB}) == Names{"v100x4"});
  CHECK(names({.spot = Spot::only}) == Names{"v100"});
  CHECK(names({.gpus = 1, .spot = Spot::never}) == Names{"v100x4", "k80", "a100"});
  CHECK(names({.max_price = Dollars(5)}) == Names{"v100"});
  CHECK(names({.max_price = Dollars(9)}) == Names{"v100", "v100x4"});
}

TEST_CASE("what is preferred comes first among those that are there") {
  CHECK(names({.gpus = 1, .prefer = MachineQuery::Prefer::availability}).front() == "v100x4");
  CHECK(names({.gpus = 1, .prefer = MachineQuery::Prefer::power}) ==
        Names{"v100x4", "v100", "k80", "a100"});
}

TEST_CASE("each has its reason") {
  auto ranked = detail::rank(house(), {.gpus = 1}).value();
  CHECK(ranked.front().reason ==
        "1 x Tesla V100 of 16 GB, 16 cores, 64 GB, 1 of 2 machines connected, spot, $0.75 an hour");
  CHECK(ranked.back().reason ==
        "1 x NVIDIA A100 of 40 GB, 16 cores, 64 GB, 0 of 2 machines connected, price not known");
}

TEST_CASE("a list is never empty: what excludes each is said") {
  auto none = detail::rank(house(), {.gpu_memory = 30_GB, .max_price = Dollars(5)});
  REQUIRE(!none);
  CHECK(none.error().code() == "no_machine_type");
  CHECK(none.error().message() ==
        "no machine type fits: CPU: no GPU; k80: 12 GB a GPU; v100: 16 GB a GPU; v100x4: 16 GB a "
        "GPU; a100: its price is not known");
  CHECK(names({}, {}) == Names{"no_machine_type"});
  MachineTypeInfo declared;
  declared.name = "p100";
  declared.gives.gpus = 1;
  CHECK(names({.gpus = 1}, {declared}) == Names{"p100"});
  CHECK(detail::rank({declared}, {.gpus = 1}).value()[0].reason.find("no machine serves it yet") !=
        std::string::npos);
  CHECK(names({.gpu_memory = 1_GB}, {declared}) == Names{"no_machine_type"});
}
