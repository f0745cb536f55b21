#include <sys/stat.h>

#include <thread>

#include "base/file.hpp"
#include "base/hash.hpp"
#include "catch.hpp"
#include "spell/client.hpp"
#include "spell/known_services.hpp"

using namespace spell;

namespace {
struct Folder {
  std::string path = "/tmp/spell-known-" + base::hex(base::random_bytes(6));
  Folder() { REQUIRE(base::make_folders(path)); }
  ~Folder() { (void)base::remove_tree(path); }
};
}  // namespace

TEST_CASE("addresses have one spelling") {
  CHECK(service_address("HTTPS://Host.Example:8443/").value() == "https://host.example:8443");
  CHECK(service_address("host:8443").value() == "https://host:8443");
  CHECK(service_address("https://[2001:DB8::1]:8443").value() == "https://[2001:db8::1]:8443");
  CHECK(service_address("https://host").value() == "https://host");
  CHECK(service_address("local").value() == "local");
  CHECK(service_address("unix:/A/b").value() == "unix:/A/b");
  for (auto bad : {"", "unix:", "http://host", "ftp://host", "https://", "https://host:0",
                   "https://host:65536", "https://host:", "https://host/path", "https://a b",
                   "https://user@host", "https://a:b:c", "https://host?x", "https://host\n"}) {
    CAPTURE(bad);
    CHECK(service_address(bad).error().code() == "invalid_configuration");
  }
}

TEST_CASE("what is known of services is kept, by address, for its user alone") {
  Folder folder;
  CHECK(known_services(folder.path)->services.empty());
  REQUIRE(remember_service({"https://a:1", "ada", "acme", "spu_x", "system"}, true, folder.path));
  REQUIRE(remember_service({"https://B:2/", "bob", "team", "spu_y", "ff"}, false, folder.path));
  auto known = known_services(folder.path);
  REQUIRE(known);
  CHECK(known->default_address == "https://a:1");
  CHECK(known->find("A:1")->token == "spu_x");
  CHECK(known->find("https://b:2")->owner == "team");
  CHECK_FALSE(known->find("https://c:3"));
  struct stat st {};
  REQUIRE(::stat((folder.path + "/services.json").c_str(), &st) == 0);
  CHECK((st.st_mode & 0777) == 0600);
  REQUIRE(remember_service({"https://a:1", "ada", "acme", "", "system"}, false, folder.path));
  known = known_services(folder.path);
  CHECK(known->default_address.empty());
  CHECK(known->find("https://a:1")->token.empty());
  CHECK(known->services.size() == 2);
}

TEST_CASE("of two who log in at once neither is forgotten") {
  Folder folder;
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i)
    threads.emplace_back([&, i] {
      (void)remember_service({"https://h" + std::to_string(i) + ":1", "", "", "t", ""}, true,
                             folder.path);
    });
  for (auto& thread : threads) thread.join();
  CHECK(known_services(folder.path)->services.size() == 8);
}

TEST_CASE("a file that is not ours is said, never overwritten") {
  Folder folder;
  for (auto text : {"", "{", "[]", "{\"services\": 7}", "{\"services\": {\"a\": 1}}"}) {
    CAPTURE(text);
    REQUIRE(base::write_file(folder.path + "/services.json", text));
    CHECK(known_services(folder.path).error().code() == "invalid_configuration");
    CHECK_FALSE(remember_service({"https://a:1", "", "", "", ""}, true, folder.path));
    CHECK(base::read_file(folder.path + "/services.json").value() == text);
    ClientOptions options;
    options.service = "";
    options.spell_dir = folder.path;
    CHECK(Client::make(options).error().code() == "invalid_configuration");
  }
}

TEST_CASE("a fingerprint is 64 hex digits") {
  Folder folder;
  ClientOptions options;
  options.service = "https://host:1";
  options.spell_dir = folder.path;
  options.fingerprint = "abc";
  CHECK(Client::make(options).error().code() == "invalid_configuration");
  options.fingerprint = std::string(64, 'A');
  CHECK(Client::make(options));
}
