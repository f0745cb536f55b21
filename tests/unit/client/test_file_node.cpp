#include <fcntl.h>
#include <unistd.h>

#include "base/hash.hpp"
#include "catch.hpp"
#include "client/file_node.hpp"
#include "client/part_file.hpp"
#include "spellfs/tree.hpp"
#include "support.hpp"

using namespace spell;
using namespace spell::detail;
using spell::test::TemporaryFolder;

namespace {

/// The name that a save gives the file.
std::string saved_name(const std::string& path) {
  spellfs::PackWriter nowhere(-1);
  spellfs::SaveOptions options;
  options.missing = [](auto) { return std::vector<spellfs::Name>(); };
  auto root = spellfs::save(path, options, nowhere).value().root;
  return root.node == spellfs::Name{} ? "" : root.node.text();
}

bool same(const std::string& path, const std::string& node) {
  auto file = base::open(path, O_RDONLY).value();
  return has_content(file.get(), ::lseek(file.get(), 0, SEEK_END), node, {}).value();
}

std::string random(std::size_t size) { return base::random_bytes(size); }

/// Writes `bytes` as a copy does, without blocks of zeros of this length.
void copy(const std::string& folder, const std::string& name, const std::string& bytes,
          std::size_t block) {
  auto fd = base::open(folder, O_RDONLY | O_DIRECTORY).value();
  FileSpot spot{fd.get(), name, name};
  PartFile part(spot);
  REQUIRE(part.open("", static_cast<std::int64_t>(bytes.size())).ok());
  for (std::size_t at = 0; at < bytes.size(); at += block) {
    auto piece = std::string_view(bytes).substr(at, block);
    if (piece.find_first_not_of('\0') != piece.npos)
      REQUIRE(part.put(piece, static_cast<std::int64_t>(at)).ok());
  }
  REQUIRE(part.finish(static_cast<std::int64_t>(bytes.size())).ok());
  REQUIRE(part.give_name().ok());
}

}  // namespace

TEST_CASE("a file has the name that a save gives it") {
  TemporaryFolder folder;
  for (std::size_t size : {0, 1, 4096, 16 << 10, (16 << 10) + 1, 600 << 10, 5 << 20}) {
    std::string path = folder.path + "/" + std::to_string(size);
    REQUIRE(base::write_file(path, random(size)));
    CHECK(same(path, saved_name(path)));
    std::string other = folder.path + "/other";
    REQUIRE(base::write_file(other, random(size)));
    CHECK(same(other, saved_name(path)) == (size == 0));
  }
}

TEST_CASE("a copy of a file with zeros or holes is known to be the same") {
  TemporaryFolder folder;
  std::string bytes = random(100'000) + std::string(300'000, '\0') + random(70'000) +
                      std::string(70'000, '\0') + random(10) + std::string(2 << 20, '\0');
  std::string zeros = folder.path + "/zeros", holes = folder.path + "/holes";
  REQUIRE(base::write_file(zeros, bytes));
  copy(folder.path, "holes", bytes, 4096);
  CHECK(saved_name(zeros) != saved_name(holes));
  CHECK(base::read_file(holes).value() == bytes);
  copy(folder.path, "sparse", bytes, 4096);
  copy(folder.path, "dense", bytes, 10 << 20);
  CHECK(base::read_file(folder.path + "/dense").value() == bytes);
  CHECK(same(folder.path + "/sparse", saved_name(holes)));
  CHECK(same(folder.path + "/sparse", saved_name(zeros)));
  CHECK(same(folder.path + "/dense", saved_name(zeros)));
}

TEST_CASE("looking at a large file can be canceled") {
  TemporaryFolder folder;
  REQUIRE(base::write_file(folder.path + "/x", random(5 << 20)));
  auto file = base::open(folder.path + "/x", O_RDONLY).value();
  std::stop_source stop;
  stop.request_stop();
  CHECK(has_content(file.get(), 5 << 20, "", stop.get_token()).error().code() == "canceled");
}
