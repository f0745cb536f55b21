// Where packs wait: in memory while few do, in the spool beyond that.
#include <random>

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
  CHECK(three->place().limit > two->place().limit);
  CHECK(three->place().mapped.empty());
  CHECK_FALSE(files.idle_since());

  int number = one->fd();
  auto also = one;
  one.reset();
  CHECK_FALSE(files.idle_since());  // somebody has it still
  also.reset();
  CHECK(files.idle_since());
  CHECK(files.take().value()->fd() == number);
  three.reset();
  CHECK(spooled == 1);
}

TEST_CASE("memory that nobody uses goes back to the system, and can be had again") {
  int spooled = 0;
  TemporaryFolder spool;
  PackFiles files([&] { return ++spooled, unnamed(spool.path); }, 1);
  auto file = files.take().value();
  file->place().mapped[0] = 'x';
  file.reset();
  file = files.take().value();
  CHECK(file->place().mapped[0] == 'x');  // the same
  file.reset();
  files.free_idle();
  CHECK_FALSE(files.idle_since());
  file = files.take().value();
  CHECK(file->place().mapped[0] == '\0');
  CHECK(spooled == 0);
}

TEST_CASE("a file outlives those that it was taken from; a spool that fails is said") {
  std::optional<PackFiles> files(
      std::in_place, [] { return base::error("io_error", "full"); }, 1);
  auto file = files->take().value();
  auto refused = files->take();
  REQUIRE_FALSE(refused);
  CHECK(refused.error().message() == "full");
  files.reset();
  CHECK(::pwrite(file->fd(), "x", 1, 0) == 1);
}

TEST_CASE("a pack in memory is the same to both who read the file and who read the memory") {
  auto file = PackFile::in_memory();
  REQUIRE(file);
  spellfs::PackWriter writer(file->place(), {});
  std::int64_t size = 0;
  auto add = [&](std::size_t count, std::size_t each, char first) {
    for (std::size_t i = 0; i < count; ++i) {
      std::string bytes(each, '\0');
      std::mt19937_64 random(static_cast<unsigned char>(first) * 1000 + i);
      for (auto& c : bytes) c = static_cast<char>(random());
      auto name = spellfs::name_of(spellfs::Kind::chunk, bytes);
      REQUIRE(writer.add(spellfs::Kind::chunk, name, bytes));
    }
  };
  bool longer = GENERATE(false, true);  // than what is in memory of it
  add(longer ? 200 : 20, 60'000, 'a');
  size = writer.finish().value();
  std::string read(static_cast<std::size_t>(size), '\0');
  REQUIRE(::pread(file->fd(), read.data(), read.size(), 0) == size);
  CHECK(file->bytes(size).empty() == longer);
  if (!longer) CHECK(file->bytes(size) == read);
  auto store = spellfs::make_memory_store();
  CHECK(store->add_pack("me", file->fd(), size));
}
