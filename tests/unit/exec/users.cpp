// Runs with users of their own: what they can reach of the host and of each other.
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.hpp"
#include "runs.hpp"

using namespace spell;
using namespace spell::exec;
using namespace spell::exec::testing;

namespace {

constexpr std::uint32_t ada = 1'900'000'001, bob = 1'900'000'002;

/// Whether this host can give runs users; said once where it can't.
bool can_have_users() {
  static const Result<Capabilities> found = [] {
    Scratch scratch;
    return probe(supervisor_program(), scratch.path(), ada);
  }();
  if (!found) {
    CHECK(found.error().code() == "no_isolation");
    WARN("runs cannot have users of their own here: " << found.error().message());
  }
  return found.ok();
}

Launch launch_as(std::uint32_t user, const std::string& folder, const std::string& command) {
  auto out = launch(folder, command, Containment::namespaces);
  out.user = user;
  return out;
}

std::string output(const Launch& what) {
  auto state = run(what);
  REQUIRE(state.exit);
  INFO(state.exit->error_code << " " << state.exit->error);
  CHECK(state.exit->error_code.empty());
  return output_of(what.folder).all;
}

uid_t owner_of(const std::string& path) {
  struct stat st {};
  REQUIRE(::lstat(path.c_str(), &st) == 0);
  return st.st_uid;
}

}  // namespace

TEST_CASE("a run's user owns its folder and nothing else, on disk all is root's") {
  if (!can_have_users()) return;
  Scratch scratch;
  auto folder = scratch.run_folder();
  REQUIRE(base::write_file(folder + "/spell/code", "echo ran", 0755).ok());
  auto all = output(launch_as(
      ada, folder,
      "id -u; id -g; id -G; stat -c %u /spell/code; ./code; echo more >> code && echo wrote;"
      "mkdir made && touch made/file && chmod 600 made/file; echo t > /tmp/mine; ls /spell-tmp;"
      "grep -E '^(NoNewPrivs|CapEff|CapBnd)' /proc/self/status | head -3; touch /file /etc/x"));
  std::string id = std::to_string(ada);
  CHECK(all.find(id + "\n" + id + "\n" + id + "\n" + id + "\nran\nwrote\nmine\n") == 0);
  CHECK(all.find("NoNewPrivs:\t1") != std::string::npos);
  CHECK(all.find("CapEff:\t0000000000000000") != std::string::npos);
  CHECK(all.find("'/file': ") != std::string::npos);
  CHECK(all.find("'/etc/x': Permission denied") != std::string::npos);
  CHECK(owner_of(folder + "/spell/made/file") == 0);
  CHECK(owner_of(folder + "/spell/code") == 0);
}

TEST_CASE("of the host a run with a user sees the system's folders, and no temporary files") {
  if (!can_have_users()) return;
  Scratch scratch;
  auto folder = scratch.run_folder();
  auto secret = scratch.path() + "/secret";  // below /tmp
  REQUIRE(base::write_file(secret, "the-secret", 0666).ok());
  REQUIRE(::chmod(scratch.path().c_str(), 0777) == 0);
  auto all = output(launch_as(ada, folder,
                              "cat " + secret +
                                  "; ls -A /; ls -A /tmp /var/tmp /dev/shm; cat /proc/*/root" +
                                  secret + "; touch /var/tmp/x /dev/shm/y && echo shared"));
  CHECK(all.find("the-secret") == std::string::npos);
  CHECK(all.find("\nhome\n") == std::string::npos);
  CHECK(all.find("\nroot\n") == std::string::npos);
  CHECK(all.find("\nusr\n") != std::string::npos);
  CHECK(all.find("/dev/shm:\n") != std::string::npos);
  CHECK(all.find("shared\n") != std::string::npos);
  CHECK_FALSE(base::exists("/var/tmp/x"));
  CHECK_FALSE(base::exists("/dev/shm/y"));
}

