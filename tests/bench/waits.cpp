// Waits for the ends of many runs at once, of one client, without a thread for each. Prints, as
// JSON, the memory (MB, most so far) and the threads while all wait, and the seconds from the first
// end to the last that was told.
//
//     spell_bench_waits COUNT
//
// The runs come after one that is killed when all wait: so they end together, having done nothing.
#include <spell/asio.hpp>
#include <spell/spell.hpp>

#include <boost/asio/bind_executor.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <thread>

namespace asio = boost::asio;

namespace {

/// A number of /proc/self/status.
long status_of(const std::string& name) {
  std::ifstream in("/proc/self/status");
  for (std::string line; std::getline(in, line);)
    if (line.starts_with(name + ":")) return std::atol(line.c_str() + name.size() + 1);
  return -1;
}

int bench(int count) {
  auto client = spell::Client::from_environment().value();
  spell::RunSpec blocker, spec;
  blocker.command = "sleep 1000";
  auto first = client.run(blocker).value();
  spec.command = "true";
  spec.after = {first.id()};
  std::vector<spell::Run> runs;
  for (int i = 0; i < count; ++i) runs.push_back(client.run(spec).value());

  asio::io_context context;
  int told = 0, failed = 0;
  for (auto& run : runs)
    spell::async_wait(run, asio::bind_executor(context, [&](spell::Result<spell::RunInfo> end) {
                        ++told;
                        failed += !end;
                      }));
  // All are known to be watched when one that was begun after them has been told.
  auto last = client.run(spec).value();
  last.kill().value();
  bool watched = false;
  spell::async_wait(last, asio::bind_executor(context, [&](auto) { watched = true; }));
  while (!watched) context.run_one();
  auto memory = status_of("VmHWM"), threads = status_of("Threads");

  auto start = std::chrono::steady_clock::now();
  first.kill().value();
  context.run();
  auto took = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (failed != 0 || told != count) {
    std::cerr << failed << " of " << told << " waits failed\n";
    return 1;
  }
  std::cout << "{\"memory\": " << static_cast<double>(memory) / 1024 << ", \"threads\": " << threads
            << ", \"told\": " << took << "}\n";
  return 0;
}

}  // namespace

int main(int argc, char** argv) try {
  return bench(argc > 1 ? std::atoi(argv[1]) : 10000);
} catch (const std::exception& e) {
  std::cerr << "spell_bench_waits: " << e.what() << '\n';
  return 1;
}
