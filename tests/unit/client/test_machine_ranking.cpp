// Which machine types fit, in which order, and why.
#include <algorithm>

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
  types[2].hourly = Dollars(0.75);
  types[3].hourly = Dollars(9);
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

TEST_CASE(
    "types that fit are ranked: there, GPUs only where wanted, price, the least that is enough") {
  CHECK(names({}) == Names{"CPU", "k80", "v100", "v100x4", "a100"});
  CHECK(names({.gpus = 1}) == Names{"k80", "v100", "v100x4", "a100"});
  CHECK(names({.gpu_memory = 16_GB}) == Names{"v100", "v100x4", "a100"});
  CHECK(names({.gpus = 2}) == Names{"v100x4"});
  CHECK(names({.gpu = "v100"}) == Names{"v100", "v100x4"});
  CHECK(names({.cpus = 17}) == Names{"v100x4"});
  CHECK(names({.memory = 70_GB}) == Names{"v100x4"});
  CHECK(names({.spot = Spot::only}) == Names{"v100"});
  CHECK(names({.gpus = 1, .spot = Spot::never}) == Names{"k80", "v100x4", "a100"});
  CHECK(names({.max_price = Dollars(5)}) == Names{"CPU", "k80", "v100", "a100"});
  CHECK(names({.gpu = "V100", .max_price = Dollars(9)}) == Names{"v100", "v100x4"});
}

TEST_CASE("machines of one's own never lose to what a pool is paid for") {
  auto types = house();
  for (auto price : {0.01, 3.06}) {
    MachineTypeInfo pooled = type("pooled", 1, "Tesla V100", 16_GB, 0);
    pooled.machines = 0;
    pooled.pool = "aws";
    pooled.max_machines = 1;
    pooled.hourly = Dollars(price);
    types.push_back(pooled);
    types.back().name = "pooled" + std::to_string(types.size());
  }
  using Prefer = MachineQuery::Prefer;
  for (auto prefer : {Prefer::cheapest, Prefer::availability})
    for (auto spot : {Spot::any, Spot::never})
      CHECK(names({.spot = spot, .prefer = prefer}, types).front() == "CPU");
  CHECK(names({.gpus = 1}, types).front() == "k80");
  CHECK(names({.gpus = 1, .max_price = Dollars(5)}, types).front() == "k80");
  // No price is asked of what a pool on one's own machines makes; of what else makes some it is.
  types = {types[5], types[5]};
  types[1].name = "here";
  types[1].hourly.reset();
  CHECK(names({.gpus = 1}, types) == Names{"pooled6", "here"});
  CHECK(names({.gpus = 1, .max_price = Dollars(5)}, types) == Names{"pooled6"});
  for (auto pool : {"local", "ssh"}) {
    types[1].pool = pool;
    CHECK(names({.gpus = 1, .max_price = Dollars(5)}, types) == Names{"here", "pooled6"});
  }
}

TEST_CASE("a run asks for the GPUs for which its type was ranked") {
  auto asked = [](const MachineQuery& query, const MachineTypeInfo& type) {
    auto ranked = detail::rank({type}, query);
    return ranked ? ranked->front().run_gpu : ranked.error().code();
  };
  auto l40s = type("l40s", 4, "NVIDIA L40S", 48_GB);
  auto a100 = type("a100x4", 4, "NVIDIA A100-SXM4-40GB", 40_GB);
  auto v100 = type("v100x4", 4, "Tesla V100-SXM2-16GB", 16_GB);
  auto ti = type("desk", 2, "NVIDIA GeForce RTX 2080 Ti", 11_GB);
  CHECK(asked({.gpu = "L4:1|L40S:4"}, l40s) == "L40S:4");  // an L40S is no L4
  CHECK(asked({.gpu = "A10:2|A100:4"}, a100) == "A100:4");
  CHECK(asked({.gpu = "V100:8|V100:4"}, v100) == "V100:4");  // what fits
  CHECK(asked({.gpu = "2080ti:2|V100:4"}, ti) == "2");       // the driver writes it in another way
  CHECK(asked({.gpu = "V100 |A100"}, v100) == "V100:1");
  CHECK(asked({.gpu = "V100|A100:4"}, v100) == "V100:4");
  CHECK(asked({.gpus = 2, .gpu = "v100"}, v100) == "v100:2");
  CHECK(asked({.gpus = 3}, v100) == "3");
  CHECK(asked({.gpu_memory = 16_GB}, v100) == "1");
  CHECK(asked({.cpus = 1}, v100) == "");
  CHECK(asked({.gpu = "V100:8|A100"}, v100) == "no_machine_type");
}

