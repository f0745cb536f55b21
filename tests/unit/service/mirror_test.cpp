#include "service/mirror.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include "base/file.hpp"
#include "base/hash.hpp"
#include "catch.hpp"

using namespace spell;
using namespace spell::service;

namespace {

struct Scratch {
  std::string path = "/tmp/spell-mirror-" + base::hex(base::random_bytes(6));
  Scratch() { REQUIRE(base::make_folders(path + "/from/a/deep").ok()); }
  ~Scratch() { (void)base::remove_tree(path); }
  void put(const std::string& name, const std::string& text) {
    REQUIRE(base::write_file(path + "/from/" + name, text).ok());
  }
  std::string got(const std::string& name) {
    return base::read_file(path + "/to/" + name).value_or("(none)");
  }
  Mirror mirror() { return {path + "/from", path + "/to"}; }
};

}  // namespace

TEST_CASE("a folder is copied once, and only what is new the next time") {
  Scratch scratch;
  scratch.put("a/one", "1");
  scratch.put("a/deep/two", std::string(3 << 20, 'x'));
  ::symlink("one", (scratch.path + "/from/a/link").c_str());
  auto first = scratch.mirror();
  REQUIRE(first.take("a").ok());
  REQUIRE(first.take("none").ok());
  CHECK(first.mirrored().new_files == 2);
  CHECK(first.mirrored().new_bytes == (3 << 20) + 1);
  CHECK(scratch.got("a/deep/two").size() == 3 << 20);

  scratch.put("a/one", "2");
  scratch.put("a/three", "3");
  auto second = scratch.mirror();
  REQUIRE(second.take("a").ok());
  CHECK(second.mirrored().files == 3);
  CHECK(second.mirrored().new_files == 2);
  CHECK(scratch.got("a/one") == "2");
}

TEST_CASE("what is gone, and what an earlier attempt left half done, is dropped when asked") {
  Scratch scratch;
  scratch.put("a/one", "1");
  scratch.put("a/two", "2");
  auto first = scratch.mirror();
  REQUIRE(first.take("a").ok());
  ::unlink((scratch.path + "/from/a/two").c_str());
  REQUIRE(base::write_file(scratch.path + "/to/a/.unfinished-0", "half").ok());
  auto second = scratch.mirror();
  REQUIRE(second.take("a").ok());
  CHECK(scratch.got("a/two") == "2");
  REQUIRE(second.drop_others("a").ok());
  CHECK(scratch.got("a/one") == "1");
  CHECK(scratch.got("a/two") == "(none)");
  CHECK(scratch.got("a/.unfinished-0") == "(none)");
}

TEST_CASE("a copy has the modes and times of what it is of") {
  Scratch scratch;
  scratch.put("a/one", "1");
  auto mirror = scratch.mirror();
  REQUIRE(mirror.take("a/one").ok());
  struct stat is, copy;
  REQUIRE(::stat((scratch.path + "/from/a/one").c_str(), &is) == 0);
  REQUIRE(::stat((scratch.path + "/to/a/one").c_str(), &copy) == 0);
  CHECK(is.st_mtim.tv_nsec == copy.st_mtim.tv_nsec);
  CHECK((copy.st_mode & 0777) == 0600);
}

TEST_CASE("what cannot be written is named, and leaves nothing half") {
  Scratch scratch;
  scratch.put("a/one", "1");
  REQUIRE(base::make_folders(scratch.path + "/to/a/one/in the way").ok());
  auto mirror = scratch.mirror();
  auto failed = mirror.take("a");
  REQUIRE_FALSE(failed.ok());
  CHECK(failed.error().message().find(scratch.path + "/to/a/one") != std::string::npos);
  CHECK_FALSE(base::exists(scratch.path + "/to/a/.unfinished-0"));
}
