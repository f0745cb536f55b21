#include "worker/environment.hpp"

#include <sys/stat.h>

#include <algorithm>

#include "temporary_folder.hpp"

using namespace spell;
using namespace spell::worker;
using namespace spell::worker::testing;

namespace {

std::string value(const Environment& environment, const std::string& name) {
  for (auto& variable : environment.variables)
    if (variable.starts_with(name + "=")) return variable.substr(name.size() + 1);
  return "(not set)";
}

void make_program(const std::string& path) {
  REQUIRE(base::write_file(path, "#!/bin/sh\n", 0755, false));
}

model::StartCommand start() {
  model::StartCommand out;
  out.number = 7;
  out.machine = "here";
  return out;
}

const RunPaths fenced = run_paths(exec::Containment::namespaces, "/w/runs/x");

}  // namespace

TEST_CASE("the environment is exactly the fixed list, the service's and the user's") {
  auto run = start();
  run.request.code = model::CodeRef{};
  run.request.code->commit = "abc";
  run.request.code->repository = "char-rnn";
  run.env["SPELL_OWNER"] = "ada";
  run.request.env["LANG"] = "C";
  run.request.env["GREETING"] = "a=b";
  auto environment = environment_of(run, {"PATH=/none", "HOME=/home/ada", "LANG=de_DE.UTF-8"},
                                    fenced, "elsewhere");
  CHECK(environment.variables ==
        std::vector<std::string>{
            "GREETING=a=b", "HOME=/home/ada", "LANG=C", "PATH=/none", "PYTHONUNBUFFERED=1",
            "SPELL_CHECKPOINTS=/spell/checkpoints", "SPELL_COMMIT=abc", "SPELL_MACHINE=here",
            "SPELL_OWNER=ada", "SPELL_PREEMPTION_FILE=/spell-tmp/preemption", "SPELL_REPO=char-rnn",
            "SPELL_ROOT=/spell", "SPELL_RUN=7", "TMPDIR=/spell-tmp"});
  CHECK(environment.notices.empty());
}

TEST_CASE("without a run root the paths are the real ones") {
  auto environment =
      environment_of(start(), {}, run_paths(exec::Containment::best_effort, "/w/runs/x"), "m");
  CHECK(value(environment, "SPELL_ROOT") == "/w/runs/x/spell");
  CHECK(value(environment, "TMPDIR") == "/w/runs/x/tmp");
}

TEST_CASE("a virtual environment comes first in PATH, and the log says so") {
  TemporaryFolder folder;
  std::string venv = folder.path + "/venv";
  REQUIRE(base::make_folders(venv + "/bin"));
  make_program(venv + "/bin/python");
  auto run = start();
  run.request.virtual_env = venv;
  auto environment = environment_of(run, {"PATH=/none"}, fenced, "m");
  CHECK(value(environment, "PATH") == venv + "/bin:/none");
  CHECK(value(environment, "VIRTUAL_ENV") == venv);
  CHECK(environment.notices == std::vector<std::string>{"using the virtual environment " + venv +
                                                        " (--no-venv leaves it out)"});
}

TEST_CASE("a virtual environment that is not here is said, not used") {
  auto run = start();
  run.request.virtual_env = "/none/venv";
  auto environment = environment_of(run, {"PATH=/none"}, fenced, "m");
  CHECK(value(environment, "PATH") == "/none");
  CHECK(value(environment, "VIRTUAL_ENV") == "(not set)");
  CHECK(environment.notices.size() == 1);
}

TEST_CASE("where there is no python the last folder of PATH has one that is python3") {
  TemporaryFolder folder;
  make_program(folder.path + "/python3");
  auto environment = environment_of(start(), {"PATH=/none:" + folder.path}, fenced, "m");
  CHECK(environment.python == folder.path + "/python3");
  CHECK(value(environment, "PATH") == "/none:" + folder.path + ":/spell-bin");

  make_program(folder.path + "/python");
  environment = environment_of(start(), {"PATH=/none:" + folder.path}, fenced, "m");
  CHECK(environment.python.empty());
  CHECK(value(environment, "PATH") == "/none:" + folder.path);
}

TEST_CASE("a folder or a file that may not be run is no program") {
  TemporaryFolder folder;
  make_program(folder.path + "/python3");
  REQUIRE(base::make_folders(folder.path + "/python"));
  CHECK(environment_of(start(), {"PATH=" + folder.path}, fenced, "m").python ==
        folder.path + "/python3");
}
