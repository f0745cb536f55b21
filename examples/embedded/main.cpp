// A service, a worker and a pipeline of three runs in one program.
#include <iostream>
#include <spell/service.hpp>
#include <spell/spell.hpp>
#include <spell/worker.hpp>

int main(int argc, char** argv) try {
  spell::ServiceOptions options;
  options.folder = argc > 1 ? argv[1] : "state";
  auto service = spell::Service::start(options).value();
  auto worker = spell::Worker::start(service).value();
  auto client = service.client();

  spell::RunSpec numbers;
  numbers.command = "seq 1 100 > numbers";
  auto first = client.run(numbers).value();

  // Begins when the first has ended, with what it saved.
  spell::RunSpec sum;
  sum.command = "awk '{s += $1} END {print s}' numbers > sum";
  sum.mounts = {{first.output("numbers"), "numbers"}};
  auto second = client.run(sum).value();

  spell::RunSpec show;
  show.command = "echo the sum is $(cat sum)";
  show.mounts = {{second.output("sum"), "sum"}};
  auto third = client.run(show).value();

  for (auto& line : third.logs({.follow = true, .only = spell::LogKind::output}))
    std::cout << line.value() << '\n';
  for (auto& run : {first, second, third}) run.wait_success().value();
} catch (const spell::Error& e) {
  std::cerr << "embedded: " << e << '\n';
  return 1;
}
