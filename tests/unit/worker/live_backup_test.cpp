// The backup of a run while it runs, as the worker sees to it: when it begins, and what becomes of
// files after an end by force.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/clock.hpp"
#include "base/file.hpp"
#include "base/text.hpp"
#include "fake_world.hpp"
#include "temporary_folder.hpp"
#include "worker/ending.hpp"
#include "worker/live_backup.hpp"
#include "worker/save_rules.hpp"

using namespace spell;
using namespace spell::worker;
using namespace spell::worker::testing;

namespace {

/// A run's folder as an earlier worker left it.
struct Left {
  TemporaryFolder top;
  Folders folders{top.path};
  model::StartCommand start = start_command();
  std::string folder = folders.run(start.run), spell = folder + "/spell";
  std::unique_ptr<spellfs::ChunkStore> store = spellfs::make_memory_store();

  Left() {
    REQUIRE(folders.make());
    std::filesystem::create_directories(spell);
  }
  /// What is there now is safe.
  void backed_up() {
    auto file = folders.temporary().value();
    spellfs::PackWriter writer(file.get());
    auto saved = spellfs::save(spell, {}, writer).value();
    REQUIRE(store->add_pack("ada", file.get(), writer.finish().value()));
    std::ofstream(folder + "/backup")
        << R"({"outputs":")" << saved.tree->text() << R"(","files":2,"bytes":10,"until_ns":5})";
  }
  void ended(std::int64_t end_us = base::boot_ns() / 1000, bool forced = true) {
    REQUIRE(write_incomplete(folders, start, nullptr, {end_us, forced}, *store));
  }
};

}  // namespace

TEST_CASE("a run is backed up from its first second on, and again by the next worker") {
  World world;
  world.next_command.never_ends = true;
  world.service.assign(start_command());
  REQUIRE(world.run_until([&] { return world.backups[id] > 0; }));
  CHECK(world.now >= world.commands[id].state.started_us + RunTracker::backup_after_us);
  world.run();
  CHECK(world.backups[id] == 1);
  world.crash();
  world.run();
  CHECK(world.backups[id] == 2);
}

TEST_CASE("a short run is not backed up while it runs") {
  World world;
  world.service.assign(start_command());
  world.run();
  CHECK(world.service.runs[id].result);
  CHECK(world.backups[id] == 0);
}

TEST_CASE("a backup that is behind is the run's reason until it has caught up") {
  World world;
  world.next_command.never_ends = true;
  world.service.assign(start_command());
  world.run();
  auto tell = [&](const std::string& text) {
    Actions actions;
    world.agent->backup_behind(id, text, world.now, actions);
    world.run();
    return world.service.runs[id].events.back();
  };
  CHECK(tell("the backup is behind: 1 GB").reason_code == "backup_behind");
  auto events = world.service.runs[id].events.size();
  CHECK(tell("").reason_code == "");
  CHECK(world.service.runs[id].events.size() == events + 1);
  tell("");  // it never was behind: nothing to say
  CHECK(world.service.runs[id].events.size() == events + 1);
}

TEST_CASE("what is not safe yet is told once a second, and anew to a service that may not know") {
  World world;
  world.next_command.never_ends = true;
  world.service.assign(start_command());
  world.run();
  auto said = [&] {
    std::vector<std::int64_t> files;
    for (auto& request : world.service.heard)
      for (auto& report : request.reports)
        if (report.backlog) files.push_back(report.backlog->files);
    return files;
  };
  auto unsaved = [&](std::int64_t files) {
    world.agent->unsaved(id, {files, 10 * files, world.now - 3'500'000}, world.now);
  };
  CHECK(said().empty());
  unsaved(1);
  world.run();
  REQUIRE(said() == std::vector<std::int64_t>{1});
  RunBacklog backlog;
  for (auto& request : world.service.heard)
    for (auto& report : request.reports) backlog = report.backlog.value_or(backlog);
  CHECK(backlog.bytes == 10);
  CHECK(backlog.age == std::chrono::seconds(3));
  auto before = world.now;
  unsaved(2);
  unsaved(3);
  world.run();
  CHECK(said() == std::vector<std::int64_t>{1, 3});
  CHECK(world.now - before >= RunTracker::unsaved_every_us / 2);
  unsaved(3);
  world.service.restart();
  world.service.incarnation = "second";
  world.run();
  CHECK(said().back() == 3);
  CHECK(said().size() >= 3);
}

