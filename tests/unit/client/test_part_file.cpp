#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.hpp"
#include "catch.hpp"
#include "client/part_file.hpp"
#include "support.hpp"

using namespace spell;
using namespace spell::detail;
using spell::test::TemporaryFolder;

namespace {

constexpr std::int64_t MiB = 1 << 20;

struct World {
  TemporaryFolder folder;
  base::Fd fd = base::open(folder.path, O_RDONLY | O_DIRECTORY).value();
  Spot spot{fd.get(), "file", "file"};
  std::string bytes = base::random_bytes(3 * MiB);

  /// An attempt that ended after `size` bytes; the name of what it left.
  std::string attempt(std::size_t size, bool keep = true) {
    PartFile part(spot);
    REQUIRE(part.open("node", 3 * MiB).ok());
    REQUIRE(part.write(std::string_view(bytes).substr(0, size)).ok());
    if (keep) part.keep();
    return folder.path + "/" + part_name();
  }
  std::string part_name() {
    std::string name;
    FILE* out = ::popen(("ls -A '" + folder.path + "'").c_str(), "r");
    char line[256];
    while (::fgets(line, sizeof line, out)) name = line;
    ::pclose(out);
    if (!name.empty()) name.pop_back();
    return name;
  }
};

}  // namespace

TEST_CASE("an attempt is taken up where it ended, at a block's border") {
  World world;
  world.attempt(2 * MiB + 100);
  PartFile part(world.spot);
  REQUIRE(part.open("node", 3 * MiB).ok());
  CHECK(part.begin() == 2 * MiB);
  REQUIRE(part.write(std::string_view(world.bytes).substr(2 * MiB)).ok());
  REQUIRE(part.finish(3 * MiB).ok());
  REQUIRE(part.give_name().ok());
  CHECK(base::read_file(world.folder.path + "/file").value() == world.bytes);
  CHECK(world.part_name() == "file");
}

TEST_CASE("what is not this file's is left alone") {
  World world;
  std::string path = world.attempt(2 * MiB);
  SECTION("another version of the file begins anew") {
    PartFile part(world.spot);
    REQUIRE(part.open("other", 3 * MiB).ok());
    CHECK(part.begin() == 0);
  }
  SECTION("another copy is at it") {
    auto held = base::open(path, O_RDONLY).value();
    REQUIRE(::flock(held.get(), LOCK_EX) == 0);
    PartFile part(world.spot);
    REQUIRE(part.open("node", 3 * MiB).ok());
    CHECK(part.begin() == 0);
    CHECK(base::read_file(path).value().size() == 2 * MiB);
  }
  SECTION("a link is not followed") {
    std::string victim = world.folder.path + "/victim";
    REQUIRE(base::write_file(victim, "keep"));
    REQUIRE(::unlink(path.c_str()) == 0);
    REQUIRE(::symlink(victim.c_str(), path.c_str()) == 0);
    PartFile part(world.spot);
    REQUIRE(part.open("node", 3 * MiB).ok());
    REQUIRE(part.write("evil").ok());
    CHECK(base::read_file(victim).value() == "keep");
  }
  SECTION("a second name of another file is not written to") {
    std::string victim = world.folder.path + "/victim";
    REQUIRE(base::write_file(victim, "keep"));
    REQUIRE(::unlink(path.c_str()) == 0);
    REQUIRE(::link(victim.c_str(), path.c_str()) == 0);
    PartFile part(world.spot);
    REQUIRE(part.open("node", 3 * MiB).ok());
    REQUIRE(part.write("evil").ok());
    CHECK(base::read_file(victim).value() == "keep");
  }
  SECTION("one that is longer than the file begins anew") {
    PartFile part(world.spot);
    REQUIRE(part.open("node", MiB).ok());
    CHECK(part.begin() == 0);
  }
}

TEST_CASE("little is not worth keeping, and nothing is kept unasked") {
  World world;
  world.attempt(100);
  CHECK(world.part_name().empty());
  world.attempt(2 * MiB, false);
  CHECK(world.part_name().empty());
}

TEST_CASE("a file of another length than was said is no file") {
  World world;
  PartFile part(world.spot);
  REQUIRE(part.open("node", 3 * MiB).ok());
  REQUIRE(part.write("short").ok());
  CHECK(part.finish(3 * MiB).error().code() == "resource_changed");
}
