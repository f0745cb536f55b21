#include "worker/system_layer.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "temporary_folder.hpp"

using namespace spell;
using namespace spell::worker;
using namespace spell::worker::testing;

namespace {

void put(const std::string& path, std::string_view text, unsigned mode = 0644) {
  REQUIRE(base::make_folders(path.substr(0, path.rfind('/')), 0755));
  REQUIRE(base::write_file(path, text, mode, false));
  REQUIRE(::chmod(path.c_str(), mode) == 0);
}

bool is_gone(const std::string& path) {
  struct stat st;
  return ::lstat(path.c_str(), &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(0, 0);
}

/// A machine's root, and the upper folder of an overlay above it.
struct Computer {
  TemporaryFolder folder;
  std::string host = folder.path + "/host", tree = folder.path + "/tree", root = tree + "/root";
  Computer() {
    put(host + "/var/lib/dpkg/status",
        "Package: a\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\n\n"
        "Package: b\nStatus: install ok installed\nArchitecture: all\nVersion: 2\nSize: 5\n");
    put(host + "/etc/passwd", "root:x:0:0::/:\n");
    REQUIRE(base::make_folders(root, 0755));
  }
  std::string fingerprint() const {
    auto found = system_fingerprint(host);
    REQUIRE(found);
    return *found;
  }
  std::string changes() const { return *base::read_file(tree + "/" + system_changes); }
};

}  // namespace

TEST_CASE("a machine's fingerprint is its packages, users and libraries, and nothing else") {
  Computer computer;
  auto before = computer.fingerprint();
  CHECK(before.size() == 32);
  // Another order, and what says nothing of what is installed.
  put(computer.host + "/var/lib/dpkg/status",
      "Package: b\nVersion: 2\nStatus: install ok installed\nArchitecture: all\n\nPackage: "
      "a\nStatus: "
      "install ok installed\nArchitecture: amd64\nVersion: 1\nDescription: new\n\n");
  put(computer.host + "/etc/hostname", "other\n");
  auto again = computer.fingerprint();
  put(computer.host + "/etc/passwd", "root:x:0:0::/:\nada:x:1:1::/:\n");
  auto users = computer.fingerprint();
  CHECK(users != again);
  put(computer.host + "/etc/ld.so.cache", "libraries");
  CHECK(computer.fingerprint() != users);
  put(computer.host + "/var/lib/dpkg/status", "Package: a\nVersion: 1.1\n");
  CHECK(computer.fingerprint() != users);
}

TEST_CASE("what an installation leaves is kept, but for what is the machine's own") {
  Computer computer;
  put(computer.host + "/etc/secret", "host's", 0600);
  put(computer.host + "/etc/closed/inner", "host's");
  REQUIRE(::chmod((computer.host + "/etc/closed").c_str(), 0700) == 0);
  put(computer.host + "/etc/open", "host's");
  for (auto* path : {"/usr/bin/tool", "/etc/open", "/etc/closed/new", "/var/lib/tool/data"})
    put(computer.root + path, "new", 0640);
  for (auto* path :
       {"/etc/secret", "/etc/closed/inner", "/etc/shadow", "/etc/resolv.conf",
        "/var/log/apt/term.log", "/var/cache/x/y", "/var/lib/apt/lists/z", "/usr/sbin/policy-rc.d"})
    put(computer.root + path, "host's and new");
  REQUIRE(base::make_folders(computer.root + "/opt", 0755));
  REQUIRE(::mkfifo((computer.root + "/etc/fifo").c_str(), 0600) == 0);
  REQUIRE(pack_system(computer.tree, {}, computer.host));
  for (auto* path : {"/usr/bin/tool", "/etc/open", "/etc/closed/new", "/var/lib/tool/data"})
    CHECK(base::exists(computer.root + path));
  for (auto* path :
       {"/etc/secret", "/etc/closed/inner", "/etc/shadow", "/etc/resolv.conf", "/var/log",
        "/var/cache", "/var/lib/apt/lists", "/usr/sbin/policy-rc.d", "/etc/fifo", "/opt"})
    CHECK_FALSE(base::exists(computer.root + path));
  CHECK(computer.changes().empty());
}

TEST_CASE("what is gone, and folders that hide others, come back as they were") {
  if (::geteuid() != 0) return;  // such files are for root to make
  Computer computer;
  put(computer.root + "/usr/share/doc/x", "x");
  for (auto* path : {"/usr/share/old", "/usr/gone \n x", "/var/cache/gone"}) {
    REQUIRE(base::make_folders(
        computer.root + std::string(path).substr(0, std::string(path).rfind('/')), 0755));
    REQUIRE(::mknod((computer.root + path).c_str(), S_IFCHR, makedev(0, 0)) == 0);
  }
  std::string doc = computer.root + "/usr/share/doc";
  REQUIRE(::setxattr(doc.c_str(), "trusted.overlay.opaque", "y", 1, 0) == 0);
  REQUIRE(pack_system(computer.tree, {}, computer.host));
  CHECK_FALSE(base::exists(computer.root + "/usr/share/old"));
  using namespace std::string_literals;
  CHECK(computer.changes() == "wusr/gone \n x\0ousr/share/doc\0wusr/share/old\0"s);
  REQUIRE(::removexattr(doc.c_str(), "trusted.overlay.opaque") == 0);

  REQUIRE(unpack_system(computer.tree));
  CHECK(is_gone(computer.root + "/usr/share/old"));
  CHECK(is_gone(computer.root + "/usr/gone \n x"));
  CHECK_FALSE(base::exists(computer.root + "/var/cache/gone"));
  char value = 0;
  CHECK(::getxattr(doc.c_str(), "trusted.overlay.opaque", &value, 1) == 1);
  CHECK(value == 'y');
}

TEST_CASE("a layer of whoever made it changes nothing outside of itself") {
  using namespace std::string_literals;
  Computer computer;
  put(computer.root + "/usr/file", "x");
  put(computer.folder.path + "/outside/file", "x");
  REQUIRE(::symlink((computer.folder.path + "/outside").c_str(),
                    (computer.root + "/link").c_str()) == 0);
  for (auto& changes : {"w../outside/new\0"s, "w/etc/new\0"s, "wlink/new\0"s, "olink\0"s,
                        "wusr/../../new\0"s, "wusr/file/x\0"s, "w\0"s, "xusr/x\0"s, "wusr/x"s,
                        "\0"s, "wusr//x\0"s, "wnone/x\0"s, "w.\0"s}) {
    CAPTURE(changes);
    put(computer.tree + "/" + system_changes, changes);
    CHECK(unpack_system(computer.tree).error().code() == "damaged");
  }
  CHECK_FALSE(base::exists(computer.folder.path + "/outside/new"));
  ::unlink((computer.tree + "/" + system_changes).c_str());
  CHECK(unpack_system(computer.tree).error().code() == "damaged");
  REQUIRE(::symlink("/etc/passwd", (computer.tree + "/" + system_changes).c_str()) == 0);
  CHECK(unpack_system(computer.tree).error().code() == "damaged");
}

TEST_CASE("a machine says what it lacks for packages") {
  Computer computer;
  exec::Capabilities all;
  all.packages = true;
  CHECK(lacks_for_packages(all, computer.host) ==
        "it is not Debian-like: there is no /usr/bin/apt-get");
  put(computer.host + "/usr/bin/apt-get", "");
  put(computer.host + "/usr/bin/dpkg", "");
  CHECK(lacks_for_packages(all, computer.host).empty());
  all.packages = false;
  all.no_packages = "that takes a worker that is root";
  CHECK(lacks_for_packages(all, computer.host) == "that takes a worker that is root");
}
