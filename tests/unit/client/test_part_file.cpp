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

struct Attempts {
  TemporaryFolder folder;
  base::Fd fd = base::open(folder.path, O_RDONLY | O_DIRECTORY).value();
  FileSpot spot{fd.get(), "file", "file"};
  std::string bytes = base::random_bytes(3 * MiB);

  /// An attempt that ended after `size` bytes; the name of what it left.
  std::string attempt(std::size_t size, bool keep = true) {
    PartFile part(spot);
    REQUIRE(part.open("node", 3 * MiB).ok());
    REQUIRE(part.put(std::string_view(bytes).substr(0, size), 0).ok());
    if (keep) part.keep();
    return folder.path + "/" + part_name();
  }
  bool has_first(const PartFile& part) const {
    std::string_view first = std::string_view(bytes).substr(0, 1024);
    return part.has(spellfs::name_of(spellfs::Kind::chunk, first), 0, 1024);
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

TEST_CASE("of an attempt what was written is taken up, chunk by chunk") {
  Attempts attempts;
  auto chunk = [&](std::size_t at) {
    return spellfs::name_of(spellfs::Kind::chunk, std::string_view(attempts.bytes).substr(at, MiB));
  };
  attempts.attempt(2 * MiB + 100);
  PartFile part(attempts.spot);
  REQUIRE(part.open("node", 3 * MiB).ok());
  CHECK(part.has(chunk(0), 0, MiB));
  CHECK(part.has(chunk(MiB), MiB, MiB));
  CHECK_FALSE(part.has(chunk(2 * MiB), 2 * MiB, MiB));  // not all of it
  CHECK_FALSE(part.has(chunk(0), MiB, MiB));            // something else
  REQUIRE(part.put(std::string_view(attempts.bytes).substr(2 * MiB), 2 * MiB).ok());
  REQUIRE(part.finish(3 * MiB).ok());
  REQUIRE(part.give_name().ok());
  CHECK(base::read_file(attempts.folder.path + "/file").value() == attempts.bytes);
  CHECK(attempts.part_name() == "file");
}

TEST_CASE("what is not this file's is left alone") {
  Attempts attempts;
  std::string path = attempts.attempt(2 * MiB);
  SECTION("another version of the file begins anew") {
    PartFile part(attempts.spot);
    REQUIRE(part.open("other", 3 * MiB).ok());
    CHECK_FALSE(attempts.has_first(part));
  }
  SECTION("another copy is at it") {
    auto held = base::open(path, O_RDONLY).value();
    REQUIRE(::flock(held.get(), LOCK_EX) == 0);
    PartFile part(attempts.spot);
    REQUIRE(part.open("node", 3 * MiB).ok());
    CHECK_FALSE(attempts.has_first(part));
    CHECK(base::read_file(path).value().size() == 2 * MiB);
  }
  SECTION("a link is not followed") {
    std::string victim = attempts.folder.path + "/victim";
    REQUIRE(base::write_file(victim, "keep"));
    REQUIRE(::unlink(path.c_str()) == 0);
    REQUIRE(::symlink(victim.c_str(), path.c_str()) == 0);
    PartFile part(attempts.spot);
    REQUIRE(part.open("node", 3 * MiB).ok());
    REQUIRE(part.put("evil", 0).ok());
    CHECK(base::read_file(victim).value() == "keep");
  }
  SECTION("a second name of another file is not written to") {
    std::string victim = attempts.folder.path + "/victim";
    REQUIRE(base::write_file(victim, "keep"));
    REQUIRE(::unlink(path.c_str()) == 0);
    REQUIRE(::link(victim.c_str(), path.c_str()) == 0);
    PartFile part(attempts.spot);
    REQUIRE(part.open("node", 3 * MiB).ok());
    REQUIRE(part.put("evil", 0).ok());
    CHECK(base::read_file(victim).value() == "keep");
  }
  SECTION("one that is longer than the file begins anew") {
    PartFile part(attempts.spot);
    REQUIRE(part.open("node", MiB).ok());
    CHECK_FALSE(attempts.has_first(part));
  }
}

TEST_CASE("little is not worth keeping, and nothing is kept unasked") {
  Attempts attempts;
  attempts.attempt(100);
  CHECK(attempts.part_name().empty());
  attempts.attempt(2 * MiB, false);
  CHECK(attempts.part_name().empty());
}
