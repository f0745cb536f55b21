// Packages over the host's own system: what a build of them changes is its own, and what a run
// finds of a layer is there for it alone.
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.hpp"
#include "base/text.hpp"
#include "runs.hpp"

namespace spell::exec::testing {
namespace {

bool builds_here() {
  auto found = probe(supervisor_program(), "/tmp");
  if (found.ok() && found->packages) return true;
  WARN("skipped: no packages here: " << (found.ok() ? found->no_packages : ""));
  return false;
}

void put(const std::string& path, const std::string& text) {
  REQUIRE(base::make_folders(path.substr(0, path.rfind('/')), 0755).ok());
  REQUIRE(base::write_file(path, text, 0755, false).ok());
}

struct Build {
  Scratch scratch;
  std::string upper = scratch.path() + "/upper", work = scratch.path() + "/work", text;
  Build() {
    for (auto& folder : {upper, work}) REQUIRE(base::make_folders(folder, 0755).ok());
  }
  State run(const std::string& command) {
    auto what = launch(scratch.run_folder(), command, Containment::namespaces);
    what.system = {"", upper, work};
    what.hidden = {scratch.path()};
    auto state = testing::run(what);
    text = output_of(what.folder).all;
    return state;
  }
};

}  // namespace

TEST_CASE("what a build of packages changes in the system is in its upper folder alone") {
  if (!builds_here()) return;
  Build build;
  auto state = build.run(
      "set -e; id -u; mkdir /usr/share/.spell-test; echo new > /usr/share/.spell-test/file; echo "
      "x > /etc/.spell-test; rm /etc/os-release /usr/lib/os-release; echo y >> /etc/passwd; rm -r "
      "/var/lib/dpkg && mkdir /var/lib/dpkg; echo done");
  CHECK(state.exit->error == "");
  CHECK(build.text == "0\ndone\n");
  CHECK(*base::read_file(build.upper + "/usr/share/.spell-test/file") == "new\n");
  CHECK(*base::read_file(build.upper + "/etc/.spell-test") == "x\n");
  struct stat st;
  CHECK((::lstat((build.upper + "/usr/lib/os-release").c_str(), &st) == 0 && S_ISCHR(st.st_mode)));
  for (auto* path : {"/usr/share/.spell-test", "/etc/.spell-test"}) CHECK_FALSE(base::exists(path));
  CHECK(base::exists("/usr/lib/os-release"));
  CHECK(base::exists("/var/lib/dpkg/status"));
  CHECK(base::read_file("/etc/passwd")->find("\ny\n") == std::string::npos);
}

TEST_CASE("a build of packages reaches nothing of the host that it could do harm to") {
  if (!builds_here()) return;
  Build build;
  build.run(
      "ls /home /root /sys /spell; ls /dev | tr '\\n' ' '; echo; ls -A /run; (echo 1 > "
      "/proc/sys/kernel/sysrq) 2> /dev/null || echo refused; (echo h > /proc/sysrq-trigger) 2> "
      "/dev/null || echo refused; echo x > /dev/null; touch /tmp/x /run/x; (touch /x) 2> /dev/null "
      "|| echo refused; test -e " +
      build.scratch.path() + " || echo none");
  CHECK(build.text ==
        "/home:\n\n/root:\n\n/spell:\n\n/sys:\nfd full null random shm stderr stdin stdout tty "
        "urandom zero \nlock\nrefused\nrefused\nrefused\nnone\n");
}

TEST_CASE("a layer lies over the system, to be read only, for its run alone") {
  for (auto level : fences()) {
    CAPTURE(name_of(level));
    Scratch scratch;
    std::string layer = scratch.path() + "/layer";
    put(layer + "/usr/bin/spell-test-tool", "#!/bin/sh\necho tool\n");
    put(layer + "/etc/spell-test/own", "own\n");
    put(layer + "/var/lib/spell-test/data", "data\n");
    put(layer + "/home/never", "");
    auto what = launch(
        scratch.run_folder(),
        "spell-test-tool; cat /etc/spell-test/own /var/lib/spell-test/data; ls /usr/bin/env "
        "/etc/passwd; for path in /usr/x /etc/x /var/x; do (touch $path) 2> /dev/null || echo "
        "refused; done; test -e /home/never || echo none; mount -o remount,rw,bind /usr 2> "
        "/dev/null && touch /usr/x; f=$(mktemp -p /var/tmp) && echo temporary && rm $f; true",
        level);
    what.system.layer = layer;
    auto state = testing::run(what);
    CHECK(state.exit->error == "");
    CHECK(output_of(what.folder).all ==
          "tool\nown\ndata\n/etc/passwd\n/usr/bin/env\nrefused\nrefused\nrefused\nnone\n"
          "temporary\n");
    CHECK_FALSE(base::exists("/usr/bin/spell-test-tool"));
  }
}

TEST_CASE("a layer that lies below a folder of the system can be laid over it, and stays hidden") {
  if (::geteuid() != 0) return;
  std::string top = "/var/tmp/spell-test-" + std::to_string(::getpid());
  put(top + "/layer/var/lib/spell-test", "x\n");
  Scratch scratch;
  for (auto level : fences()) {
    CAPTURE(name_of(level));
    auto what = launch(scratch.run_folder(name_of(level)),
                       "cat /var/lib/spell-test; ls -d /var/lib/dpkg; ls " + top, level);
    what.system.layer = top + "/layer";
    what.hidden = {top};
    auto state = testing::run(what);
    CHECK(state.exit->error == "");
    CHECK(output_of(what.folder).all == "x\n/var/lib/dpkg\n");
  }
  REQUIRE(base::remove_tree(top).ok());
}

TEST_CASE("packages without namespaces are refused") {
  Scratch scratch;
  auto what = launch(scratch.run_folder(), "true", Containment::best_effort);
  what.system.layer = scratch.path();
  CHECK(testing::run(what).exit->error_code == "mount_failed");
}

}  // namespace spell::exec::testing
