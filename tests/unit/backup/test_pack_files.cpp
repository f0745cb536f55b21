// Where packs wait: in memory while few do, in the spool beyond that.
#include "support.hpp"

using namespace spell;
using namespace spell::backup;

TEST_CASE("so many files are in memory, and used again; the others are of the spool") {
  int spooled = 0;
  TemporaryFolder spool;
  PackFiles files([&] { return ++spooled, unnamed(spool.path); }, 2);
  auto one = files.take().value(), two = files.take().value();
  CHECK(spooled == 0);
  auto three = files.take().value();
  CHECK(spooled == 1);
  CHECK(three.limit > two.limit);
  CHECK_FALSE(files.idle_since());

  int number = one.fd->get();
  auto also = one.fd;
  one = {};
  CHECK_FALSE(files.idle_since());  // somebody has it still
  also.reset();
  CHECK(files.idle_since());
  CHECK(files.take().value().fd->get() == number);
  three = {};
  CHECK(spooled == 1);
}

TEST_CASE("memory that nobody uses goes back to the system, and can be had again") {
  int spooled = 0;
  TemporaryFolder spool;
  PackFiles files([&] { return ++spooled, unnamed(spool.path); }, 1);
  auto size = [](const PackFiles::File& file) {
    struct stat st;
    return ::fstat(file.fd->get(), &st) == 0 ? st.st_size : -1;
  };
  auto file = files.take().value();
  REQUIRE(::pwrite(file.fd->get(), "x", 1, 0) == 1);
  file = {};
  file = files.take().value();
  CHECK(size(file) == 1);  // the same
  file = {};
  files.free_idle();
  CHECK_FALSE(files.idle_since());
  file = files.take().value();
  CHECK(size(file) == 0);
  CHECK(spooled == 0);
}

TEST_CASE(
    "a file that outlives those that it was taken from is no matter; nor is a spool that fails") {
  std::optional<PackFiles> files(
      std::in_place, [] { return base::error("io_error", "full"); }, 1);
  auto file = files->take().value();
  auto refused = files->take();
  REQUIRE_FALSE(refused);
  CHECK(refused.error().message() == "full");
  files.reset();
  CHECK(::pwrite(file.fd->get(), "x", 1, 0) == 1);
}
