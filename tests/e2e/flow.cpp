// A workflow program for tests and benches, which starts shell commands as runs of its workflow.
//
//     spell_flow chain COMMAND…          one after the other: "run-1" has succeeded before "run-2"
//     is
//                                        made, which mounts at before/ what "run-1" has saved
//     spell_flow many COUNT COMMAND      so many, "child-1" …, all made before the first is awaited
//     spell_flow start COUNT COMMAND…    so many workflows, the commands in turn are their managing
//                                        runs; prints the numbers of these
#include <spell/spell.hpp>

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <span>
#include <string>
#include <vector>

namespace {

using namespace spell;

void chain(Workflow flow, std::span<char*> commands) {
  std::vector<Mount> mounts;
  int number = 0;
  for (auto command : commands) {
    RunSpec spec{.command = command, .mounts = mounts};
    auto run = flow.run("run-" + std::to_string(++number), spec).value();
    auto ended = run.wait_success().value();
    if (ended.output_files > 0) mounts = {{run.output(), "before"}};
  }
}

void many(Workflow flow, int count, const char* command) {
  auto start = std::chrono::steady_clock::now();
  auto seconds = [start] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  std::vector<Run> children;
  RunSpec spec{.command = command};
  for (int i = 1; i <= count; ++i)
    children.push_back(flow.run("child-" + std::to_string(i), spec).value());
  double made = seconds();
  for (auto& child : children) child.wait_success().value();
  std::cout << "{\"made\": " << made << ", \"ended\": " << seconds() << "}" << std::endl;
}

void start(const Client& client, int count, std::span<char*> commands) {
  for (int i = 0; i < count; ++i) {
    WorkflowSpec spec{
        .run = RunSpec{.command = commands[static_cast<std::size_t>(i) % commands.size()]}};
    auto made = client.workflows().create(spec).value();
    std::cout << made.id << ' ' << made.run.value() << std::endl;
  }
}

}  // namespace

int main(int argc, char** argv) try {
  std::string what = argc > 1 ? argv[1] : "";
  std::span<char*> words(argv, static_cast<std::size_t>(argc));
  auto client = Client::from_environment().value();
  if (what == "chain" && argc > 2)
    chain(Workflow::current_or_create(client).value(), words.subspan(2));
  else if (what == "many" && argc == 4)
    many(Workflow::current_or_create(client).value(), std::atoi(argv[2]), argv[3]);
  else if (what == "start" && argc > 3)
    start(client, std::atoi(argv[2]), words.subspan(3));
  else
    return std::cerr << "spell_flow chain|many|start …\n", 2;
} catch (const spell::Error& e) {
  std::cerr << "spell_flow: " << e << '\n';
  return 1;
}
