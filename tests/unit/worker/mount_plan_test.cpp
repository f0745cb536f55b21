#include "worker/mount_plan.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.hpp"
#include "catch.hpp"
#include "temporary_folder.hpp"
#include "worker/copy_tree.hpp"
#include "worker/mount_record.hpp"

using namespace spell;
using namespace spell::worker;

namespace {

FoundMount found(const std::string& at, spellfs::EntryType type = spellfs::EntryType::folder) {
  FoundMount out;
  out.mount.resource = "uploads/" + at.substr(at.rfind('/') + 1);
  out.mount.at = at;
  out.entry.type = type;
  out.entry.mode = 0700;
  out.entry.size = 3000;
  out.entry.files = 12;
  return out;
}
constexpr auto file = spellfs::EntryType::file;
const exec::Capabilities full{exec::Containment::namespaces, "", true, ""},
    no_overlays{exec::Containment::user_namespaces, "", false, "no"},
    bare{exec::Containment::best_effort, "no namespaces here", false, ""};

}  // namespace

TEST_CASE("folders get overlays, files are read-only, outer ones come first") {
  auto plan = plan_mounts({found("/spell/a/b"), found("/mnt/f", file), found("/spell/a")}, full);
  REQUIRE(plan);
  REQUIRE(plan->size() == 3);
  CHECK((*plan)[0].mount.at == "/mnt/f");
  CHECK((*plan)[0].way == MountWay::read_only);
  CHECK((*plan)[0].in_spell == "");
  CHECK((*plan)[1].mount.at == "/spell/a");
  CHECK((*plan)[1].way == MountWay::overlay);
  CHECK((*plan)[1].in_spell == "a");
  CHECK_FALSE((*plan)[1].inside);
  CHECK((*plan)[2].inside);
  CHECK(mount_notice((*plan)[1], true) ==
        "Mounted uploads/a to /spell/a (12 files, 2.9 KiB), from the cache");
}

TEST_CASE("where a machine can do less, less is planned") {
  auto plan = plan_mounts({found("/mnt/a"), found("/spell/f", file)}, no_overlays);
  REQUIRE(plan);
  CHECK((*plan)[0].way == MountWay::read_only);
  CHECK(mount_notice((*plan)[0], false).find("read-only") != std::string::npos);
  plan = plan_mounts({found("/spell/a")}, bare);
  REQUIRE(plan);
  CHECK((*plan)[0].way == MountWay::copy);
  auto refused = plan_mounts({found("/mnt/a")}, bare);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == "mount_failed");
  CHECK(refused.error().message().find("no namespaces here") != std::string::npos);
}

TEST_CASE("a link, and a mount in a file, are refused") {
  CHECK_FALSE(plan_mounts({found("/mnt/a", spellfs::EntryType::link)}, full));
  CHECK_FALSE(plan_mounts({found("/mnt/a", file), found("/mnt/a/b")}, full));
}

TEST_CASE("the same content has one name in the cache, whatever it is called") {
  auto a = found("/mnt/a"), b = found("/mnt/b");
  b.entry.name = "other";
  b.entry.mtime_ns = 7;
  auto plan = plan_mounts({a, b}, full);
  CHECK((*plan)[0].key == (*plan)[1].key);
  b.entry.node.digest[0] = 1;
  CHECK((*plan_mounts({a, b}, full))[0].key != (*plan_mounts({a, b}, full))[1].key);
  auto f = found("/mnt/f", file).entry, g = f;
  CHECK(cache_key(f) == cache_key(g));
  g.mode = 0755;
  CHECK(cache_key(f) != cache_key(g));
  CHECK(cache_key(f) != cache_key(a.entry));
}

TEST_CASE("what the service says of a mount is checked") {
  model::ResolvedMount mount;
  mount.type = "folder";
  CHECK_FALSE(entry_of(mount));
  mount.node = "s" + std::string(64, 'g');
  CHECK_FALSE(entry_of(mount));
  mount.node = "s" + std::string(64, 'a');
  CHECK(entry_of(mount));
  mount.type = "file";
  mount.node = "";
  CHECK(entry_of(mount));
  mount.size = 1;
  CHECK_FALSE(entry_of(mount));
}

TEST_CASE("the record of a run's mounts comes back as it was") {
  testing::TemporaryFolder top;
  CHECK(read_mount_record(top.path)->mounts.empty());
  MountRecord record;
  record.mounts = {{"/from", "/upper", "/work", "/to"}};
  record.keys = {"k"};
  record.copies = {"a/b"};
  record.places["a/"] = {};
  record.places["f"] = {1, INT64_MAX, -5, UINT64_MAX, 0100644};
  REQUIRE(write_mount_record(top.path, record));
  auto read = read_mount_record(top.path);
  REQUIRE(read);
  CHECK(read->mounts[0].work == "/work");
  CHECK(read->keys == record.keys);
  CHECK(read->copies == record.copies);
  CHECK(read->places.at("f").mtime_ns == INT64_MAX);
  CHECK(read->places.at("f").inode == UINT64_MAX);
  CHECK(read->places.contains("a/"));
  REQUIRE(base::write_file(top.path + "/mounts", "{", 0600, false));
  CHECK(read_mount_record(top.path).error().code() == "damaged");
}

TEST_CASE("a copy of a tree has all that it had, and is its own") {
  testing::TemporaryFolder top;
  std::string from = top.path + "/from", to = top.path + "/to";
  REQUIRE(base::make_folders(from + "/sub/empty"));
  REQUIRE(base::write_file(from + "/sub/file", std::string(300'000, 'x'), 0644, false));
  REQUIRE(base::write_file(from + "/tool", "#!/bin/sh\n", 0755, false));
  REQUIRE(::symlink("/etc/passwd", (from + "/link").c_str()) == 0);
  REQUIRE(::chmod((from + "/sub").c_str(), 0500) == 0);
  timespec times[2] = {{1000, 5}, {1000, 5}};
  REQUIRE(::utimensat(AT_FDCWD, (from + "/tool").c_str(), times, 0) == 0);
  auto copied = copy_tree(from, to, {});
  REQUIRE(copied);
  CHECK(copied->files == 3);
  CHECK(*base::read_file(to + "/sub/file") == std::string(300'000, 'x'));
  struct stat st;
  REQUIRE(::lstat((to + "/link").c_str(), &st) == 0);
  CHECK(S_ISLNK(st.st_mode));
  REQUIRE(::stat((to + "/tool").c_str(), &st) == 0);
  CHECK((st.st_mode & 07777) == 0755);
  CHECK(st.st_mtim.tv_sec == 1000);
  CHECK(st.st_mtim.tv_nsec == 5);
  REQUIRE(::stat((to + "/sub").c_str(), &st) == 0);
  CHECK((st.st_mode & 07777) == 0500);
  REQUIRE(base::write_file(to + "/tool", "other", 0755, false));
  CHECK(*base::read_file(from + "/tool") == "#!/bin/sh\n");
  CHECK_FALSE(copy_tree(from, to, {}));
  std::stop_source stop;
  stop.request_stop();
  CHECK(copy_tree(from, top.path + "/third", stop.get_token()).error().code() == "canceled");
}
