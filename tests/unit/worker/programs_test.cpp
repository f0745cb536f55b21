#include "worker/programs.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include "temporary_folder.hpp"

using namespace spell;
using namespace spell::worker;
using namespace spell::worker::testing;

namespace {

void put_program(const std::string& path, unsigned mode = 0755) {
  write(path, "#!/bin/sh\n");
  REQUIRE(::chmod(path.c_str(), mode) == 0);
}

void link(const std::string& to, const std::string& at) {
  REQUIRE(::symlink(to.c_str(), at.c_str()) == 0);
}

}  // namespace

TEST_CASE("the first name that PATH leads to") {
  TemporaryFolder top;
  put_program(top.path + "/a/second");
  put_program(top.path + "/b/first");
  put_program(top.path + "/a/none", 0644);
  std::string path = "relative::" + top.path + "/a:" + top.path + "/b";
  CHECK(find_program({"first", "second"}, path) == top.path + "/b/first");
  CHECK(find_program({"third", "second"}, path) == top.path + "/a/second");
  CHECK(find_program({"none"}, path).empty());
  CHECK(path_of({"A=1", "PATH=/x", "PATH=/y"}) == "/y");
  CHECK(path_of({"APATH=1"}).empty());
}

TEST_CASE("below another root links lead where they lead there, and never out") {
  TemporaryFolder top;
  put_program(top.path + "/usr/bin/python3.11");
  link("usr/bin", top.path + "/bin");
  link("/usr/bin/python3.11", top.path + "/usr/bin/python3");  // absolute: in there
  link("../../../../../bin/sh", top.path + "/usr/bin/sh");     // there is none in there
  link("/etc/passwd", top.path + "/usr/bin/out");
  CHECK(find_program({"python3"}, "/bin", top.path) == "/bin/python3");
  CHECK(real_program("/bin/python3", top.path) == "/usr/bin/python3.11");
  CHECK(find_program({"sh", "out", "python3.12"}, "/usr/bin", top.path).empty());
  CHECK(real_program("/usr/bin/out", top.path).empty());
  CHECK(find_program({"python3"}, "/bin", top.path + "/none").empty());
}
