#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "catch.hpp"
#include "run_options.hpp"

using namespace spell;
using namespace spell::cli;

namespace {

struct File {
  File() {
    char name[] = "/tmp/spell-command-XXXXXX";
    ::close(::mkstemp(name));
    path = name;
  }
  explicit File(const std::string& text) : File() { std::ofstream(path) << text; }
  ~File() { ::unlink(path.c_str()); }
  std::string path;
};

struct Call {
  Call(const Words& arguments) : options("run", "", "") {
    given.define(options);
    REQUIRE(options.parse(arguments));
  }
  Options options;
  RunOptions given;
};

Result<> read(const std::string& text, const Words& arguments = {}) {
  File file(text);
  Call call(arguments);
  return read_command_file(file.path, call.options, call.given.command);
}

}  // namespace

TEST_CASE("a file gives options, and the command line wins") {
  File file(
      "machine-type: K80\n"
      "env: {A: 1, B: two words}\n"
      "label: [x, y]\n"
      "timeout: 90\n"
      "background: true\n"
      "force: false\n"
      "description: from the file\n"
      "command: python3 train.py && true\n");
  Call call({"-d", "from here", "--label", "z"});
  REQUIRE(read_command_file(file.path, call.options, call.given.command));
  CHECK(call.given.machine_type == "K80");
  CHECK(call.given.env == Words{"A=1", "B=two words"});
  CHECK(call.given.labels == Words{"z"});
  CHECK(call.given.timeout == "90");
  CHECK(call.given.background);
  CHECK_FALSE(call.given.force);
  CHECK(call.given.description == "from here");
  CHECK(call.given.command == Words{"python3 train.py && true"});

  Call other({"echo", "hello"});
  REQUIRE(read_command_file(file.path, other.options, other.given.command));
  CHECK(other.given.command == Words{"echo", "hello"});
}

TEST_CASE("what was written is read again as the same call") {
  File file;
  Words arguments{
      "-t",   "CPU",       "-b",  "-e", "A=\"x: y\" # z", "-e",           "B=",  "--label",
      "true", "--timeout", "0.5", "-d", "- a\n\"b\": c",  "--stop-grace", "007", "printf",
      "%s\n", "it's"};
  Call first(arguments);
  REQUIRE(write_command_file(file.path, first.options, first.given.command));
  Call second({});
  REQUIRE(read_command_file(file.path, second.options, second.given.command));
  auto none = [](const char*) -> const char* { return nullptr; };
  auto a = first.given.spec(none), b = second.given.spec(none);
  REQUIRE(a);
  REQUIRE(b);
  CHECK(a->command == b->command);
  CHECK(a->env == b->env);
  CHECK(a->labels == b->labels);
  CHECK(a->description == b->description);
  CHECK(a->machine_type == b->machine_type);
  CHECK(a->timeout == b->timeout);
  CHECK(a->stop_grace == b->stop_grace);
  CHECK(first.given.background == second.given.background);
}

TEST_CASE("a file that is no such map is an invalid configuration") {
  for (const char* text : {"just text", "- a\n- b\n", "a: [1, 2\n", "env: [[1]]\n", "? [a]\n: b\n",
                           "json: true\n", "from-file: x\n", "description:\n"}) {
    CAPTURE(text);
    auto done = read(text);
    REQUIRE_FALSE(done);
    CHECK(done.error().code() == "invalid_configuration");
    CHECK(done.error().message().find('\n') == std::string::npos);
  }
  Call call({});
  CHECK(read_command_file("/no/such/file.yaml", call.options, call.given.command).error().code() ==
        "invalid_configuration");
}

TEST_CASE("keys of a file are checked like options") {
  CHECK(read("stop-condition: x\n").error().code() == "not_available");
  CHECK(read("lable: x\n").error().message().find("did you mean --label?") != std::string::npos);
  CHECK(read("background: perhaps\n").error().code() == "usage");
  CHECK(read("timeout: [1, 2]\n").error().code() == "usage");
}
