#include "arguments.hpp"

#include <sys/wait.h>

#include <cstdio>

#include "catch.hpp"
#include "run_options.hpp"

using namespace spell;
using namespace spell::cli;

namespace {

struct Parsed {
  RunOptions given;
  Result<RunSpec> spec;
};

Parsed parse(const Words& arguments, std::map<std::string, std::string> environment = {}) {
  Parsed parsed;
  Options options("run", "[OPTIONS] COMMAND", "");
  parsed.given.define(options);
  if (auto done = options.parse(arguments); !done) {
    parsed.spec = done.error();
    return parsed;
  }
  parsed.spec = parsed.given.spec([&](const char* name) -> const char* {
    auto at = environment.find(name);
    return at == environment.end() ? nullptr : at->second.c_str();
  });
  return parsed;
}

std::string command_of(const Words& arguments) {
  auto parsed = parse(arguments);
  REQUIRE(parsed.spec);
  return parsed.spec->command;
}

std::string refusal_of(const Words& arguments) {
  auto parsed = parse(arguments);
  REQUIRE_FALSE(parsed.spec);
  return parsed.spec.error().code() + ": " + parsed.spec.error().message();
}

/// What a shell makes of a command, one word a line.
std::string words_of(const std::string& command) {
  std::string line = "printf '%s\\n' " + command, words;
  FILE* shell = ::popen(line.c_str(), "r");
  for (int c; (c = std::fgetc(shell)) != EOF;) words += static_cast<char>(c);
  ::pclose(shell);
  return words;
}

}  // namespace

TEST_CASE("one word goes to the shell as it is") {
  CHECK(command_of({"python3 train.py && echo $HOME"}) == "python3 train.py && echo $HOME");
  CHECK(command_of({"true"}) == "true");
}

TEST_CASE("several words reach the program as they were") {
  std::string command = command_of({"printf '%s\\n'", "*", "a b", "$HOME", "it's", "", "plain"});
  CHECK(words_of(command.substr(command.find(' ', command.find("n'")))) ==
        "*\na b\n$HOME\nit's\n\nplain\n");
  CHECK(command_of({"python", "-c", "print(1)"}) == "python -c 'print(1)'");
}

TEST_CASE("all after the first word belongs to the command") {
  auto parsed = parse({"-b", "-t", "K80", "python", "-c", "x", "-t", "CPU", "--json", "--", "-f"});
  REQUIRE(parsed.spec);
  CHECK(parsed.given.background);
  CHECK_FALSE(parsed.given.force);
  CHECK(parsed.spec->machine_type == "K80");
  CHECK(parsed.spec->command == "python -c x -t CPU --json -- -f");
}

TEST_CASE("options are accepted after a quoted command") {
  auto parsed = parse({"python train.py", "-t", "CPU", "-b", "--label=a", "--label", "b"});
  REQUIRE(parsed.spec);
  CHECK(parsed.given.background);
  CHECK(parsed.spec->machine_type == "CPU");
  CHECK(parsed.spec->labels == Words{"a", "b"});
  CHECK(parsed.spec->command == "python train.py");

  CHECK(command_of({"my program", "-b", "arg", "-f"}) == "'my program' arg -f");
  CHECK(refusal_of({"python train.py", "--epochs", "3"})
            .starts_with("usage: unknown option --epochs"));
}

TEST_CASE("-- ends the options") {
  CHECK(command_of({"-b", "--", "-x", "y"}) == "-x y");
  CHECK(command_of({"--", "a b"}) == "a b");
  CHECK(command_of({"--", "a b", "-b"}) == "'a b' -b");
  CHECK(command_of({"a b", "--", "-b"}) == "'a b' -b");
}

TEST_CASE("the word after an option that takes a value is its value") {
  CHECK(command_of({"-d", "a text", "true"}) == "true");
  CHECK(command_of({"-dtext", "true"}) == "true");
  CHECK(command_of({"--description=a text", "true"}) == "true");
  CHECK(command_of({"-bfd", "a text", "true"}) == "true");
  CHECK(command_of({"-e", "A=1", "-e", "B=2", "true"}) == "true");
  CHECK(refusal_of({"true stuff", "-d"}) == "usage: --description needs a value");
  CHECK(refusal_of({"--force=yes", "true"}) == "usage: --force takes no value");
}

TEST_CASE("a run without a command is refused") {
  for (const Words& arguments : {Words{}, Words{"-b"}, Words{"--"}, Words{""}, Words{"  "}})
    CHECK(refusal_of(arguments).starts_with("usage: what shall run?"));
}