TEST_CASE("what nothing serves is no choice of a run") {
  auto types = house();
  for (auto& type : types) type.machines = type.connected = 0;
  CHECK(names({.gpu = "V100"}, types).size() == 2);
  auto none = detail::rank(types, {.gpu = "V100", .provided = true});
  CHECK(none.error().message().find("v100x4: no machine serves it") != std::string::npos);
  CHECK(none.error().message().find("would do") == std::string::npos);
  CHECK(detail::explain(types, {.provided = true}).value().fit.empty());
  types[3].pool = "aws", types[3].max_machines = 1;
  CHECK(names({.gpu = "V100", .provided = true}, types) == Names{"v100x4"});
}

TEST_CASE("what is preferred comes first among those that are there") {
  CHECK(names({.gpus = 1, .prefer = MachineQuery::Prefer::availability}).front() == "v100x4");
  CHECK(names({.gpus = 1, .prefer = MachineQuery::Prefer::power}) ==
        Names{"v100x4", "v100", "k80", "a100"});
  CHECK(names({.prefer = MachineQuery::Prefer::power}).front() == "v100x4");  // that is GPUs
}

TEST_CASE("each has its reason") {
  auto ranked = detail::rank(house(), {.gpus = 1}).value();
  CHECK(ranked[1].reason ==
        "1 x Tesla V100 of 16 GB, 16 cores, 64 GB, 1 of 2 machines connected, spot, $0.75 an hour");
  CHECK(ranked.back().reason ==
        "1 x NVIDIA A100 of 40 GB, 16 cores, 64 GB, 0 of 2 machines connected, without a price");
}

TEST_CASE("a list is never empty: what excludes each is said") {
  auto types = house();
  types[4].hourly = Dollars(7);
  auto none = detail::rank(types, {.gpu_memory = 30_GB, .max_price = Dollars(5)});
  REQUIRE(!none);
  CHECK(none.error().code() == "no_machine_type");
  CHECK(none.error().message() ==
        "no machine type fits: CPU: no GPU; k80: 12 GB a GPU; v100: 16 GB a GPU; v100x4: 16 GB a "
        "GPU; a100: $7.00 an hour; without the GPUs' memory k80 would do (and 1 more); without the "
        "highest price a100 would do");
  CHECK(names({}, {}) == Names{"no_machine_type"});
  MachineTypeInfo declared;
  declared.name = "p100";
  declared.gives.gpus = 1;
  CHECK(names({.gpus = 1}, {declared}) == Names{"p100"});
  CHECK(detail::rank({declared}, {.gpus = 1}).value()[0].reason.find("no machine serves it yet") !=
        std::string::npos);
  CHECK(names({.gpu_memory = 1_GB}, {declared}) == Names{"no_machine_type"});
}

namespace {

/// A house in which prices and throughputs are known.
std::vector<MachineTypeInfo> priced() {
  std::vector<MachineTypeInfo> types = {
      type("v100", 1, "Tesla V100-SXM2-16GB", 16_GB),
      type("v100x4", 4, "Tesla V100-SXM2-16GB", 16_GB),
      type("a100", 1, "NVIDIA A100-SXM4-40GB", 40_GB),
      type("t4", 1, "Tesla T4", 16_GB),
  };
  types[0].hourly = Dollars(3.06), types[0].throughput = 1;
  types[1].hourly = Dollars(12.24), types[1].throughput = 2.95;
  types[2].hourly = Dollars(1.29), types[2].throughput = 1.83;
  types[3].hourly = Dollars(0.526);
  return types;
}

using Prefer = MachineQuery::Prefer;

}  // namespace

