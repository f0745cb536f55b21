// Where a client's options come from.
#include <stdlib.h>

#include "catch.hpp"
#include "client/connection.hpp"
#include "spell/client.hpp"
#include "support.hpp"

using namespace spell;

namespace {

constexpr const char* variables[] = {
    "SPELL_BASE_URL",    "SPELL_DIR",   "SPELL_OWNER", "SPELL_TOKEN", "SPELL_CERT_SHA256",
    "SPELL_WORKFLOW_ID", "HTTPS_PROXY", "https_proxy", "NO_PROXY",    "no_proxy",
};

/// An environment without any of them, for a while.
struct OwnEnvironment {
  std::map<std::string, std::string> before;
  OwnEnvironment() {
    for (auto name : variables) {
      if (auto* value = ::getenv(name)) before[name] = value;
      ::unsetenv(name);
    }
  }
  ~OwnEnvironment() {
    for (auto name : variables) ::unsetenv(name);
    for (auto& [name, value] : before) ::setenv(name.c_str(), value.c_str(), 1);
  }
  OwnEnvironment(const OwnEnvironment&) = delete;
};

/// All that the environment says, one member a line.
std::vector<std::string> told() {
  auto options = ClientOptions::from_environment();
  return {options.service, options.spell_dir,   options.owner,
          options.token,   options.fingerprint, std::to_string(options.workflow),
          options.proxy,   options.no_proxy};
}

}  // namespace

TEST_CASE("each variable of the environment is one option, and no other") {
  struct Row {
    const char *variable, *value;
    std::size_t option;
  };
  const Row rows[] = {
      {"SPELL_BASE_URL", "https://spell.example", 0},
      {"SPELL_DIR", "/some/where", 1},
      {"SPELL_OWNER", "team", 2},
      {"SPELL_TOKEN", "spu_secret", 3},
      {"SPELL_CERT_SHA256", "system", 4},
      {"SPELL_WORKFLOW_ID", "12", 5},
      {"HTTPS_PROXY", "http://proxy:3128", 6},
      {"https_proxy", "http://proxy:3129", 6},
      {"NO_PROXY", "here,there", 7},
      {"no_proxy", "there", 7},
  };
  OwnEnvironment environment;
  const std::vector<std::string> none = {"", "", "", "", "", "0", "", ""};
  CHECK(told() == none);
  for (auto& row : rows) {
    ::setenv(row.variable, row.value, 1);
    auto expected = none;
    expected[row.option] = row.value;
    INFO(row.variable);
    CHECK(told() == expected);
    ::setenv(row.variable, "", 1);  // as if it were not set
    CHECK(told() == none);
    ::unsetenv(row.variable);
  }
  ::setenv("SPELL_WORKFLOW_ID", "twelve", 1);
  CHECK(told() == none);
  ::setenv("HTTPS_PROXY", "http://one:1", 1);
  ::setenv("https_proxy", "http://two:2", 1);
  ::setenv("NO_PROXY", "one", 1);
  ::setenv("no_proxy", "two", 1);
  CHECK(ClientOptions::from_environment().proxy == "http://one:1");
  CHECK(ClientOptions::from_environment().no_proxy == "one");
}

TEST_CASE("a client's options go before the environment, and that before the default") {
  OwnEnvironment environment;
  test::TemporaryFolder folder, other;
  auto address_of = [](const Result<Client>& client) {
    return client.value().connection()->endpoint();
  };
  ::setenv("SPELL_DIR", folder.path.c_str(), 1);
  CHECK(address_of(Client::from_environment()).starts_with("unix:" + folder.path));
  ClientOptions options;
  options.spell_dir = other.path;
  CHECK(address_of(Client::make(options)).starts_with("unix:" + other.path));

  ::setenv("SPELL_BASE_URL", "https://spell.example", 1);
  ::setenv("SPELL_OWNER", "team", 1);
  ::setenv("SPELL_WORKFLOW_ID", "12", 1);
  auto client = Client::from_environment().value();
  CHECK(client.connection()->endpoint() == "https://spell.example");
  CHECK(client.owner() == "team");
  CHECK(client.connection()->workflow() == 12);
  // Nothing of it counts for who says all by himself.
  options.service = "https://other.example";
  options.owner = "me";
  client = Client::make(options).value();
  CHECK(client.connection()->endpoint() == "https://other.example");
  CHECK(client.owner() == "me");
  CHECK(client.connection()->workflow() == 0);
  // The environment, with one thing said by the program.
  options = ClientOptions::from_environment();
  options.owner = "me";
  client = Client::make(options).value();
  CHECK(client.connection()->endpoint() == "https://spell.example");
  CHECK(client.owner() == "me");
}

TEST_CASE("what the environment says and nobody can use is refused by its name") {
  OwnEnvironment environment;
  test::TemporaryFolder folder;
  ::setenv("SPELL_DIR", folder.path.c_str(), 1);
  ::setenv("SPELL_BASE_URL", "ftp://spell.example", 1);
  CHECK(Client::from_environment().error().code() == "invalid_configuration");
  ::setenv("SPELL_BASE_URL", "https://spell.example", 1);
  ::setenv("SPELL_CERT_SHA256", "abc", 1);
  auto client = Client::from_environment();
  CHECK(client.error().code() == "invalid_configuration");
  CHECK_THAT(client.error().message(), Catch::Contains("'abc' is no fingerprint"));
  ::setenv("SPELL_CERT_SHA256", "system", 1);
  ::setenv("HTTPS_PROXY", "socks5://proxy", 1);
  CHECK(Client::from_environment().error().code() == "invalid_configuration");
}
