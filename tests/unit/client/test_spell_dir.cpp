#include <sys/stat.h>
#include <unistd.h>

#include "base/file.hpp"
#include "base/spell_dir.hpp"
#include "catch.hpp"
#include "support.hpp"

using namespace spell;
using base::Environment;
using base::resolve_spell_dirs;
using test::TemporaryFolder;

namespace {

mode_t mode_of(const std::string& path) {
  struct stat st {};
  REQUIRE(::lstat(path.c_str(), &st) == 0);
  return st.st_mode & 07777;
}

/// A home, a runtime folder and the two folders that everybody may write to, all below one root.
struct Computer {
  TemporaryFolder root;
  Environment environment;
  std::string network;  ///< what lies below it is on a network file system
  Computer() {
    environment.home = root.path + "/home";
    environment.tmp = root.path + "/tmp";
    environment.var_tmp = root.path + "/var-tmp";
    for (auto& folder : {environment.home, environment.tmp, environment.var_tmp}) {
      REQUIRE(base::make_folders(folder));
    }
    network = "/nowhere";
    environment.on_network = [this](const std::string& path) { return path.starts_with(network); };
  }
};

}  // namespace

TEST_CASE("the default folder is made for its owner alone") {
  Computer computer;
  auto dirs = resolve_spell_dirs("", computer.environment);
  REQUIRE(dirs.ok());
  CHECK(dirs->config == computer.environment.home + "/.spell");
  CHECK(dirs->state == dirs->config);
  CHECK(dirs->socket == dirs->config + "/spelld.sock");
  CHECK(dirs->lock == dirs->config + "/spelld.lock");
  CHECK(dirs->notes.empty());
  CHECK(mode_of(dirs->config) == 0700);
}

TEST_CASE("a folder reached by a link is known by its real path") {
  Computer computer;
  REQUIRE(base::make_folders(computer.root.path + "/real"));
  REQUIRE(::symlink("real", (computer.root.path + "/link").c_str()) == 0);
  auto dirs = resolve_spell_dirs(computer.root.path + "/link", computer.environment);
  REQUIRE(dirs.ok());
  CHECK(dirs->config == computer.root.path + "/real");
}

TEST_CASE("a folder that is not safe to use is refused by name") {
  Computer computer;
  std::string folder = computer.root.path + "/folder", why;
  SECTION("a file") {
    REQUIRE(base::write_file(folder, "x"));
    why = "Not a directory";
  }
  SECTION("writable for the group") {
    REQUIRE(base::make_folders(folder));
    REQUIRE(::chmod(folder.c_str(), 0770) == 0);
    why = "others can write";
  }
  SECTION("writable for all") {
    REQUIRE(base::make_folders(folder));
    REQUIRE(::chmod(folder.c_str(), 0707) == 0);
    why = "others can write";
  }
  SECTION("of another user") {
    if (::geteuid() != 0) return;
    REQUIRE(base::make_folders(folder));
    REQUIRE(::chown(folder.c_str(), 4711, 4711) == 0);
    why = "uid 4711";
  }
  SECTION("not writable") {
    if (::geteuid() == 0)
      folder = "/proc/1/spell";
    else {
      REQUIRE(base::make_folders(folder));
      REQUIRE(::chmod(folder.c_str(), 0500) == 0);
    }
    why = "SPELL_DIR";
  }
  auto dirs = resolve_spell_dirs(folder, computer.environment);
  REQUIRE_FALSE(dirs.ok());
  CHECK_THAT(dirs.error().message(), Catch::Contains(why));
  CHECK(dirs.error().code() == "invalid_configuration");
  CHECK_THAT(dirs.error().message(), Catch::Contains(folder));
  CHECK_THAT(dirs.error().message(), Catch::Contains("SPELL_DIR"));
}

