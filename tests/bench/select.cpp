// spell_bench_select TYPES: how long it takes to choose among so many machine types, in
// milliseconds.
// {"chosen": one look at all of them, "texts": the same with a reason for each that fits}
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "client/machine_ranking.hpp"

using namespace spell;

namespace {

std::vector<MachineTypeInfo> types_of(int count) {
  struct Gpu {
    const char* name;
    std::int64_t memory;
    double throughput, price;
  };
  constexpr Gpu gpus[] = {{"Tesla T4", 16_GB, 0, 0.526},
                          {"Tesla V100-SXM2-16GB", 16_GB, 1, 3.06},
                          {"NVIDIA A10G", 24_GB, 0, 1.006},
                          {"NVIDIA A100-SXM4-40GB", 40_GB, 1.83, 1.29},
                          {"NVIDIA H100 80GB HBM3", 80_GB, 4.79, 3.29}};
  std::mt19937 random(1);
  std::vector<MachineTypeInfo> types;
  for (int i = 0; i < count; ++i) {
    auto& gpu = gpus[random() % std::size(gpus)];
    std::int64_t many = std::int64_t{1} << random() % 4;
    MachineTypeInfo type;
    type.name = "type-" + std::to_string(i);
    type.spot = random() % 2 == 0;
    type.largest = {8 * many, many * 60_GB, many};
    type.gpu = gpu.name;
    type.gpu_memory = gpu.memory;
    type.machines = 1 + random() % 3;
    type.connected = random() % 2;
    type.hourly = Dollars(gpu.price * static_cast<double>(many) * (1 + random() % 100 * 0.001));
    type.throughput = gpu.throughput * static_cast<double>(many);
    types.push_back(std::move(type));
  }
  return types;
}

template <class Work>
double median_ms(Work&& work) {
  using Clock = std::chrono::steady_clock;
  std::vector<double> took;
  for (int turn = 0; turn < 101; ++turn) {
    auto start = Clock::now();
    work();
    took.push_back(std::chrono::duration<double, std::milli>(Clock::now() - start).count());
  }
  std::nth_element(took.begin(), took.begin() + 50, took.end());
  return took[50];
}

}  // namespace

int main(int argc, char** argv) {
  auto types = types_of(argc > 1 ? std::atoi(argv[1]) : 1000);
  detail::MeasuredTypes measured{{"type-1", {400, 3}}, {"type-2", {150, 1}}};
  using Prefer = MachineQuery::Prefer;
  double chosen = 0, texts = 0;
  for (auto prefer : {Prefer::cheapest, Prefer::fastest, Prefer::value}) {
    MachineQuery query{.gpu = "V100|A100:2|T4",
                       .gpu_memory = 16_GB,
                       .cpus = 8,
                       .memory = 60_GB,
                       .max_price = Dollars(50),
                       .prefer = prefer,
                       .measured = "images_per_s"};
    std::size_t fit = 0;
    chosen =
        std::max(chosen, median_ms([&] { fit = detail::order(types, query, measured)->size(); }));
    texts = std::max(texts, median_ms([&] { (void)detail::rank(types, query, measured); }));
    if (fit == 0) return 1;
  }
  std::printf("{\"chosen\": %.6f, \"texts\": %.6f}\n", chosen, texts);
}
