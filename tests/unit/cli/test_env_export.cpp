#define TOML_EXCEPTIONS 0
#include <toml++/toml.h>

#include "catch.hpp"
#include "env_export.hpp"

using namespace spell;
using namespace spell::cli;

namespace {

RunInfo given() {
  RunInfo run;
  run.id = 7;
  run.apt = {"sl"};
  run.pip = {"numpy>1"};
  run.setup = "echo \"a\\b\"\n\tprintf '\x7f'";
  run.env = {{"PIP_NO_INDEX", "1"}, {"npm_config_registry", "https://host"}, {"COLOUR", "red"}};
  run.environment = {{"a", "apt", {"libx=1", "sl=5.02-1"}},
                     {"b", "pip", {"numpy==1.26.4", "x @ https://host/x.whl"}},
                     {"c", "setup", {}}};
  return run;
}

}  // namespace

TEST_CASE("an environment is written out as it was given, so that a spell.toml makes it again") {
  auto out = export_environment(given());
  REQUIRE(out);
  CHECK(out->apt == std::vector<std::string>{"libx=1", "sl=5.02-1"});
  CHECK(out->env.size() == 2);
  std::string text;
  for (auto& line : toml_lines(*out)) {
    CHECK(line.find('\n') == line.npos);
    text += line + '\n';
  }
  auto parsed = toml::parse(text);
  REQUIRE(parsed);
  auto& read = parsed.table();
  CHECK(read["pip"][1].value<std::string>() == "x @ https://host/x.whl");
  CHECK(read["apt"].as_array()->size() == 2);
  CHECK(read["setup"].value<std::string>() == given().setup);
  CHECK(read["env"]["npm_config_registry"].value<std::string>() == "https://host");
}

TEST_CASE("what was not asked for, or not given yet, cannot be written out") {
  auto run = given();
  run.environment.pop_back();
  auto out = export_environment(run);
  CHECK(out.error().code() == "environment_not_found");
  CHECK(out.error().message() == "run 7 was not given the setup part of its environment yet");
  CHECK(export_environment(RunInfo()).error().code() == "environment_not_found");
  RunInfo apt;
  apt.apt = {"sl"};
  apt.environment = {{"a", "apt", {"sl=5"}}};
  apt.env = {{"PIP_NO_INDEX", "1"}};
  auto lines = toml_lines(*export_environment(apt));
  CHECK(lines == std::vector<std::string>{"apt = [", "  \"sl=5\",", "]"});
}