TEST_CASE("on a network file system the state is in a private local folder") {
  Computer computer;
  computer.network = computer.root.path + "/nfs";
  std::string folder = computer.network + "/me/.spell";

  SECTION("below XDG_STATE_HOME") {
    computer.environment.xdg_state_home = computer.root.path + "/state";
    auto dirs = resolve_spell_dirs(folder, computer.environment);
    REQUIRE(dirs.ok());
    CHECK(dirs->config == folder);
    CHECK_THAT(dirs->state, Catch::StartsWith(computer.root.path + "/state/spell-"));
    CHECK(mode_of(dirs->state) == 0700);
    CHECK(dirs->socket == dirs->state + "/spelld.sock");
    REQUIRE(dirs->notes.size() == 1);
    CHECK_THAT(dirs->notes[0], Catch::Contains("network") && Catch::Contains(dirs->state));
  }
  SECTION("below /var/tmp where that is no help") {
    computer.environment.home = computer.network + "/me";
    auto dirs = resolve_spell_dirs("", computer.environment);
    REQUIRE(dirs.ok());
    CHECK_THAT(dirs->state, Catch::StartsWith(computer.environment.var_tmp + "/spell-" +
                                              std::to_string(::geteuid()) + "-"));
    CHECK(mode_of(dirs->state) == 0700);
  }
  SECTION("the same for a caller with another environment") {
    computer.environment.xdg_state_home = computer.root.path + "/state";
    auto dirs = resolve_spell_dirs(folder, computer.environment);
    REQUIRE(dirs.ok());
    computer.environment.xdg_state_home.clear();
    auto again = resolve_spell_dirs(folder, computer.environment);
    REQUIRE(again.ok());
    CHECK(again->state == dirs->state);
  }
  SECTION("another one for another folder") {
    auto one = resolve_spell_dirs(folder, computer.environment);
    auto two = resolve_spell_dirs(folder + "2", computer.environment);
    REQUIRE((one && two));
    CHECK(one->state != two->state);
  }
}

TEST_CASE("a private folder that somebody has prepared is refused") {
  Computer computer;
  computer.network = computer.root.path + "/nfs";
  computer.environment.home = computer.network;
  auto dirs = resolve_spell_dirs("", computer.environment);
  REQUIRE(dirs.ok());
  std::string state = dirs->state;
  REQUIRE(base::remove_tree(state));
  SECTION("as a link") {
    REQUIRE(base::make_folders(computer.root.path + "/trap"));
    REQUIRE(::symlink((computer.root.path + "/trap").c_str(), state.c_str()) == 0);
  }
  SECTION("open to all") {
    REQUIRE(base::make_folders(state));
    REQUIRE(::chmod(state.c_str(), 0777) == 0);
  }
  SECTION("readable for all") {
    REQUIRE(base::make_folders(state));
    REQUIRE(::chmod(state.c_str(), 0755) == 0);
  }
  SECTION("as a file") { REQUIRE(base::write_file(state, "")); }
  auto again = resolve_spell_dirs("", computer.environment);
  REQUIRE_FALSE(again.ok());
  CHECK(again.error().code() == "invalid_configuration");
  CHECK_THAT(again.error().message(), Catch::Contains(state));
}

TEST_CASE("a path that is too long for a socket moves the socket alone") {
  Computer computer;
  std::string folder = computer.root.path + "/" + std::string(100, 'x');
  SECTION("one byte below the limit nothing moves") {
    folder.resize(107 - std::string("/spelld.sock").size());
    auto dirs = resolve_spell_dirs(folder, computer.environment);
    REQUIRE(dirs.ok());
    CHECK(dirs->socket == folder + "/spelld.sock");
    CHECK(dirs->socket.size() == 107);
    return;
  }
  SECTION("into XDG_RUNTIME_DIR") {
    computer.environment.xdg_runtime_dir = computer.root.path + "/run";
    REQUIRE(base::make_folders(computer.environment.xdg_runtime_dir));
    auto dirs = resolve_spell_dirs(folder, computer.environment);
    REQUIRE(dirs.ok());
    CHECK_THAT(dirs->socket, Catch::StartsWith(computer.environment.xdg_runtime_dir + "/spell-") &&
                                 Catch::EndsWith(".sock"));
    CHECK(dirs->state == folder);
    CHECK(dirs->lock == folder + "/spelld.lock");
    REQUIRE(dirs->notes.size() == 1);
    CHECK_THAT(dirs->notes[0], Catch::Contains(dirs->socket));

    SECTION("where a caller without that variable finds it too") {
      computer.environment.xdg_runtime_dir.clear();
      auto again = resolve_spell_dirs(folder, computer.environment);
      REQUIRE(again.ok());
      CHECK(again->socket == dirs->socket);
    }
    SECTION("and elsewhere once that folder is gone") {
      REQUIRE(base::remove_tree(computer.environment.xdg_runtime_dir));
      auto again = resolve_spell_dirs(folder, computer.environment);
      REQUIRE(again.ok());
      CHECK_THAT(again->socket, Catch::StartsWith(computer.environment.tmp));
    }
    return;
  }
  SECTION("into a private folder of /tmp") {
    auto dirs = resolve_spell_dirs(folder, computer.environment);
    REQUIRE(dirs.ok());
    std::string parent = computer.environment.tmp + "/spell-" + std::to_string(::geteuid());
    CHECK_THAT(dirs->socket, Catch::StartsWith(parent + "/"));
    CHECK(mode_of(parent) == 0700);
  }
}