TEST_CASE("GPUs are asked for by several names, each with its number") {
  CHECK(names({.gpu = "V100|A100"}, priced()) == Names{"a100", "v100", "v100x4"});
  CHECK(names({.gpu = "V100|A100:4"}, priced()) == Names{"v100x4"});
  CHECK(names({.gpu = "V100:4|A100:1"}, priced()) == Names{"a100", "v100x4"});
  CHECK(names({.gpus = 2, .gpu = "v100"}, priced()) == Names{"v100x4"});
  CHECK(names({.gpu = " t4 "}, priced()) == Names{"t4"});
  CHECK(names({.gpu = "A10"}, priced()) == Names{"no_machine_type"});  // no A100
  for (auto wrong : {"|", "V100|", ":4", "V100:0", "V100:-1", "V100:x", "V100:"})
    CHECK(names({.gpu = wrong}, priced()) == Names{"invalid_request"});
  CHECK(names({.gpus = -1}, priced()) == Names{"invalid_request"});
  CHECK(names({.max_price = Dollars::nanos(-1)}, priced()) == Names{"invalid_request"});
  auto many = detail::rank(priced(), {.gpu = "V100:8"});
  CHECK(many.error().message().find("v100x4: at most 4 of 8 GPUs") != std::string::npos);
  CHECK(many.error().message().find("a100: its GPUs are NVIDIA A100-SXM4-40GB") !=
        std::string::npos);
}

TEST_CASE("the cheapest, the fastest, and the most for a dollar") {
  CHECK(names({.gpus = 1}, priced()) == Names{"t4", "a100", "v100", "v100x4"});
  CHECK(names({.gpus = 1, .prefer = Prefer::cheapest}, priced()).front() == "t4");
  CHECK(names({.gpus = 1, .prefer = Prefer::fastest}, priced()) ==
        Names{"a100", "v100", "v100x4", "t4"});  // with one of its four it is no faster
  CHECK(names({.gpus = 4, .gpu = "V100|A100", .prefer = Prefer::fastest}, priced()) ==
        Names{"v100x4"});
  // 1.42, 0.33, 0.06 for a dollar an hour; how fast a T4 is, is not known.
  CHECK(names({.gpus = 1, .prefer = Prefer::value}, priced()) ==
        Names{"a100", "v100", "v100x4", "t4"});
  auto types = priced();
  types[3].throughput = 0.5, types[3].hourly = Dollars(0);  // costs nothing
  CHECK(names({.gpus = 1, .prefer = Prefer::value}, types).front() == "t4");
  auto reason = detail::rank(priced(), {.gpus = 1, .prefer = Prefer::value}).value()[0].reason;
  CHECK(reason.ends_with("$1.29 an hour, 1.83 x V100, 1.42 for a dollar an hour"));
  reason = detail::rank(priced(), {.gpu = "V100:2", .prefer = Prefer::value}).value()[0].reason;
  CHECK(reason.ends_with("2.95 x V100, 1.48 of it with 2 of 4 GPUs, 0.121 for a dollar an hour"));
}

TEST_CASE("what runs have measured counts in place of the catalogue") {
  MachineQuery query{.gpus = 1, .prefer = Prefer::value, .measured = "images_per_s"};
  detail::MeasuredTypes measured = {{"v100", {400, 3}}, {"t4", {150, 1}}};
  auto ranked = detail::rank(priced(), query, measured).value();
  // t4 285, a100 400 * 1.83 / 1.29 = 567, v100 131, v100x4 24 for a dollar an hour.
  Names order;
  for (auto& one : ranked) order.push_back(one.name);
  CHECK(order == Names{"a100", "t4", "v100", "v100x4"});
  CHECK(ranked[0].reason.find("about 732 images_per_s") != std::string::npos);
  CHECK(ranked[1].reason.find("150 images_per_s in 1 run,") != std::string::npos);
  CHECK(ranked[2].reason.find("400 images_per_s in 3 runs,") != std::string::npos);
  // Nothing brings the catalogue to the measure of a type that it does not know.
  ranked = detail::rank(priced(), query, {{"t4", {150, 1}}}).value();
  CHECK(ranked[0].name == "t4");
  CHECK(names(query, priced()).front() == "a100");  // nothing is measured yet
}

