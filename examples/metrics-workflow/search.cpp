// Three trainings at once. The first whose loss is low enough is kept, the others are killed.
#include <atomic>
#include <iostream>
#include <spell/spell.hpp>
#include <thread>

using namespace spell;

/// Stands for a training: reports its loss, step by step, and never ends by itself.
constexpr const char* training = R"(python3 - :rate: <<'END'
import json, os, sys, time, urllib.request
loss = 1.0
while True:
    loss *= 1 - float(sys.argv[1])
    point = {"name": "loss", "type": "number", "number": loss}
    urllib.request.urlopen(f"http://{os.environ['SPELL_METRICS']}/user-metrics", json.dumps(point).encode())
    with open("model.part", "w") as file:  # whoever is stopped leaves a whole model
        file.write(f"{loss}\n")
    os.replace("model.part", "model.txt")
    time.sleep(0.02)
END)";

int main() try {
  auto client = Client::from_environment().value();
  auto flow = Workflow::current_or_create(client, {.description = "search"}).value();

  const std::vector<std::string> rates = {"0.5", "0.1", "0.02"};
  std::vector<Run> runs;
  for (auto& rate : rates)
    runs.push_back(
        flow.run("rate-" + rate, {.command = training, .params = {{"rate", rate}}}).value());

  std::atomic<std::size_t> best = runs.size();
  std::stop_source found;
  {
    std::vector<std::jthread> waits;
    for (std::size_t i = 0; i < runs.size(); ++i)
      waits.emplace_back([&, i] {
        std::size_t none = runs.size();
        auto point = runs[i].wait_metric("loss", "<", 0.01, {.stop = found.get_token()});
        if (point && best.compare_exchange_strong(none, i)) found.request_stop();
        if (!point && point.error().code() != "canceled")
          std::cerr << rates[i] << ": " << point.error() << '\n';
      });
  }
  if (best == runs.size()) return std::cerr << "none of them got there\n", 1;

  runs[best].label({"best"}).value();
  runs[best].stop().value();  // its files are saved
  for (std::size_t i = 0; i < runs.size(); ++i)
    if (i != best) runs[i].kill().value();
  for (auto& run : runs) run.wait().value();
  std::cout << "best rate: " << rates[best] << ", in " << runs[best].output("model.txt") << '\n';
} catch (const Error& e) {
  std::cerr << "search: " << e << '\n';
  return 1;
}
