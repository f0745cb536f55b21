#include "worker/run_folder.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include "fake_world.hpp"
#include "temporary_folder.hpp"

using namespace spell;
using namespace spell::worker;
using namespace spell::worker::testing;

TEST_CASE("a manifest comes back as it was") {
  TemporaryFolder folder;
  git::CheckoutManifest manifest;
  manifest["a"] = {1, 2, -3, 4, 0100644};
  manifest[" two  words\n"] = {std::int64_t{1} << 40, 1'700'000'000'123'456'789, 0, UINT64_MAX,
                               0100755};
  manifest["a"].blob[3] = 0xf1;
  REQUIRE(write_manifest(folder.path, manifest));
  auto read = read_manifest(folder.path);
  REQUIRE(read);
  REQUIRE(read->size() == 2);
  for (auto& [path, file] : manifest) {
    auto& other = (*read)[path];
    CHECK(other.size == file.size);
    CHECK(other.mtime_ns == file.mtime_ns);
    CHECK(other.ctime_ns == file.ctime_ns);
    CHECK(other.inode == file.inode);
    CHECK(other.mode == file.mode);
    CHECK(other.blob == file.blob);
  }
}

TEST_CASE("a manifest of an older version knows no blobs") {
  TemporaryFolder folder;
  using namespace std::string_literals;
  REQUIRE(base::write_file(folder.path + "/manifest", "1 2 -3 4 33188 a b\0"s, 0600, false));
  auto read = read_manifest(folder.path);
  REQUIRE(read);
  REQUIRE(read->contains("a b"));
  CHECK(read->at("a b").mode == 0100644);
  CHECK(read->at("a b").blob == std::array<std::uint8_t, 20>{});
}

TEST_CASE("a manifest that was cut is not taken for a shorter one") {
  TemporaryFolder folder;
  git::CheckoutManifest manifest;
  manifest["file"] = {1, 2, 3, 4, 5};
  REQUIRE(write_manifest(folder.path, manifest));
  auto text = *base::read_file(folder.path + "/manifest");
  for (std::size_t size = 1; size < text.size(); ++size) {
    REQUIRE(base::write_file(folder.path + "/manifest", text.substr(0, size), 0600, false));
    auto read = read_manifest(folder.path);
    REQUIRE(!read);
    CHECK(read.error().code() == "damaged");
  }
}

TEST_CASE("runs are found again; what is no run is left alone, what is damaged is put aside") {
  TemporaryFolder folder;
  Folders folders(folder.path);
  REQUIRE(folders.make());
  auto start = start_command();
  std::string cut = "{\"told";
  REQUIRE(folders.create(start.run, journal_line(FakeService::start_of(start), "boot-1")));
  REQUIRE(base::write_all(folders.journal(start.run)->get(), cut));
  std::string damaged = start.run.substr(0, 31) + "b";
  REQUIRE(folders.create(damaged, "no journal"));
  REQUIRE(base::make_folders(folder.path + "/runs/something"));

  std::vector<std::string> notes;
  auto found = folders.read(notes);
  REQUIRE(found);
  REQUIRE(found->size() == 1);
  CHECK(found->front().start.run == start.run);
  CHECK(found->front().boot_id == "boot-1");
  CHECK(notes.size() == 1);
  CHECK(base::exists(folder.path + "/runs/something"));
  CHECK(!base::exists(folders.run(damaged)));
  CHECK(base::exists(folder.path + "/runs/.parked/" + damaged + "-0/journal"));

  // The cut line was removed, so that the next one is whole.
  model::RunReport report;
  report.run = start.run;
  report.events.emplace_back();
  REQUIRE(base::write_all(folders.journal(start.run)->get(), journal_line(report)));
  auto again = folders.read(notes);
  REQUIRE(again);
  CHECK(again->front().events.size() == 1);
}