TEST_CASE("sizes are compared as they are sold") {
  auto types = priced();
  types[0].gpu_memory = 15 * 1_GB + 800_MB;
  types[0].largest.memory = 60_GB - 900_MB;
  types[3].gpu_memory = 16_GB * 92 / 100;
  CHECK(names({.gpu = "V100:1", .gpu_memory = 16_GB, .memory = 60_GB}, types) ==
        Names{"v100", "v100x4"});
  CHECK(names({.gpu = "T4", .gpu_memory = 16_GB}, types) == Names{"no_machine_type"});
}

TEST_CASE("the order of the types that come, and of equals, changes nothing") {
  auto types = priced();
  for (auto name : {"b", "a", "c"}) {
    types.push_back(types[0]);
    types.back().name = name;
  }
  Names first = names({.gpus = 1, .prefer = Prefer::value}, types);
  CHECK(first == Names{"a100", "a", "b", "c", "v100", "v100x4", "t4"});
  for (int turn = 0; turn < 20; ++turn) {
    std::rotate(types.begin(), types.begin() + 1, types.end());
    if (turn % 3 == 0) std::swap(types[0], types[3]);
    CHECK(names({.gpus = 1, .prefer = Prefer::value}, types) == first);
  }
}

TEST_CASE("a pool's type is there, one that nothing serves comes last") {
  auto types = priced();
  types[2].machines = types[2].connected = 0;  // a100: nothing serves it
  types[3].machines = types[3].connected = 0;
  types[3].pool = "aws", types[3].max_machines = 1;
  types[1].connected = 0;
  CHECK(names({.gpus = 1}, types) == Names{"t4", "v100", "v100x4", "a100"});
  CHECK(detail::rank(types, {.gpus = 1}).value()[0].reason.find("launched when wanted") !=
        std::string::npos);
}

TEST_CASE("all types are explained") {
  auto selection =
      detail::explain(priced(), {.gpu_memory = 16_GB, .max_price = Dollars(2)}).value();
  REQUIRE(selection.fit.size() == 2);
  CHECK((selection.fit[0].name == "t4" && selection.fit[1].name == "a100"));
  REQUIRE(selection.excluded.size() == 2);
  CHECK((selection.excluded[0].name == "v100" && selection.excluded[0].reason == "$3.06 an hour"));
  CHECK(selection.excluded[1].name == "v100x4");
  CHECK(detail::explain(priced(), {.gpus = 9}).value().fit.empty());
}

TEST_CASE("of many types that do not fit some are named") {
  std::vector<MachineTypeInfo> types;
  for (int i = 0; i < 100; ++i) types.push_back(type("t" + std::to_string(i), 0, "", 0));
  auto none = detail::rank(types, {.gpus = 1, .cpus = 1000});
  CHECK(none.error().message().find("and 88 more") != std::string::npos);
}

TEST_CASE("a GPU that nobody knows is named with the nearest") {
  int asked = 0;
  auto catalogue = [&]() -> Result<std::vector<CatalogueEntry>> {
    ++asked;
    std::vector<CatalogueEntry> entries(2);
    entries[0].gpu = "H100";
    entries[1].gpu = "P100";
    return entries;
  };
  auto check = [&](const char* gpu) {
    auto checked = detail::check_gpu_names(priced(), {.gpu = gpu}, catalogue);
    return checked ? std::string() : checked.error().code() + ": " + checked.error().message();
  };
  CHECK(check("V100|a100:2") == "");
  CHECK(asked == 0);
  CHECK(check("H100") == "");
  CHECK(check("V100|H10") == "unknown_gpu: no GPU is called 'H10'; did you mean H100?");
  CHECK(check("quantum") ==
        "unknown_gpu: no GPU is called 'quantum'; there are H100, NVIDIA A100-SXM4-40GB, P100, "
        "Tesla T4, Tesla V100-SXM2-16GB");
}
