#include <algorithm>

#include "catch.hpp"
#include "exit_status.hpp"
#include "program.hpp"
#include "spell/version.hpp"
#include "unavailable.hpp"

using namespace spell;
using namespace spell::cli;

TEST_CASE("every command and option of a later version is refused by name") {
  REQUIRE_FALSE(unavailable().empty());
  for (const auto& row : unavailable()) {
    std::string command(row.command), option(row.option);
    CAPTURE(command, option);
    bool known = std::any_of(commands().begin(), commands().end(),
                             [&](const auto& c) { return c.name == command; });
    CHECK(known == !option.empty());
    std::string name = option.empty() ? command : option;
    std::vector<Words> calls{{"2", "true"}};
    if (!option.empty())
      calls = {{option, "2", "true"},
               {option + "=2", "true"},
               {option, "true"},
               {"python train.py", option, "2"}};
    for (auto& call : calls) {
      // An option of a group of commands belongs to those below it.
      if (command == "machine-type") call.insert(call.begin(), "add");
      call.insert(call.begin(), command);
      Program program(call);
      CHECK(program.status == 2);
      CHECK(program.err == "spell: " + name + " is not available in this version\n");
      CHECK(program.out.empty());
    }
  }
}

TEST_CASE("every command explains itself") {
  for (const auto& row : commands()) {
    CAPTURE(row.name);
    Program program({std::string(row.name), "--help"});
    CHECK(program.status == 0);
    CHECK(program.out.starts_with("Usage: spell " + std::string(row.name)));
    CHECK(program.err.empty());
    for (std::size_t begin = 0; begin < program.out.size();) {
      std::size_t end = program.out.find('\n', begin);
      CHECK(end - begin <= 120);
      begin = end + 1;
    }
    CHECK(Program({"--help"}).out.find("\n  " + std::string(row.name) + " ") != std::string::npos);
  }
  std::string help = Program({"run", "--help"}).out;
  CHECK(std::count(help.begin(), help.end(), '\n') <= 55);
}

TEST_CASE("version") {
  Program program({"--version"});
  CHECK(program.status == 0);
  CHECK(program.out == std::string("spell ") + version() + "\n");
}

TEST_CASE("mistakes are one line and exit status 2") {
  struct Row {
    Words call;
    const char* says;
  };
  for (const Row& row : std::vector<Row>{
           {{}, "which command?"},
           {{"pss"}, "did you mean spell ps?"},
           {{"rnu", "true"}, "did you mean spell run?"},
           {{"quite-unlike"}, "unknown command \"quite-unlike\""},
           {{"--verison"}, "unknown option --verison"},
           {{"ps", "--no-trunk"}, "did you mean --no-trunc?"},
           {{"ps", "7"}, "unexpected argument 7"},
           {{"ps", "-n", "many"}, "-n many"},
           {{"logs"}, "needs the number of a run"},
           {{"logs", "seven"}, "\"seven\" is not a run's number"},
           {{"logs", "7", "-n", "-3"}, "-n -3"},
           {{"stop"}, "needs the numbers of runs"},
           {{"stop", "-1"}, "is not a run's number"},
           {{"wait", "0"}, "\"0\" is not a run's number"},
           {{"rm", "7"}, "-f deletes without asking"},
           {{"upload", "-c", "x"}, "-c is not available in this version"},
           {{"cp", "-f", "-i", "runs/1"}, "contradict"},
           {{"cp"}, "needs a SOURCE"},
           {{"project"}, "needs a command"},
           {{"project", "crate", "x"}, "did you mean spell project create?"},
           {{"project", "edit", "x"}, "nothing to change"},
           {{"ps", "--service", "some where"}, "it is local, unix:PATH or https://HOST:PORT"},
           {{"ps", "--service", "http://host"}, "would not be secret"},
           {{"login"}, "needs the service's URL"},
           {{"login", "unix:/x"}, "https://HOST:PORT needs a login"},
       }) {
    CAPTURE(row.call, row.says);
    Program program(row.call);
    CHECK(program.status == 2);
    CHECK(program.out.empty());
    CHECK(program.err.starts_with("spell: "));
    CHECK(program.err.find(row.says) != std::string::npos);
    CHECK(std::count(program.err.begin(), program.err.end(), '\n') == 1);
  }
}

TEST_CASE("with --json an error is the API's error body") {
  for (const Words& call :
       {Words{"--json", "pss"}, Words{"ps", "--json", "--nope"}, Words{"--json", "ps", "--nope"},
        Words{"run", "--json", "--nope", "true"}, Words{"project", "--json", "get"}}) {
    CAPTURE(call);
    Program program(call);
    CHECK(program.status == 2);
    CHECK(program.err.starts_with("{\"error\":{\"code\":\"usage\",\"message\":\""));
  }
  // Here it belongs to the command.
  CHECK(
      Program({"run", "--nope", "prog", "--json"}).err.starts_with("spell: unknown option --nope"));
}

TEST_CASE("exit statuses") {
  for (auto [code, status] : {std::pair("usage", 2),
                              {"not_available", 2},
                              {"invalid_configuration", 3},
                              {"not_a_repository", 4},
                              {"unsupported_repository", 4},
                              {"bad_ref", 5},
                              {"no_commit", 5},
                              {"uncommitted_changes", 6},
                              {"run_not_found", 1},
                              {"another", 1}})
    CHECK(exit_status(Error(code, "")) == status);

  RunInfo run;
  run.status = "complete";
  run.user_exit_code = 3;
  CHECK(exit_status(run) == 3);
  run.user_exit_code = 0;
  CHECK(exit_status(run) == 0);
  run.user_exit_code = 137;
  run.user_signal = 9;
  CHECK(exit_status(run) == 137);
  for (const char* status :
       {"failed", "build_failed", "mount_failed", "interrupted", "killed", "stopped"}) {
    run.status = status;
    CHECK(exit_status(run) == 125);
  }
}