TEST_CASE("a service that knows no backlog hears of it once, and of all else as before") {
  World world;
  world.next_command.never_ends = true;
  world.service.assign(start_command());
  world.run();
  world.service.knows_backlogs = false;
  world.agent->unsaved(id, {1, 10, world.now}, world.now);
  world.run();
  world.agent->unsaved(id, {2, 20, world.now}, world.now);
  world.run();
  world.service.want(id, "stop");
  world.run();
  CHECK(world.service.runs[id].result);
  int told = 0;
  for (auto& request : world.service.heard)
    for (auto& report : request.reports) told += report.backlog.has_value();
  CHECK(told == 1);
}

TEST_CASE("which ends are by force") {
  using Phase = exec::State::Phase;
  exec::Exit exit;
  exit.code = 0;
  CHECK_FALSE(by_force(Phase::ended, exit));
  exit.code = 1;
  CHECK_FALSE(by_force(Phase::ended, exit));
  exit.ended_by = "stop";  // and it ended by itself then
  CHECK_FALSE(by_force(Phase::ended, exit));
  exit.code = 137;
  CHECK(by_force(Phase::ended, exit));
  exit.code = 255;
  CHECK_FALSE(by_force(Phase::ended, exit));
  exit.code = 143;  // it has saved what it had to, and says so as a shell would
  CHECK_FALSE(by_force(Phase::ended, exit));
  exit.ended_by = "";
  CHECK(by_force(Phase::ended, exit));
  exit.signal = 15;
  CHECK(by_force(Phase::ended, exit));
  CHECK(by_force(Phase::supervisor_lost, std::nullopt));
}

TEST_CASE("files that grow are known by their names") {
  for (auto* path : {"train.log", "a/b/LOSS.CSV", "x.jsonl", "events.out.tfevents.17.host.3.0"})
    CHECK(GrowingFiles().contain(path));
  for (auto* path : {"model.pt", "log", "a.log/model", "csv"})
    CHECK_FALSE(GrowingFiles().contain(path));
  GrowingFiles asked({"*.txt", "/curves/", "!loss.csv"});
  for (auto* path : {"a/b.txt", "curves/x", "curves/deep/x", "train.log", "other.csv"})
    CHECK(asked.contain(path));
  for (auto* path : {"a/loss.csv", "a/curves/x", "a/txt", "model.pt"})
    CHECK_FALSE(asked.contain(path));
}

TEST_CASE("a stop takes nothing from a command that ended by itself where no version is safe") {
  Left left;
  write(left.spell + "/model", "written when it was told to end");
  auto stopped = base::boot_ns() / 1000;
  REQUIRE(write_incomplete(left.folders, left.start, nullptr, {stopped + 9'000'000, false, stopped},
                           *left.store));
  CHECK_FALSE(base::exists(left.folder + "/incomplete"));
}

TEST_CASE("after which ends something may have been torn when the run was told to end") {
  exec::Exit exit;
  exit.stopped_us = 7;
  CHECK(torn_at_us(std::nullopt) == 0);
  exit.code = 1;
  CHECK(torn_at_us(exit) == 0);  // nobody told it
  exit.ended_by = "stop";
  CHECK(torn_at_us(exit) == 7);
  exit.code = 0;  // it says itself that all is in order
  CHECK(torn_at_us(exit) == 0);
  exit.code = 143;
  CHECK(torn_at_us(exit) == 0);
  exit.code = 2;
  exit.stopped_us = 0;  // of an older supervisor
  CHECK(torn_at_us(exit) == 0);
}

TEST_CASE("where what was safe is lost nothing is") {
  Left left;
  write(left.spell + "/model", "version 1");
  left.backed_up();
  left.store = spellfs::make_memory_store();
  left.ended();
  CHECK(set_aside(left.folder).value().paths == std::vector<std::string>{"model"});
}

TEST_CASE("what is written on after a run's own end takes no place of what is safe") {
  Left left;
  write(left.spell + "/model", "version 1");
  write(left.spell + "/kept", "as it was");
  left.backed_up();
  auto end_us = base::boot_ns() / 1000 - 1'000'000;
  write(left.spell + "/model", "vers");
  write(left.spell + "/new", "nothing of it is safe");
  write(left.spell + "/train.log", "epoch 1");
  auto earlier = base::boot_ns() / 1000 + 1'000'000;
  left.ended(earlier, false);
  CHECK_FALSE(base::exists(left.folder + "/incomplete"));
  left.ended(end_us, false);
  CHECK(set_aside(left.folder).value().paths == std::vector<std::string>{"model"});
}

