#include "model/mount.hpp"

#include "catch.hpp"

using namespace spell;
using namespace spell::model;

namespace {

/// "" where the target is refused.
std::string target(const std::string& at, const std::string& folder = "",
                   const std::string& resource = "runs/3/data") {
  auto path = mount_target({resource, at}, folder);
  if (path) return *path;
  CHECK(path.error().code() == "invalid_mount");
  CHECK(path.error().message().find('\n') == std::string::npos);
  return "";
}

}  // namespace

TEST_CASE("a mount is where it was asked for") {
  CHECK(target("") == "/spell/data");
  CHECK(target("", "sub") == "/spell/sub/data");
  CHECK(target("", "", "uploads/set") == "/spell/set");
  CHECK(target("", "", "runs/3/") == "/spell/3");
  CHECK(target("sets/a") == "/spell/sets/a");
  CHECK(target("sets//a/./b/", "x/y") == "/spell/x/y/sets/a/b");
  CHECK(target("../set", "x") == "/spell/set");
  CHECK(target("/mnt/x") == "/mnt/x");
  CHECK(target("/data/../mnt//x/") == "/mnt/x");
  CHECK(target("/spell/x", "sub") == "/spell/x");
  CHECK(target("/usr/share/set") == "/usr/share/set");
  CHECK(target("/spellbound") == "/spellbound");
}

TEST_CASE("a mount that would hide the run's own or lead out is refused") {
  for (auto* at :
       {"/",     "/spell",  "/spell/", "/spell/.",  "/x/..",        "/..",        "/../x",
        "/proc", "/proc/1", "/sys/fs", "/dev/null", "/spell-tmp/x", "/spell-bin", "/usr",
        "/etc",  "/bin",    "..",      "../..",     "x/../..",      "."}) {
    INFO(at);
    CHECK(target(at) == "");
  }
  CHECK(target("../..", "x") == "");
  CHECK(target(std::string(300, 'a')) == "");
  CHECK(target(std::string("/mnt/a\0b", 8)) == "");
  CHECK(target("/mnt/\xff") == "");
}

TEST_CASE("a resource is a plain path") {
  CHECK(*mount_resource("uploads/x///") == "uploads/x");
  for (auto* bad : {"", "/", "/etc", "runs//3", "runs/../3", "runs/./3", "a\nb/..", "\xff"}) {
    auto refused = mount_resource(bad);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code() == "invalid_mount");
    CHECK(refused.error().message().find("Cannot mount resource ") == 0);
    CHECK(refused.error().message().find("not a valid resource") != std::string::npos);
  }
  CHECK(mount_resource("s3://bucket/x").error().message().find("s3:// is not available") !=
        std::string::npos);
}

TEST_CASE("no two mounts are in one place, and none lies in a file") {
  RunRequest request;
  request.mounts = {{"runs/1/a", ""}, {"runs/2/a", "/mnt"}};
  CHECK(mount_targets(request));
  request.mounts.push_back({"uploads/b", "/spell/./a"});
  auto refused = mount_targets(request);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().message().find("/spell/a") != std::string::npos);

  ResolvedMount file{.resource = "uploads/f", .at = "/mnt/f", .type = "file"},
      inner{.resource = "uploads/g", .at = "/mnt/f/g", .type = "folder"},
      beside{.resource = "uploads/h", .at = "/mnt/fg", .type = "folder"};
  CHECK(check_nesting({file, beside}));
  CHECK_FALSE(check_nesting({inner, file}));
  file.type = "folder";
  CHECK(check_nesting({inner, file}));
}

TEST_CASE("the mounts of a run's record are read as they were written") {
  std::vector<ResolvedMount> mounts{
      {.resource = "runs/3/a", .at = "/spell/a", .type = "folder", .node = "s1", .below = "a"},
      {.resource = "runs/4", .at = "/mnt/x", .run = 4}};
  auto text = write_mounts(mounts);
  auto read = read_mounts(text);
  REQUIRE(read);
  CHECK(write_mounts(*read) == text);
  CHECK((*read)[1].run == 4);
  CHECK(json::parse(text)[0]["node"] == "s1");
  CHECK(write_mounts({}) == "");
  CHECK(read_mounts("")->empty());
  CHECK(read_mounts("[{]").error().code() == "damaged");
  CHECK(read_mounts("{\"a\": 1}").error().code() == "damaged");
}

TEST_CASE("outputs of a run, and of a chain, are known by their paths") {
  CHECK(run_outputs("runs/7")->run == 7);
  CHECK_FALSE(run_outputs("runs/7/a+")->of_chain);
  CHECK(run_outputs("runs/7+/a")->run == 7);
  CHECK(run_outputs("runs/7+/a")->of_chain);
  for (auto* path : {"runs", "runs/", "runs/+", "runs/7++", "runs/-7", "runs/0", "uploads/7", "7"})
    CHECK_FALSE(run_outputs(path));
  CHECK(mount_target({"runs/7+", ""}, "").value() == "/spell/7");
  CHECK(mount_target({"runs/7+/a+", ""}, "").value() == "/spell/a+");
  ResolvedMount mount;
  mount.resource = "runs/7+/a";
  CHECK(runs_mounted({mount}) == std::vector<std::int64_t>{7});
}
