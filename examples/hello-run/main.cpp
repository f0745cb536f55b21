// Runs `echo hello` (or the command that is given) and ends as it ends, with its output.
#include <iostream>
#include <spell/spell.hpp>

int main(int argc, char** argv) try {
  spell::RunSpec spec;
  spec.command = argc > 1 ? argv[1] : "echo hello";

  auto client = spell::Client::from_environment().value();
  auto run = client.run(spec).value();
  for (auto& line : run.logs({.follow = true, .only = spell::LogKind::output}))
    std::cout << line.value() << '\n';

  auto end = run.wait().value();
  std::cerr << "run " << end.id << ": " << end.status << '\n';
  return end.user_exit_code.value_or(125);
} catch (const spell::Error& e) {
  std::cerr << "hello-run: " << e << '\n';
  return 1;
}
