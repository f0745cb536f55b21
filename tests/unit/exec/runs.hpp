// Real runs for tests: a scratch folder, launches in it, and waiting for what a run does instead of
// for time to pass.
#pragma once
#include <string>
#include <vector>

#include "catch.hpp"
#include "exec/supervised.hpp"

namespace spell::exec::testing {

class Scratch {
 public:
  Scratch();
  ~Scratch();
  const std::string& path() const { return path_; }
  /// A run folder with spell/ and tmp/ in it.
  std::string run_folder(const std::string& name = "run");

 private:
  std::string path_;
};

std::string supervisor_program();
/// The levels that this user can have on this machine, strongest first; best_effort is always among
/// them.
const std::vector<Containment>& levels();
/// The strongest.
inline Containment best_level() { return levels().front(); }
/// Those with a run root.
std::vector<Containment> fences();
Launch launch(const std::string& folder, const std::string& command, Containment = best_level());
Supervised start(const Launch&);

/// Waits for the end (of command, supervisor or host).
State finish(Supervised&);
/// Waits until the output contains `text`. False if the run ended without it.
bool await_output(Supervised&, const std::string& folder, const std::string& text);
/// Waits until the state has what is asked for; false if the run ended first.
bool await_state(Supervised&, bool (*wanted)(const State&));
/// Starts it and waits for its end.
State run(const Launch&);

struct Output {
  std::string all{}, errors{};
  bool gapless = true;  ///< each frame's sequence is the offset of its first byte
  std::size_t frames = 0;
};
Output output_of(const std::string& folder);

/// How many processes of this machine have the text in their arguments.
int processes_with(const std::string& text);
/// A number that no other process has in its arguments: for `sleep`.
std::string unique_sleep();
int supervisor_pid(const std::string& folder);
/// Runs a program; its exit status, -1 if a signal ended it.
int run_program(const std::vector<std::string>& arguments);
/// This test program.
std::string self();

}  // namespace spell::exec::testing