TEST_CASE("variables") {
  auto parsed = parse({"-e", "A=1=2", "--env", "B=", "-e", "HERE", "true"}, {{"HERE", "x y"}});
  REQUIRE(parsed.spec);
  CHECK(parsed.spec->env ==
        std::map<std::string, std::string>{{"A", "1=2"}, {"B", ""}, {"HERE", "x y"}});
  CHECK(refusal_of({"-e", "GONE", "true"}).find("not set") != std::string::npos);
  for (const char* bad : {"=1", "1A=2", "A-B=1", "A B=1", ""})
    CHECK(refusal_of({"-e", bad, "true"}).starts_with("usage: --env"));
}

TEST_CASE("numbers, sizes and runs") {
  auto parsed = parse({"--timeout", "0.5", "--stop-grace", "5", "--log-limit", "10M", "--after",
                       "3,4", "--after", "9", "true"});
  REQUIRE(parsed.spec);
  CHECK(parsed.spec->timeout == std::chrono::seconds(30));
  CHECK(parsed.spec->stop_grace == std::chrono::seconds(5));
  CHECK(parsed.spec->log_limit == 10 << 20);
  CHECK(parsed.spec->after == std::vector<std::int64_t>{3, 4, 9});
  for (const Words& bad :
       {Words{"--timeout", "0"}, Words{"--timeout", "soon"}, Words{"--timeout", "nan"},
        Words{"--stop-grace", "-1"}, Words{"--log-limit", "10 M"}, Words{"--log-limit", "0"},
        Words{"--log-limit", "99999999999999T"}, Words{"--after", "3,"}, Words{"--after", "x"}}) {
    CAPTURE(bad);
    CHECK(refusal_of({bad[0], bad[1], "true"}).starts_with("usage: " + bad[0]));
  }
}

TEST_CASE("-m names a machine or a mount") {
  CHECK(parse({"-m", "box1", "true"}).spec->machine_type == "box1");
  auto parsed = parse({"-m", "runs/3/data:datasets", "-m", "box1", "--mount", "uploads/x",
                       "--mount", "alias:/mnt/a:b", "-m", "./local/", "true"});
  REQUIRE(parsed.spec);
  CHECK(parsed.spec->machine_type == "box1");
  std::vector<std::pair<std::string, std::string>> mounts;
  for (auto& mount : parsed.spec->mounts) mounts.emplace_back(mount.resource, mount.at);
  CHECK(mounts == std::vector<std::pair<std::string, std::string>>{{"uploads/x", ""},
                                                                   {"alias", "/mnt/a:b"},
                                                                   {"runs/3/data", "datasets"},
                                                                   {"./local/", ""}});
  CHECK_FALSE(is_local({"uploads/x", ""}));
  CHECK(is_local({"./local/", ""}));
  CHECK(is_local({"/data", ""}));
  for (const char* option : {"-m", "--mount"})
    CHECK(refusal_of({option, "s3://bucket/x:/mnt", "true"})
              .starts_with("not_available: --mount s3://"));
  for (const char* bad : {"", ":", ":/x", "uploads/x:"})
    CHECK(refusal_of({"--mount", bad, "true"}).starts_with("usage: --mount"));
  CHECK(refusal_of({"-m", "box1", "-t", "CPU", "true"}).starts_with("usage: "));
}

TEST_CASE("options that contradict each other are refused") {
  CHECK(refusal_of({"--github-ref", "main", "true"}).starts_with("usage: --github-ref"));
  for (const Words& other :
       {Words{"-c", "main"}, Words{"--require-clean"}, Words{"--include-untracked"}}) {
    Words arguments{"--github-url", "https://example.com/x"};
    arguments.insert(arguments.end(), other.begin(), other.end());
    arguments.push_back("true");
    CHECK(refusal_of(arguments).starts_with("usage: --github-url"));
  }
}

TEST_CASE("an active virtual environment comes along") {
  CHECK(parse({"true"}, {{"VIRTUAL_ENV", "/tmp"}}).spec->virtual_env == "/tmp");
  CHECK(parse({"--no-venv", "true"}, {{"VIRTUAL_ENV", "/tmp"}}).spec->virtual_env.empty());
  CHECK(parse({"true"}, {{"VIRTUAL_ENV", "/no/such/folder"}}).spec->virtual_env.empty());
  CHECK(parse({"true"}).spec->virtual_env.empty());
}

TEST_CASE("a misspelt option names the one that was meant") {
  CHECK(refusal_of({"--lable", "x", "true"}).find("did you mean --label?") != std::string::npos);
  CHECK(refusal_of({"--backgruond", "true"}).find("did you mean --background?") !=
        std::string::npos);
  CHECK(refusal_of({"--qqqqqqqq", "true"}).find("did you mean") == std::string::npos);
}
