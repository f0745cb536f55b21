// spell_bench_place RUNS MACHINES: how long it takes to find the next run its place when one has
// ended, in milliseconds: so many runs wait for so many machines, which are all full.
// {"usual", "slow": the median and the 99th of 100, "kinds": of runs that are placed in different
// ways, "unlike": the median where each run asks for something else}
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "sched/queue.hpp"

using namespace spell;
using namespace spell::sched;

namespace {

constexpr std::int64_t GB = 1'000'000'000;

struct House {
  std::mt19937 random{1};
  Cluster cluster;
  Queue queue;
  std::int64_t now = 0, number = 0;
  struct There {
    Queue::User user;
    Placement placed;
  };
  std::vector<There> there;

  std::size_t pick(std::size_t count) { return random() % count; }

  explicit House(int machines) {
    for (int i = 0; i < machines; ++i) {
      Machine machine;
      machine.name = "machine-" + std::to_string(i);
      machine.joined = machine.connected = true;
      machine.serves = i % 10 < 6 ? std::vector<std::string>{"cpu"}
                                  : std::vector<std::string>{i % 10 < 9 ? "v100" : "h100", "cpu"};
      machine.offers = i % 10 < 6 ? Amounts{16, 64 * GB, 0} : Amounts{64, 512 * GB, 8};
      cluster.put(machine);
    }
  }

  void add(bool unlike) {
    const std::string types[] = {"cpu", "cpu", "v100", "v100", "h100"};
    Waiting wants;
    wants.machine_type = types[pick(std::size(types))];
    wants.owner = "team";
    wants.user = "user-" + std::to_string(pick(50));
    if (pick(2)) wants.project = "project-" + wants.user;
    if (wants.machine_type == "cpu")
      wants.ask = {std::int64_t{1} << pick(4), std::int64_t{4} << pick(3), 0, ""};
    else
      wants.ask.gpus = std::int64_t{1} << pick(4);
    wants.ask.memory *= GB;
    ++number;
    if (unlike) wants.ask.memory = 4 * GB + number;
    queue.add(std::move(wants), static_cast<Priority>(pick(3)), {true, ++now, number});
  }
  std::size_t look() {
    std::size_t placed = 0;
    Cluster::Round round(cluster);
    Queue::Look look(queue, cluster.offers(), now);
    while (auto turn = look.next()) {
      auto place = round.place(turn->kind->wants);
      if (!place) {
        look.wait(round.nowhere(), round.whole_shape());
        continue;
      }
      ++placed;
      Queue::User user{turn->kind->wants.owner, turn->kind->wants.user};
      queue.placed(turn->kind, turn->run, now);
      queue.take(user, place->takes);
      there.push_back({user, *place});
      queue.take_out(turn->kind, turn->run);
    }
    return placed;
  }
  void end_one() {
    std::swap(there[pick(there.size())], there.back());
    auto& run = there.back();
    cluster.give_back(run.placed.machine, run.placed.takes);
    queue.give_back(run.user, run.placed.takes);
    there.pop_back();
  }
};

struct Times {
  double usual = 0, slow = 0;
  std::size_t kinds = 0;
};

Times measure(std::size_t runs, int machines, bool unlike) {
  House house(machines);
  while (house.queue.size() < runs) {
    for (auto i = house.queue.size(); i < runs; ++i) house.add(unlike);
    house.look();
  }
  using Clock = std::chrono::steady_clock;
  std::vector<double> took;
  while (took.size() < 1001) {
    house.now += 1'000'000;
    house.end_one();
    auto start = Clock::now();
    auto placed = house.look();
    double ms = std::chrono::duration<double, std::milli>(Clock::now() - start).count();
    if (placed > 0) took.push_back(ms);  // else what has become free is kept for a large one
    while (house.queue.size() < runs) house.add(unlike);
  }
  std::sort(took.begin(), took.end());
  return {took[took.size() / 2], took[took.size() * 99 / 100], house.queue.kinds().size()};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return std::fputs("usage: spell_bench_place RUNS MACHINES\n", stderr), 2;
  auto runs = static_cast<std::size_t>(std::atoi(argv[1]));
  auto usual = measure(runs, std::atoi(argv[2]), false);
  auto unlike = measure(runs, std::atoi(argv[2]), true);
  std::printf("{\"usual\": %.6f, \"slow\": %.6f, \"kinds\": %zu, \"unlike\": %.6f}\n", usual.usual,
              usual.slow, usual.kinds, unlike.usual);
}
