#include "service/space.hpp"

#include <sys/stat.h>

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/hash.hpp"
#include "catch.hpp"

using namespace spell;
using namespace spell::service;

namespace {

struct Folder {
  std::string path = "/tmp/spell-space-" + base::hex(base::random_bytes(6));
  Folder() { REQUIRE(base::make_folders(path)); }
  ~Folder() { (void)base::remove_tree(path); }
  std::int64_t reserve() const {
    struct stat st;
    return ::stat((path + "/reserve").c_str(), &st) == 0 ? st.st_blocks * 512 : 0;
  }
};

}  // namespace

TEST_CASE("a reserve is kept, given up when a write finds no room, and made anew") {
  Folder folder;
  std::vector<bool> changes;
  Timer timer;
  Space space(folder.path, timer, [&](bool full) { changes.push_back(full); });
  CHECK_FALSE(space.full());
  CHECK(space.check());
  std::int64_t size = folder.reserve();
  CHECK(size >= 1 << 20);
  CHECK(size <= 9 << 20);

  space.failed(base::error("io_error", "something else"));
  CHECK(folder.reserve() == size);
  space.failed(base::error("disk_full", "no room"));
  CHECK(space.full());
  CHECK(folder.reserve() == 0);
  auto refused = space.check();
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == "disk_full");
  space.failed(base::error("disk_full", "no room"));

  space.look();  // this disk has room
  CHECK_FALSE(space.full());
  CHECK(folder.reserve() == size);
  CHECK(changes == std::vector<bool>{true, false});
  timer.stop();
}

TEST_CASE("a reserve that an earlier process left is taken over") {
  Folder folder;
  Timer timer;
  auto inode = [&] {
    struct stat st;
    REQUIRE(::stat((folder.path + "/reserve").c_str(), &st) == 0);
    return st.st_ino;
  };
  {
    Space space(folder.path, timer, [](bool) {});
  }
  auto before = inode();
  {
    Space space(folder.path, timer, [](bool) {});
  }
  CHECK(inode() == before);
  timer.stop();
}