TEST_CASE("a folder that could not be removed to its end is no run any more") {
  TemporaryFolder folder;
  Folders folders(folder.path);
  REQUIRE(folders.make());
  std::string id = start_command().run;
  REQUIRE(folders.create(id, "x\n"));
  REQUIRE(base::make_folders(folders.run(id) + "/spell/deep"));
  // Stands in for what stops a removal half-way: the place where it is done is no folder.
  REQUIRE(base::remove_tree(folder.path + "/incoming"));
  REQUIRE(base::write_file(folder.path + "/incoming", "", 0600, false));
  REQUIRE(!folders.remove(id));
  CHECK(base::exists(folders.run(id) + "/journal"));
  REQUIRE(folders.make());
  REQUIRE(folders.remove(id));
  CHECK(!base::exists(folders.run(id)));
  CHECK(!base::exists(folder.path + "/incoming/" + id + ".gone"));
  // What a worker left that was killed within either.
  REQUIRE(base::make_folders(folder.path + "/incoming/" + id + ".gone/spell/deep"));
  REQUIRE(base::make_folders(folder.path + "/incoming/" + id + ".new"));
  REQUIRE(folders.make());
  std::vector<std::string> notes;
  CHECK(folders.read(notes)->empty());
  CHECK(notes.empty());
  // It goes when there is time for it.
  folders.clean();
  REQUIRE(std::system(("ls -A " + folder.path + " | tr '\\n' ' ' > " + folder.path + "/runs/left")
                          .c_str()) == 0);
  CHECK(*base::read_file(folder.path + "/runs/left") == "incoming runs ");
}

TEST_CASE("clearing leaves empty folders, whatever was there") {
  TemporaryFolder folder;
  Folders folders(folder.path);
  REQUIRE(folders.make());
  std::string id = start_command().run, run = folders.run(id);
  REQUIRE(folders.create(id, "x\n"));
  for (int i = 0; i < 2; ++i) {
    REQUIRE(folders.clear(id));
    CHECK(!base::exists(run + "/spell/left"));
    REQUIRE(base::write_file(run + "/spell/left", "x"));
    REQUIRE(base::write_file(run + "/manifest", "x"));
  }
  REQUIRE(folders.clear(id));
  CHECK(!base::exists(run + "/manifest"));
  CHECK(base::exists(run + "/journal"));
}

TEST_CASE("a run that leaves nothing gives its folder to the next, any other does not") {
  TemporaryFolder folder;
  Folders folders(folder.path);
  REQUIRE(folders.make());
  std::string id = start_command().run, run = folders.run(id);
  auto inode = [&](const std::string& path) {
    struct stat st;
    REQUIRE(::stat(path.c_str(), &st) == 0);
    return st.st_ino;
  };
  REQUIRE(folders.create(id, "first\n"));
  REQUIRE(folders.clear(id));
  auto first = inode(run + "/spell");
  // Kept open, so that a folder that is made anew cannot get its number.
  auto held = base::open(run + "/spell", O_RDONLY | O_DIRECTORY);
  REQUIRE(held);
  REQUIRE(base::write_file(run + "/spool", "output of the first"));
  REQUIRE(base::write_file(run + "/lock", "of the first"));
  bool spoiled = GENERATE(false, true);
  auto how = spoiled ? GENERATE(0, 1, 2, 3) : 9;
  if (how == 0) REQUIRE(base::write_file(run + "/spell/left", "x"));
  if (how == 1) REQUIRE(base::make_folders(run + "/tmp/left"));
  if (how == 2) REQUIRE(::chmod((run + "/spell").c_str(), 0500) == 0);
  if (how == 3) REQUIRE(base::make_folders(run + "/bin"));
  CHECK(folders.reuse(id) == !spoiled);
  if (spoiled) REQUIRE(folders.remove(id));
  CHECK(!base::exists(run));
  REQUIRE(folders.create(id, "second\n"));
  REQUIRE(folders.clear(id));
  CHECK((inode(run + "/spell") == first) == !spoiled);
  CHECK((base::read_file(run + "/lock.kept").value_or("none") == "") == !spoiled);
  CHECK(*base::read_file(run + "/journal") == "second\n");
  CHECK(base::read_file(run + "/spool").value_or("") == "");
  for (auto* name : {"/lock", "/spell/left", "/tmp/left", "/bin"}) CHECK(!base::exists(run + name));
}