TEST_CASE("a run reaches neither files nor processes of another user's run") {
  if (!can_have_users()) return;
  Scratch scratch;
  auto theirs = scratch.run_folder("theirs"), own = scratch.run_folder("own");
  auto seconds = unique_sleep();
  auto what = launch_as(bob, theirs,
                        "echo the-secret > file; echo the-secret > /tmp/file; echo the-secret > "
                        "/dev/shm/file; echo ready; exec sleep " +
                            seconds);
  what.env.push_back("TOKEN=the-secret");
  auto other = start(what);
  REQUIRE(await_output(other, theirs, "ready"));
  auto all = output(
      launch_as(ada, own,
                "cat " + theirs +
                    "/spell/file /tmp/file /dev/shm/file /proc/*/environ /proc/*/root/spell/file "
                    "| tr '\\0' '\\n'; ipcs -a; kill -9 -1; echo done"));
  CHECK(all.find("the-secret") == std::string::npos);
  CHECK(processes_with(seconds) == 1);
  REQUIRE(other.kill().ok());
  finish(other);
}

TEST_CASE("where runs have users, their mounts can be written to if anybody's can") {
  if (!can_have_users()) return;
  Scratch scratch;
  auto everybody = probe(supervisor_program(), scratch.path());
  auto user = probe(supervisor_program(), scratch.path(), ada);
  REQUIRE(everybody.ok());
  INFO(user->no_overlays);
  CHECK(user->overlays == everybody->overlays);
}

TEST_CASE("a run's user may write in its mounts and changes nothing below them") {
  if (!can_have_users()) return;
  Scratch scratch;
  auto folder = scratch.run_folder();
  auto lower = scratch.path() + "/tree";
  REQUIRE(base::make_folders(lower + "/deep", 0755).ok());
  REQUIRE(base::write_file(lower + "/deep/private", "kept", 0600).ok());
  auto what = launch_as(ada, folder,
                        "echo x > a/own && echo y > a/b/own && cd a/b && cat /spell/one "
                        "data/deep/private && echo changed > data/deep/private && mv data/deep "
                        "data/moved && cat data/moved/private; stat -c %u data/moved/private");
  for (auto* part : {"/upper", "/work"}) REQUIRE(base::make_folders(folder + part, 0755).ok());
  // Their places in /spell are made, and the user may use the folders on the way.
  what.mounts = {{lower, folder + "/upper", folder + "/work", "/spell/a/b/data"},
                 {lower + "/deep/private", "", "", "/spell/one"}};
  CHECK(output(what) == "keptkeptchanged\n" + std::to_string(ada) + "\n");
  auto text = base::read_file(lower + "/deep/private", 100);
  REQUIRE(text);
  CHECK(*text == "kept");
}

TEST_CASE("shared folders are there, to read or to write as their owner allows") {
  if (!can_have_users()) return;
  Scratch scratch;
  auto folder = scratch.run_folder();
  auto data = scratch.path() + "/data", open = scratch.path() + "/open";
  for (auto& path : {data, open}) {
    REQUIRE(base::make_folders(path, 0755).ok());
    REQUIRE(::chmod(path.c_str(), 0777) == 0);
  }
  REQUIRE(base::write_file(data + "/set", "set", 0644).ok());
  REQUIRE(base::write_file(data + "/private", "the-secret", 0600).ok());
  auto what = launch_as(
      ada, folder,
      "cat /data/set /data/private; touch /data/x || echo read-only; echo kept > /open/y");
  what.binds = {{data, "/data", true}, {open, "/open"}};
  auto all = output(what);
  CHECK(all.find("set") == 0);
  CHECK(all.find("read-only") != std::string::npos);
  CHECK(all.find("the-secret") == std::string::npos);
  CHECK_FALSE(base::exists(data + "/x"));
  CHECK(owner_of(open + "/y") == ada);
}

TEST_CASE("without root there are no users for runs") {
  if (::geteuid() == 0) return;
  Scratch scratch;
  auto found = probe(supervisor_program(), scratch.path(), ada);
  REQUIRE_FALSE(found);
  CHECK(found.error().code() == "no_isolation");
}
