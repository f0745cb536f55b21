// fetch -> train -> sample: each a run of one workflow, each mounts what the one before has saved.
#include <iostream>
#include <spell/spell.hpp>

using namespace spell;

int main(int argc, char** argv) try {
  std::string python = argc > 1 ? argv[1] : "python3", steps = argc > 2 ? argv[2] : "300";
  auto client = Client::from_environment().value();
  auto flow = Workflow::current_or_create(client, {.description = "char-rnn"}).value();

  auto fetch =
      flow.run("fetch", {.command = "for i in 1 2 3; do cat /usr/share/common-licenses/GPL-3; "
                                    "done > input.txt"})
          .value();
  fetch.wait_success().value();
  std::cerr << "fetched: " << fetch.output("input.txt") << '\n';

  auto train = flow.run("train", {.command = python + " train.py --data /data/input.txt --steps " +
                                             steps + " --resume",
                                  .code = Code::label("char-rnn"),
                                  .mounts = {{fetch.output("input.txt"), "/data/input.txt"}}})
                   .value();
  for (auto& line : train.logs({.follow = true, .only = LogKind::output}))
    std::cerr << "train: " << line.value() << '\n';
  train.wait_success().value();

  auto sample = flow.run("sample", {.command = python + " sample.py",
                                    .code = Code::label("char-rnn"),
                                    .mounts = {{train.output("checkpoints"), "checkpoints"}}})
                    .value();
  sample.wait_success().value();
  for (auto& line : sample.logs({.only = LogKind::output})) std::cout << line.value() << '\n';
} catch (const Error& e) {
  std::cerr << "pipeline: " << e << '\n';
  return 1;
}
