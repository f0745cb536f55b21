// What an interrupted run had saved, put into the place of the run that goes on.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/file.hpp"
#include "fake_world.hpp"
#include "spellfs/tree.hpp"
#include "temporary_folder.hpp"
#include "worker/hooks.hpp"
#include "worker/live_backup.hpp"

using namespace spell;
using namespace spell::worker;
using namespace spell::worker::testing;
namespace fs = std::filesystem;

namespace {

std::string read(const std::string& path) { return base::read_file(path).value_or("none"); }

struct stat state(const std::string& path) {
  struct stat st {};
  REQUIRE(::lstat(path.c_str(), &st) == 0);
  return st;
}

void set_time(const std::string& path, std::int64_t seconds) {
  timespec times[2] = {{seconds, 0}, {seconds, 123456789}};
  REQUIRE(::utimensat(AT_FDCWD, path.c_str(), times, AT_SYMLINK_NOFOLLOW) == 0);
}

struct Place {
  TemporaryFolder top;
  Folders folders{top.path};
  model::StartCommand start = start_command();
  std::string folder = folders.run(start.run), spell = folder + "/spell",
              before = top.path + "/old";
  std::unique_ptr<spellfs::ChunkStore> store = spellfs::make_memory_store();

  Place() {
    REQUIRE(folders.make());
    fs::create_directories(spell);
    fs::create_directories(before);
  }
  /// What `before` holds is what the predecessor had saved.
  void saved() {
    auto file = folders.temporary().value();
    spellfs::PackWriter writer(file.get());
    auto tree = spellfs::save(before, {}, writer).value().tree;
    REQUIRE(tree);
    REQUIRE(store->add_pack("ada", file.get(), writer.finish().value()));
    start.restore = tree->text();
  }
  void put() {
    auto done = put_back(folders, start, *store, {});
    REQUIRE((done ? "" : done.error().message()) == "");
  }
};

}  // namespace

TEST_CASE("files come back over those of the commit, with times and modes") {
  Place place;
  write(place.before + "/checkpoints/7", "weights");
  write(place.before + "/train.py", "changed");
  write(place.before + "/tool", "#!/bin/sh\n");
  ::chmod((place.before + "/tool").c_str(), 0755);
  fs::create_symlink("7", place.before + "/checkpoints/last");
  set_time(place.before + "/checkpoints/7", 1'000'000);
  set_time(place.before + "/checkpoints", 2'000'000);
  place.saved();
  write(place.spell + "/train.py", "of the commit");
  write(place.spell + "/checkpoints/README", "of the commit too");
  for (int time = 0; time < 2; ++time) {  // a worker that was killed begins anew
    place.put();
    CHECK(read(place.spell + "/train.py") == "changed");
    CHECK(read(place.spell + "/checkpoints/7") == "weights");
    CHECK(read(place.spell + "/checkpoints/README") == "of the commit too");
    CHECK(fs::read_symlink(place.spell + "/checkpoints/last") == "7");
    auto st = state(place.spell + "/checkpoints/7");
    CHECK(st.st_mtim.tv_sec == 1'000'000);
    CHECK(st.st_mtim.tv_nsec == 123456789);
    CHECK(state(place.spell + "/checkpoints").st_mtim.tv_sec == 2'000'000);
    CHECK((state(place.spell + "/tool").st_mode & 0777) == 0755);
    CHECK_FALSE(fs::exists(place.folder + "/restored"));
  }
}

TEST_CASE("what is put back is safe already") {
  Place place;
  write(place.before + "/a/b", "12345");
  place.saved();
  place.put();
  auto safe = read_backup(place.folder);
  REQUIRE(safe);
  CHECK(safe->name.text() == place.start.restore);
  CHECK(safe->files == 1);
  CHECK(safe->bytes == 5);
}

TEST_CASE("what is not sure to be whole is not put back") {
  Place place;
  write(place.before + "/model", "whole");
  write(place.before + "/.incomplete/model", "torn");
  place.saved();
  place.put();
  CHECK(read(place.spell + "/model") == "whole");
  CHECK_FALSE(fs::exists(place.spell + "/.incomplete"));
}

TEST_CASE("what is in the way goes, and no link of the commit leads anywhere") {
  Place place;
  write(place.before + "/out/x", "mine");
  write(place.before + "/file", "a file");
  fs::create_directories(place.before + "/locked");
  write(place.before + "/locked/x", "kept");
  ::chmod((place.before + "/locked").c_str(), 0555);
  place.saved();
  ::chmod((place.before + "/locked").c_str(), 0755);
  fs::create_directories(place.top.path + "/elsewhere");
  fs::create_symlink(place.top.path + "/elsewhere", place.spell + "/out");
  write(place.spell + "/file/below", "a folder");
  place.put();
  CHECK(read(place.spell + "/out/x") == "mine");
  CHECK_FALSE(fs::is_symlink(place.spell + "/out"));
  CHECK(fs::is_empty(place.top.path + "/elsewhere"));
  CHECK(read(place.spell + "/file") == "a file");
  CHECK(read(place.spell + "/locked/x") == "kept");
  CHECK((state(place.spell + "/locked").st_mode & 0777) == 0555);
  ::chmod((place.spell + "/locked").c_str(), 0755);
}

TEST_CASE("what is not at the service is an error by its name") {
  Place place;
  place.start.restore = "nonsense";
  CHECK(put_back(place.folders, place.start, *place.store, {}).error().code() == "damaged");
}

TEST_CASE("a run that goes on is not started before its files are there") {
  World world;
  auto start = start_command();
  start.restore = "s" + std::string(64, '0');
  world.service.assign(start);
  world.run();
  CHECK(world.service.runs[id].result);
  auto& events = world.service.runs[id].events;
  CHECK(std::any_of(events.begin(), events.end(),
                    [](auto& event) { return event.status == "mounting"; }));
}
