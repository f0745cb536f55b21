#include "worker/toolchain.hpp"

#include <sys/stat.h>

#include "base/file.hpp"
#include "base/hash.hpp"
#include "catch.hpp"

using namespace spell;
using namespace spell::worker;

TEST_CASE("what builds programs is found in PATH, and what is missing is named") {
  std::string folder = "/tmp/spell-toolchain-" + base::hex(base::random_bytes(6));
  REQUIRE(base::make_folders(folder + "/a"));
  REQUIRE(base::make_folders(folder + "/b"));
  std::vector<std::string> environment{"HOME=/", "PATH=relative:" + folder + "/a:" + folder + "/b"};
  auto put = [&](const std::string& name, const char* bytes, unsigned mode = 0755) {
    REQUIRE(base::write_file(folder + "/" + name, bytes, mode));
    REQUIRE(::chmod((folder + "/" + name).c_str(), mode) == 0);
  };
  CHECK(find_toolchain({}).missing == "C++ compiler (c++)");
  CHECK(find_toolchain(environment).missing == "C++ compiler (c++)");
  put("b/g++", "1", 0644);  // no program
  CHECK(find_toolchain(environment).missing == "C++ compiler (c++)");
  put("b/g++", "1");
  CHECK(find_toolchain(environment).missing == "cmake");
  put("a/cmake", "1");
  CHECK(find_toolchain(environment).missing == "ninja or make");
  put("b/make", "1");
  auto found = find_toolchain(environment);
  CHECK(found.missing.empty());
  CHECK(found.compiler == folder + "/b/g++");
  CHECK(found.cmake == folder + "/a/cmake");
  CHECK(found.builder == folder + "/b/make");
  auto before = found.id();
  CHECK(before == find_toolchain(environment).id());
  SECTION("another compiler is another one") {
    put("b/g++", "12");
    CHECK(find_toolchain(environment).id() != before);
  }
  SECTION("the first that suits wins") {
    put("a/ninja", "1");
    put("a/c++", "1");
    CHECK(find_toolchain(environment).builder == folder + "/a/ninja");
    CHECK(find_toolchain(environment).compiler == folder + "/a/c++");
  }
  REQUIRE(base::remove_tree(folder));
}
