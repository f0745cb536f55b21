// What a workflow program is to look like: fetch -> train on the cheapest spot GPU -> sample.
#include <iostream>
#include <spell/spell.hpp>

using namespace spell;

int main() try {
  auto client = Client::from_environment().value();
  auto flow = Workflow::current_or_create(client, {.description = "char-rnn"}).value();

  auto fetch = flow.run("fetch", {.command = "curl -fsSo input.txt "
                                             "https://www.gutenberg.org/files/2600/2600-0.txt"})
                   .value();
  fetch.wait_success().value();

  auto best = client.select({.gpu_memory = 16_GB, .spot = Spot::only, .max_price = Dollars{5}})
                  .value()
                  .front();
  std::cerr << "training on " << best.name << ": " << best.reason << '\n';

  auto train =
      flow.run("train",
               {
                   .command = "python3 train.py --data_dir=/data --save_dir=checkpoints --resume",
                   .code = Code::label("char-rnn"),
                   .machine_type = best.name,
                   .mounts = {{fetch.output("input.txt"), "/data/input.txt"}},
                   .auto_resume = true,
               })
          .value();
  for (auto& checkpoint : train.checkpoints(/*follow=*/true))
    std::cerr << "safe: " << checkpoint.value().path << '\n';
  train.wait_success().value();

  auto sample = flow.run("sample",
                         {
                             .command = "python3 sample.py --save_dir=checkpoints",
                             .code = Code::label("char-rnn"),
                             .mounts = {{train.output("checkpoints"), "checkpoints"}},
                         })
                    .value();
  for (auto& line : sample.logs({.follow = true, .only = LogKind::output}))
    std::cout << line.value() << '\n';
  sample.wait_success().value();
} catch (const Error& e) {
  std::cerr << "pipeline: " << e << '\n';
  return 1;
}
