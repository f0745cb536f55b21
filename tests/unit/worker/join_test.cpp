// What a machine keeps of its service, and what it takes for a token and an address.
#include "worker/join.hpp"

#include <sys/stat.h>

#include "temporary_folder.hpp"
#include "worker/joined.hpp"

using namespace spell;
using namespace spell::worker;

namespace {
const std::string hex(64, 'a');
}

TEST_CASE("a token is taken apart, and what is none is refused without being shown") {
  auto token = parse_join_token(" spj_" + hex + "." + std::string(64, '0') + "\n").value();
  CHECK(token.token == "spj_" + hex);
  CHECK(token.fingerprint == std::string(64, '0'));
  CHECK(parse_join_token("spj_" + hex)->fingerprint == "");
  for (auto& wrong : {std::string(), "spm_" + hex, "spj_" + hex + ".", "spj_" + hex + ".abc",
                      "spj_" + hex + "a", "spj_" + std::string(64, 'A')}) {
    auto parsed = parse_join_token(wrong);
    REQUIRE_FALSE(parsed);
    CHECK(parsed.error().code() == "invalid_token");
    CHECK(parsed.error().message().find(hex) == std::string::npos);
  }
}

TEST_CASE("an address is https or a socket, and nothing else") {
  CHECK(*parse_service_url("https://box:8443/") == "https://box:8443");
  CHECK(*parse_service_url("https://[::1]:8443") == "https://[::1]:8443");
  CHECK(*parse_service_url("unix:/run/a b/s") == "unix:/run/a b/s");
  for (auto* wrong : {"http://box", "box", "https://", "https://a b", "https://user@box",
                      "https://box/path", "unix:", ""}) {
    INFO(wrong);
    CHECK_FALSE(parse_service_url(wrong));
  }
}

TEST_CASE("what has been joined is kept for its owner alone, and read as it was written") {
  testing::TemporaryFolder folder;
  CHECK_FALSE(read_joined(folder.path).value());
  Joined joined{"https://box", hex, "id", "name", "spm_" + hex, {"certificate", "key"}, {}, 42};
  joined.proxy = net::parse_proxy("http://me:word@proxy:3128", "lab.example").value();
  REQUIRE(write_joined(folder.path, joined));
  std::string path = folder.path + "/" + joined_file;
  struct stat st {};
  REQUIRE(::stat(path.c_str(), &st) == 0);
  CHECK((st.st_mode & 07777) == 0600);
  auto read = read_joined(folder.path).value();
  REQUIRE(read);
  CHECK(read->url == joined.url);
  CHECK(read->trust().fingerprint == hex);
  CHECK(read->machine == "id");
  CHECK(read->name == "name");
  CHECK(read->token == joined.token);
  CHECK(read->identity.key == "key");
  CHECK(read->joined_us == 42);
  CHECK(read->proxy.host == "proxy");
  CHECK(read->proxy.port == "3128");
  CHECK(read->proxy.credentials == "me:word");
  CHECK(read->proxy.except == "lab.example");
  // Cut at any byte it is damaged, never another.
  auto whole = base::read_file(path).value();
  for (std::size_t size = 0; size + 2 < whole.size(); ++size) {
    REQUIRE(base::write_file(path, whole.substr(0, size), 0600, false));
    CHECK(read_joined(folder.path).error().code() == "damaged");
  }
  REQUIRE(forget_joined(folder.path));
  REQUIRE(forget_joined(folder.path));
  CHECK_FALSE(read_joined(folder.path).value());
}