TEST_CASE("where nobody saw the end, what differs from what is safe is put aside") {
  Left left;
  write(left.spell + "/same", "as it was");
  write(left.spell + "/sub/model", "version 1");
  write(left.spell + "/made-by-checkout", "code");
  left.backed_up();
  write(left.spell + "/sub/model", "versi");
  write(left.spell + "/sub/new", "tor");
  write(left.spell + "/train.log", "epoch 1\nepo");
  write(left.spell + "/__pycache__/x", "not an output");
  write(left.spell + "/steps/3/part-0", "tor");
  std::filesystem::create_directories(left.spell + "/steps/4");
  left.ended();
  for (int again = 0; again < 2; ++again) {
    auto aside = set_aside(left.folder).value();
    std::sort(aside.paths.begin(), aside.paths.end());
    CHECK(aside.paths == std::vector<std::string>{"steps/3/part-0", "sub/model", "sub/new"});
    CHECK(aside.moved == 3);
    CHECK(aside.stuck.empty());
  }
  CHECK(base::read_file(left.spell + "/.incomplete/sub/model").value() == "versi");
  CHECK(base::read_file(left.spell + "/.incomplete/sub/new").value() == "tor");
  CHECK_FALSE(std::filesystem::exists(left.spell + "/sub"));  // nothing is left in it
  CHECK_FALSE(std::filesystem::exists(left.spell + "/steps"));
  CHECK(std::filesystem::exists(left.spell + "/same"));
  CHECK(std::filesystem::exists(left.spell + "/train.log"));
}

