// Mounts of a run, for real: overlays and read-only binds, and places that the host does not have.
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.hpp"
#include "runs.hpp"

namespace spell::exec::testing {
namespace {

struct Data {
  Scratch scratch;
  std::string lower = scratch.path() + "/a:b,c\\d/lower";

  Data() {
    REQUIRE(base::make_folders(lower + "/sub").ok());
    REQUIRE(base::write_file(lower + "/file", "content\n", 0644).ok());
    REQUIRE(base::write_file(lower + "/sub/deep", "deep\n", 0644).ok());
  }
  /// A mount with an overlay of its own.
  MountSpec overlay(const std::string& name, const std::string& to) const {
    std::string own = scratch.path() + "/own-" + name;
    REQUIRE(base::make_folders(own + "/upper").ok());
    REQUIRE(base::make_folders(own + "/work").ok());
    return {lower, own + "/upper", own + "/work", to};
  }
  State run(Containment level, const std::string& command, std::vector<MountSpec> mounts) {
    auto what = launch(scratch.run_folder("run" + std::to_string(++runs)), command, level);
    what.mounts = std::move(mounts);
    auto state = testing::run(what);
    text = output_of(what.folder).all;
    return state;
  }
  std::string text;
  int runs = 0;
};

}  // namespace

TEST_CASE("what a run writes into a mount is its own") {
  if (auto found = probe(supervisor_program(), "/tmp"); !found.ok() || !found->overlays) {
    WARN("skipped: no overlays here: " << (found.ok() ? found->no_overlays : ""));
    return;
  }
  for (auto level : fences()) {
    CAPTURE(name_of(level));
    Data data;
    auto state = data.run(level,
                          "cat /spell/set/file; echo changed > set/file; rm -r set/sub; mkdir "
                          "set/sub; echo new > set/new; cat set/file; ls set/sub set/new",
                          {data.overlay("a", "/spell/set")});
    CHECK(state.exit->error == "");
    CHECK(state.exit->code == 0);
    CHECK(data.text == "content\nchanged\nset/new\n\nset/sub:\n");
    CHECK(*base::read_file(data.lower + "/file") == "content\n");
    CHECK(*base::read_file(data.lower + "/sub/deep") == "deep\n");
    CHECK_FALSE(base::exists(data.lower + "/new"));
    data.run(level, "cat set/file set/sub/deep", {data.overlay("b", "/spell/set")});
    CHECK(data.text == "content\ndeep\n");
  }
}

TEST_CASE("a mount without an upper folder is read-only") {
  for (auto level : fences()) {
    CAPTURE(name_of(level));
    Data data;
    auto state =
        data.run(level,
                 "cat set/file /data/input.txt; (echo x > set/file) 2>/dev/null || echo refused; "
                 "(echo x > /data/input.txt) 2>/dev/null || echo refused; mount -o remount,rw,bind "
                 "/spell/set 2>/dev/null && echo x > set/file; true",
                 {{data.lower, "", "", "/spell/set"},
                  {data.lower + "/sub/deep", "", "", "/data/input.txt"}});
    CHECK(state.exit->error == "");
    CHECK(data.text == "content\ndeep\nrefused\nrefused\n");
    CHECK(*base::read_file(data.lower + "/file") == "content\n");
  }
}

TEST_CASE("places that the host does not have are made for the run alone") {
  for (auto level : fences()) {
    CAPTURE(name_of(level));
    Data data;
    std::string host = data.scratch.path() + "/host";
    REQUIRE(base::make_folders(host + "/real/inner").ok());
    REQUIRE(base::write_file(host + "/real/there", "there\n", 0644).ok());
    REQUIRE(::symlink("real", (host + "/link").c_str()) == 0);
    REQUIRE(::chmod((host + "/real").c_str(), 01777) == 0);
    std::vector<MountSpec> mounts;
    for (auto& to :
         {std::string("/spell-no-such/a/b"), std::string("/usr/spell-no-such/c"), host + "/new/d",
          host + "/link/e", host + "/real/inner/f", std::string("/mnt/x")})
      mounts.push_back({data.lower, "", "", to});
    auto state =
        data.run(level,
                 "cat /spell-no-such/a/b/file /usr/spell-no-such/c/file " + host + "/new/d/file " +
                     host + "/link/e/file " + host + "/real/inner/f/file /mnt/x/file " + host +
                     "/real/there && stat -c %a " + host + "/real && ls /usr/bin/env && readlink " +
                     host + "/link; touch /usr/spell-no-such/here",
                 mounts);
    CHECK(state.exit->error == "");
    CHECK(
        data.text ==
        "content\ncontent\ncontent\ncontent\ncontent\ncontent\nthere\n1777\n/usr/bin/env\nreal\n");
    for (auto& path : {std::string("/spell-no-such"), std::string("/usr/spell-no-such"),
                       host + "/new", host + "/real/e", host + "/real/inner/f"})
      CHECK_FALSE(base::exists(path));
  }
}

TEST_CASE("a mount may lie in another") {
  for (auto level : fences()) {
    CAPTURE(name_of(level));
    Data data;
    std::string inner = data.scratch.path() + "/inner";
    REQUIRE(base::make_folders(inner).ok());
    REQUIRE(base::write_file(inner + "/file", "inner\n", 0644).ok());
    auto state = data.run(level, "cat set/file set/sub/in/file set/sub/deep set/new/file",
                          {{data.lower, "", "", "/spell/set"},
                           {inner, "", "", "/spell/set/sub/in"},
                           {inner, "", "", "/spell/set/new"}});
    CHECK(state.exit->error == "");
    CHECK(data.text == "content\ninner\ndeep\ninner\n");
    CHECK_FALSE(base::exists(data.lower + "/new"));
  }
}

TEST_CASE("a mount that cannot be made fails the run, which is not started") {
  for (auto level : fences()) {
    CAPTURE(name_of(level));
    Data data;
    auto folder = data.scratch.run_folder();
    std::string outside = data.scratch.path() + "/outside";
    REQUIRE(base::make_folders(outside).ok());
    REQUIRE(::symlink(outside.c_str(), (folder + "/spell/link").c_str()) == 0);
    REQUIRE(base::write_file(folder + "/spell/file", "", 0644).ok());
    for (auto& mount : {MountSpec{"/nowhere", "", "", "/data"},
                        MountSpec{data.lower, "", "", "/spell/link/below"},
                        MountSpec{data.lower, "", "", "/spell/link"},
                        MountSpec{data.lower, "", "", "/spell/file"},
                        MountSpec{data.lower + "/file", "", "", "/usr"},
                        MountSpec{data.lower, "", "", "/etc/passwd/x"}}) {
      CAPTURE(mount.to);
      auto bad = launch(folder, "echo started", level);
      bad.mounts = {mount};
      auto ended = run(bad);
      CHECK(ended.exit->error_code == "mount_failed");
      CHECK(ended.exit->error.find(mount.from == "/nowhere" ? "/data" : mount.to) !=
            std::string::npos);
      CHECK(ended.output_bytes == 0);
      for (auto* used : {"/spool", "/lock"}) REQUIRE(base::remove_tree(folder + used).ok());
    }
    CHECK_FALSE(base::exists(outside + "/below"));
  }
  Data data;
  auto state = data.run(Containment::best_effort, "echo started", {{data.lower, "", "", "/data"}});
  CHECK(state.exit->error_code == "mount_failed");
  CHECK(data.text == "");
}

TEST_CASE("a spec with mounts is written as ever") {
  using namespace std::string_literals;
  Scratch scratch;
  auto what = launch(scratch.run_folder(), "true");
  what.supervisor = scratch.path() + "/supervisor";
  REQUIRE(base::write_file(what.supervisor, "#!/bin/sh\nexec cat > \"$1/spec\"\n", 0755).ok());
  what.mounts = {{"/from", "/upper", "/work", "/to"}, {"/file", "", "", "/there"}};
  start(what);
  auto spec = *base::read_file(what.folder + "/spec");
  CHECK(
      spec.ends_with("mount_from=/from\0mount_upper=/upper\0mount_work=/work\0mount_to=/to\0"
                     "mount_from=/file\0mount_upper=\0mount_work=\0mount_to=/there\0end=\0"s));
}

}  // namespace spell::exec::testing
