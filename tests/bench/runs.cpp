// Submits runs of `true` through one client and waits until all are complete. Prints, as JSON, the
// seconds from the first submission to the last acknowledged one, and to the moment when all are
// known to be complete.
//
//     spell_bench_runs COUNT [THREADS]
#include <spell/spell.hpp>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <thread>

namespace {

/// Waits for the newest run, then for those that a list still names: a few requests in all.
void wait_for_all(const spell::Client& client, std::int64_t newest) {
  client.runs().get(newest).value().wait().value();
  spell::RunFilter active;
  active.active_only = true;
  active.limit = 0;
  for (;;) {
    auto left = client.runs().list(active).all().value();
    if (left.empty()) return;
    for (auto& run : left) client.runs().get(run.id).value().wait().value();
  }
}

int bench(int count, int threads) {
  auto client = spell::Client::from_environment().value();
  client.status().value();  // the service runs, the connection is there
  std::atomic<int> next = 0;
  std::atomic<std::int64_t> newest = 0;
  std::atomic<bool> refused = false;
  auto start = std::chrono::steady_clock::now();
  auto seconds = [start] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  auto submit = [&] {
    spell::RunSpec spec;
    spec.command = "true";
    while (next++ < count) {
      auto run = client.runs().create(spec);
      if (!run) {
        refused = true;
        std::cerr << run.error() << '\n';
        return;
      }
      std::int64_t seen = newest;
      while (seen < run->id() && !newest.compare_exchange_weak(seen, run->id())) {
      }
    }
  };
  {
    std::vector<std::jthread> others;
    for (int i = 1; i < threads; ++i) others.emplace_back(submit);
    submit();
  }
  if (refused) return 1;
  double submitted = seconds();
  wait_for_all(client, newest);
  double complete = seconds();

  spell::RunFilter all;
  all.limit = count;
  for (auto& each : client.runs().list(all))
    if (auto& run = each.value();
        run.status != spell::RunStatus::complete || run.user_exit_code != 0) {
      std::cerr << "run " << run.id << " is " << run.status << ": " << run.reason << '\n';
      return 1;
    }
  std::cout << "{\"submitted\": " << submitted << ", \"complete\": " << complete << "}\n";
  return 0;
}

}  // namespace

int main(int argc, char** argv) try {
  return bench(argc > 1 ? std::atoi(argv[1]) : 1000, argc > 2 ? std::atoi(argv[2]) : 1);
} catch (const spell::Error& e) {
  std::cerr << "spell_bench_runs: " << e << '\n';
  return 1;
}