TEST_CASE("where nothing is safe yet, what was changed just before the end may be torn") {
  Left left;
  left.start.request.folder = "train";
  write(left.spell + "/data/of-the-commit", "code");
  REQUIRE(write_manifest(left.folder, {{"data/of-the-commit", {}}}));
  for (auto* name : {"/model", "/data/old", "/train/checkpoints/epoch-1/part", "/made/sub/part",
                     "/train/checkpoints/epoch-2/part-0"})
    write(left.spell + name, "long ago");
  // Files tell when they were changed; no test sets that, so the end is where it has to be.
  auto settled = base::boot_ns();
  ::usleep(20'000);  // longer than a clock of files stands still
  for (auto* name : {"/new", "/data/new", "/train.log", "/train/checkpoints/epoch-2/part-1"})
    write(left.spell + name, "just now");
  write(left.spell + "/made/other", "just now");
  auto end_us = [&](std::int64_t before) { return (settled + 10'000'000 + before) / 1000; };
  auto torn_at = [&](std::int64_t at_us) {
    std::filesystem::remove(left.folder + "/incomplete");
    End end{at_us, true};
    REQUIRE(write_incomplete(left.folders, left.start, nullptr, end, *left.store));
    CHECK_FALSE(base::exists(left.folder + "/incomplete"));   // it was too short to be backed up
    end.shift_ns = base::unix_us() * 1000 - base::boot_ns();  // of another boot
    REQUIRE(write_incomplete(left.folders, left.start, nullptr, end, *left.store));
    auto text = base::read_file(left.folder + "/incomplete").value();
    auto paths = base::split(text, '\0');
    paths.pop_back();
    return paths;
  };
  backup::LedgerOptions usual;
  CHECK(torn_at(end_us(usual.settle)) ==
        std::vector<std::string>{
            "data/new", "made/other", "made/sub/part", "new", "train/checkpoints/epoch-1/part",
            "train/checkpoints/epoch-2/part-0", "train/checkpoints/epoch-2/part-1"});
  // A new folder is whole or not at all, and has longer for it.
  CHECK(torn_at(end_us(usual.quiet)) ==
        std::vector<std::string>{"made/other", "made/sub/part", "train/checkpoints/epoch-2/part-0",
                                 "train/checkpoints/epoch-2/part-1"});
  CHECK(torn_at(end_us(2 * usual.quiet)).empty());
}

TEST_CASE("where nobody saw the end, what was safe and was taken away since comes back") {
  Left left;
  for (auto* name : {"/steps/1/part", "/steps/2/part", "/kept", "/was/folder", "/was-folder/file"})
    write(left.spell + name, "version 1");
  left.backed_up();
  // Without anything that may be torn all is as the run wanted it.
  std::filesystem::remove_all(left.spell + "/was");
  left.ended();
  CHECK(set_aside(left.folder).value().paths.empty());
  std::filesystem::remove(left.folder + "/incomplete");
  write(left.spell + "/steps/3/part", "whole, and nobody knows");
  std::filesystem::remove_all(left.spell + "/steps/1");
  std::filesystem::remove_all(left.spell + "/was-folder");
  std::filesystem::create_symlink("kept", left.spell + "/was-folder");
  left.ended();
  auto aside = set_aside(left.folder).value();
  std::sort(aside.paths.begin(), aside.paths.end());
  CHECK(aside.paths == std::vector<std::string>{"steps/1/part", "steps/3/part", "was/folder"});
  CHECK(aside.moved == 1);
}

/// Other bytes, as old and as many as before: what a disk that has lost its power may have.
static void spoil(const std::string& path, std::string_view text) {
  struct stat st;
  REQUIRE(::stat(path.c_str(), &st) == 0);
  write(path, text);
  timespec times[2] = {st.st_atim, st.st_mtim};
  REQUIRE(::utimensat(AT_FDCWD, path.c_str(), times, 0) == 0);
}

TEST_CASE("after the end of its host only that counts of a run which is as it is safe") {
  Left left;
  for (auto* name : {"/whole", "/spoiled", "/lost", "/sub/spoiled"})
    write(left.spell + name, "version 1");
  for (auto* name : {"/longer.csv", "/shorter.csv", "/spoiled.csv"})
    write(left.spell + name, "1,2\n3,4\n");
  left.backed_up();
  write(left.spell + "/new", "never safe");
  std::ofstream(left.spell + "/longer.csv", std::ios::app) << "5,6\n";
  write(left.spell + "/shorter.csv", "1,2\n");
  write(left.spell + "/spoiled.csv", std::string("1,2\n3,\0\0"
                                                 "5,6\n",
                                                 12));
  spoil(left.spell + "/spoiled", std::string(9, '\0'));
  spoil(left.spell + "/sub/spoiled", "");
  std::filesystem::remove(left.spell + "/lost");
  left.ended();
  for (int again = 0; again < 2; ++again)
    REQUIRE(write_lost(left.folders, left.start, *left.store));
  auto aside = set_aside(left.folder).value();
  std::sort(aside.paths.begin(), aside.paths.end());
  CHECK(aside.paths == std::vector<std::string>{"lost", "new", "shorter.csv", "spoiled",
                                                "spoiled.csv", "sub/spoiled"});
  CHECK(aside.moved == 5);
  CHECK(std::filesystem::exists(left.spell + "/whole"));
}

TEST_CASE("what the run has made a link of is not followed to where nothing is its own") {
  Left left;
  std::string theirs = left.top.path + "/theirs";
  write(theirs + "/key", "theirs");
  write(left.spell + "/out/key", "mine");
  left.backed_up();
  write(left.spell + "/out/key", "torn");
  left.ended();
  std::filesystem::remove_all(left.spell + "/out");
  std::filesystem::create_directory_symlink(theirs, left.spell + "/out");
  auto aside = set_aside(left.folder).value();
  CHECK(aside.moved == 0);
  CHECK(base::read_file(theirs + "/key").value() == "theirs");
  // Nor is a link in the way of where it goes to.
  std::filesystem::remove(left.spell + "/out");
  write(left.spell + "/out/key", "torn");
  std::filesystem::create_directory_symlink(theirs, left.spell + "/.incomplete");
  aside = set_aside(left.folder).value();
  REQUIRE(aside.stuck.size() == 1);
  CHECK(aside.stuck[0].first == "out/key");
  CHECK_FALSE(std::filesystem::exists(theirs + "/out"));
}

TEST_CASE("what is left out of a save") {
  Left left;
  write(left.spell + "/.spellignore", "*.tmp\n");
  auto rules = read_save_rules(left.folders, left.start).value();
  CHECK(rules.leaves_out("a.tmp", false));
  CHECK(rules.leaves_out("sub/__pycache__", true));
  CHECK_FALSE(rules.leaves_out("sub/__pycache__", false));
  CHECK_FALSE(rules.leaves_out("out", false));
  left.start.request.save_all = true;
  rules = read_save_rules(left.folders, left.start).value();
  CHECK_FALSE(rules.leaves_out("a.tmp", false));
  CHECK_FALSE(rules.leaves_out(".git", true));
}
