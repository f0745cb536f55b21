// What a run can't reach, and what it can. Where this machine has no fences the cases have nothing
// to say.
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.hpp"
#include "base/file.hpp"
#include "runs.hpp"

using namespace spell;
using namespace spell::exec;
using namespace spell::exec::testing;

namespace {

/// A folder to hide, with the run's own folder, another run's file and a secret in it.
struct Hidden {
  Scratch scratch;
  std::string folder = scratch.path() + "/state dir";
  std::string run_folder = scratch.run_folder("state dir/runs/1");
  Hidden() {
    REQUIRE(base::write_file(folder + "/token", "the-secret", 0666).ok());
    REQUIRE(base::write_file(folder + "/runs/other", "the-secret", 0666).ok());
    REQUIRE(::chmod(folder.c_str(), 0777) == 0);
  }
  Launch launch(const std::string& command, Containment level) const {
    auto out = testing::launch(run_folder, command, level);
    out.hidden = {folder};
    out.env.push_back("HIDDEN=" + folder);
    return out;
  }
};

}  // namespace

TEST_CASE("a hidden folder is empty and stays so") {
  for (auto level : fences()) {
    CAPTURE(name_of(level));
    Hidden hidden;
    auto state = run(hidden.launch(
        "ls -A \"$HIDDEN\"; touch \"$HIDDEN/x\"; mkdir \"$HIDDEN/y\"; cat \"$HIDDEN/token\" "
        "\"$HIDDEN\"/runs/other;"
        "for root in /proc/[0-9]*/root /proc/[0-9]*/cwd; do cat \"$root$HIDDEN/token\" "
        "\"$root/../token\"; done;"
        "cat ../token ../../token ../../../token; ls -A /.hidden;"
        "umount -l \"$HIDDEN\"; mount --bind / /mnt; cat \"$HIDDEN/token\" \"/mnt$HIDDEN/token\";"
        "unshare -Urm sh -c 'umount -l \"$HIDDEN\"; mount --bind / /mnt; cat \"$HIDDEN/token\" "
        "\"/mnt$HIDDEN/token\"';"
        "unshare -Urmpf --mount-proc sh -c 'cat /proc/*/root\"$HIDDEN/token\"';"
        "grep -l the-secret -r \"$HIDDEN\" /spell /spell-tmp; echo done",
        level));
    REQUIRE(state.exit);
    auto all = output_of(hidden.run_folder).all;
    CHECK(all.find("done\n") != std::string::npos);
    CHECK(all.find("the-secret") == std::string::npos);
    CHECK(base::exists(hidden.folder + "/token"));
    CHECK_FALSE(base::exists(hidden.folder + "/x"));
    CHECK_FALSE(base::exists(hidden.folder + "/y"));
  }
}

TEST_CASE("hiding a folder that is not there, or is named by a link, is fine") {
  for (auto level : fences()) {
    CAPTURE(name_of(level));
    Hidden hidden;
    auto link = hidden.scratch.path() + "/link";
    REQUIRE(::symlink(hidden.folder.c_str(), link.c_str()) == 0);
    auto what = hidden.launch("cat \"$HIDDEN/token\" " + link + "/token; echo done", level);
    what.hidden = {"/nowhere/at/all", link};
    auto state = run(what);
    CHECK(state.containment == name_of(level));
    auto all = output_of(hidden.run_folder).all;
    CHECK(all.find("done\n") != std::string::npos);
    CHECK(all.find("the-secret") == std::string::npos);
  }
}

TEST_CASE("other processes and their environment are out of sight") {
  for (auto level : fences()) {
    CAPTURE(name_of(level));
    Scratch scratch;
    auto neighbour = scratch.run_folder("neighbour"), own = scratch.run_folder("own");
    auto seconds = unique_sleep();
    auto what = launch(neighbour, "echo ready; exec sleep " + seconds, level);
    what.env.push_back("NEIGHBOUR=the-secret");
    auto other = start(what);
    REQUIRE(await_output(other, neighbour, "ready"));
    // A process that is just becoming another has no arguments for a moment.
    for (int i = 0; i < 1000 && processes_with(seconds) != 1; ++i) ::poll(nullptr, 0, 10);
    REQUIRE(processes_with(seconds) == 1);
    auto state = run(launch(own,
                            "cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline | tr '\\0' '\\n';"
                            "echo count $(ls -d /proc/[0-9]* | wc -l); kill -9 -1; echo done",
                            level));
    CHECK(state.exit);
    auto all = output_of(own).all;
    CHECK(all.find("the-secret") == std::string::npos);
    CHECK(all.find(seconds) == std::string::npos);
    CHECK(all.find("spell_unit_exec") == std::string::npos);
    CHECK(processes_with(seconds) == 1);
    REQUIRE(other.kill().ok());
    finish(other);
  }
}

TEST_CASE("the run root cannot be written, the host's folders are where they were") {
  for (auto level : fences()) {
    CAPTURE(name_of(level));
    Scratch scratch;
    auto folder = scratch.run_folder();
    auto marker = scratch.path() + "/from-the-run";
    run(launch(folder,
               "touch /file || echo no file; mkdir /folder || echo no folder; touch " + marker +
                   "; test -x /usr/bin/env && echo usr;"
                   "echo x > /dev/null && echo null; touch /spell/kept; : > $TMPDIR/t && echo tmp",
               level));
    auto all = output_of(folder).all;
    CHECK(all.find("no file\n") != std::string::npos);
    CHECK(all.find("no folder\n") != std::string::npos);
    CHECK(all.find("usr\nnull\ntmp\n") != std::string::npos);
    CHECK(base::exists(marker));
    CHECK(base::exists(folder + "/spell/kept"));
    CHECK_FALSE(base::exists("/spell/kept"));
  }
}

TEST_CASE("links of a run are in its own top folder, and cannot be changed by it") {
  for (auto level : fences()) {
    CAPTURE(name_of(level));
    Scratch scratch;
    auto what =
        launch(scratch.run_folder(),
               "readlink /spell-bin/python; rm -f /spell-bin/python; /spell-bin/python -c 'exit 3'",
               level);
    what.links = {{"/bin/bash", "/spell-bin/python"}};
    auto state = run(what);
    CHECK(state.exit->error == "");
    CHECK(state.exit->code == 3);
    CHECK(output_of(what.folder).all.substr(0, 10) == "/bin/bash\n");
    CHECK_FALSE(base::exists("/spell-bin"));
  }
}

TEST_CASE("mounts of a run appear where asked, also from a hidden folder") {
  for (auto level : fences()) {
    CAPTURE(name_of(level));
    Hidden hidden;
    auto data = hidden.folder + "/data";
    REQUIRE(base::make_folders(data).ok());
    REQUIRE(base::write_file(data + "/file", "content\n", 0644).ok());
    auto what = hidden.launch(
        "cat /data/set/file datasets/file /spell-file; echo more > /data/set/new; cat "
        "\"$HIDDEN/token\"",
        level);
    what.binds = {{data, "/data/set"}, {data, "/spell/datasets"}, {data + "/file", "/spell-file"}};
    auto state = run(what);
    CHECK(state.exit->error == "");
    CHECK(output_of(hidden.run_folder).all.substr(0, 24) == "content\ncontent\ncontent\n");
    CHECK(output_of(hidden.run_folder).all.find("the-secret") == std::string::npos);
    CHECK(*base::read_file(data + "/new") == "more\n");

    Scratch scratch;
    auto bad = launch(scratch.run_folder(), "echo started", level);
    bad.binds = {{"/nowhere", "/data"}};
    auto ended = run(bad);
    CHECK(ended.exit->error_code == "mount_failed");
    CHECK(ended.output_bytes == 0);
  }
}

TEST_CASE("root in a run has lost what would undo its fence") {
  for (auto level : fences()) {
    CAPTURE(name_of(level));
    Scratch scratch;
    auto folder = scratch.run_folder();
    run(launch(folder,
               "grep -E '^Cap(Prm|Eff|Bnd)' /proc/self/status | cut -f2; umount /proc && echo "
               "gone; nsenter -t 1 -m true && echo entered",
               level));
    auto all = output_of(folder).all;
    constexpr unsigned long long never =
        1ULL << 21 | 1ULL << 19 | 1ULL << 16 | 1ULL << 17 | 1ULL << 27 | 1ULL << 2 | 1ULL << 39;
    for (int line = 0; line < 3; ++line)
      CHECK((std::stoull(all.substr(static_cast<std::size_t>(line) * 17, 16), nullptr, 16) &
             never) == 0);
    CHECK(all.find("gone\n") == std::string::npos);
    CHECK(all.find("entered\n") == std::string::npos);
  }
}

// Needs mounts of its own: run by the next case in a mount namespace.
TEST_CASE("as root: other mounts of the hidden folder's file system", "[.alias]") {
  REQUIRE(::unshare(CLONE_NEWNS) == 0);
  REQUIRE(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0);
  for (auto level : fences()) {
    CAPTURE(name_of(level));
    Hidden hidden;
    auto above = hidden.scratch.path() + "/above", below = hidden.scratch.path() + "/below";
    REQUIRE(base::make_folders(above).ok());
    REQUIRE(base::make_folders(below).ok());
    REQUIRE(::mount(hidden.scratch.path().c_str(), above.c_str(), nullptr, MS_BIND, nullptr) == 0);
    REQUIRE(::mount((hidden.folder + "/runs").c_str(), below.c_str(), nullptr, MS_BIND, nullptr) ==
            0);
    run(hidden.launch("cat '" + above + "/state dir/token' '" + below +
                          "/other' \"$HIDDEN/token\"; touch '" + above + "/seen'; echo done",
                      level));
    auto all = output_of(hidden.run_folder).all;
    CHECK(all.find("done\n") != std::string::npos);
    CHECK(all.find("the-secret") == std::string::npos);
    CHECK(base::exists(above + "/seen"));
    REQUIRE(::umount2(above.c_str(), MNT_DETACH) == 0);
    REQUIRE(::umount2(below.c_str(), MNT_DETACH) == 0);
  }
}

TEST_CASE("a hidden folder is not reached by another mount of its file system") {
  if (::geteuid() != 0 || run_program({"/usr/bin/unshare", "-m", "true"}) != 0) {
    WARN("skipped: mounts need root");
    return;
  }
  CHECK(run_program({self(), "[.alias]"}) == 0);
}

// A root that is no mount point, as `chroot` makes it; in a mount namespace, by the next case.
TEST_CASE("as root: in a chroot", "[.chroot]") {
  REQUIRE(::unshare(CLONE_NEWNS) == 0);
  REQUIRE(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0);
  Scratch outer;
  auto root = outer.path();
  const std::vector<std::string> parts = {"/usr",  "/tmp", "/dev",
                                          "/proc", "/etc", SPELL_BINARY_DIR};
  for (auto& part : parts) {
    REQUIRE(base::make_folders(root + part).ok());
    REQUIRE(::mount(part.c_str(), (root + part).c_str(), nullptr, MS_BIND | MS_REC, nullptr) == 0);
  }
  for (const char* link : {"bin", "sbin", "lib", "lib64"})
    REQUIRE(::symlink((std::string("usr/") + link).c_str(), (root + "/" + link).c_str()) == 0);
  auto outside = base::open("/", O_RDONLY | O_DIRECTORY);
  REQUIRE(outside.ok());
  REQUIRE(::chroot(root.c_str()) == 0);
  REQUIRE(::chdir("/") == 0);
  {
    Hidden hidden;
    auto state = run(hidden.launch("cat \"$HIDDEN/token\"; ls -d /usr /home /..; echo done",
                                   Containment::namespaces));
    CHECK(state.containment == "namespaces");
    auto all = output_of(hidden.run_folder).all;
    CHECK(all.find("the-secret") == std::string::npos);
    CHECK(all.find("/usr\n") != std::string::npos);
    CHECK(all.find("/home\n") == std::string::npos);
    CHECK(all.find("done\n") != std::string::npos);
  }
  REQUIRE(::fchdir(outside->get()) == 0);
  REQUIRE(::chroot(".") == 0);
  for (auto part = parts.rbegin(); part != parts.rend(); ++part)
    REQUIRE(::umount2((root + *part).c_str(), MNT_DETACH) == 0);
}

TEST_CASE("a chroot is fenced as well as a host") {
  if (levels().front() != Containment::namespaces ||
      run_program({"/usr/bin/test", "-L", "/bin"}) != 0 ||
      run_program({"/usr/bin/unshare", "-m", "true"}) != 0) {
    WARN("skipped: needs root, a host with /bin in /usr, and a root that is a mount");
    return;
  }
  CHECK(run_program({self(), "[.chroot]"}) == 0);
}

TEST_CASE("all of it holds for an ordinary user") {
  if (::geteuid() != 0) return;  // it is one already
  if (run_program({"/usr/bin/setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
                   "/usr/bin/test", "-x", self()}) != 0) {
    WARN("skipped: uid 65534 cannot execute " << self());
    return;
  }
  CHECK(run_program(
            {"/usr/bin/setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", self()}) == 0);
}

TEST_CASE("probe says what this machine can do, and leaves nothing") {
  Scratch scratch;
  auto found = probe(supervisor_program(), scratch.path());
  REQUIRE(found.ok());
  CHECK(found->containment == best_level());
  CHECK(found->remedy.empty() == (best_level() != Containment::best_effort));
  CHECK(::rmdir(scratch.path().c_str()) == 0);
  CHECK(!probe("/nowhere/spell-supervisor", scratch.path()).ok());
}

// In a user namespace that may have no mount namespaces; by the next case.
TEST_CASE("where namespaces are refused", "[.refused]") {
  Scratch scratch;
  auto found = probe(supervisor_program(), scratch.path());
  REQUIRE(found.ok());
  CHECK(found->containment == Containment::best_effort);
  CHECK(found->remedy.find("namespaces") != std::string::npos);
  auto what = launch(scratch.run_folder(), "echo $SPELL_ROOT; exit 3", Containment::namespaces);
  auto state = run(what);
  CHECK(state.exit->code == 3);
  CHECK(state.containment.substr(0, 13) == "best_effort: ");
  CHECK(output_of(what.folder).all == what.folder + "/spell\n");
}

TEST_CASE("a machine without namespaces runs it all the same, and says so") {
  const std::string refuse = "echo 0 > /proc/sys/user/max_mnt_namespaces";
  if (run_program({"/usr/bin/unshare", "-Ur", "/bin/sh", "-c", refuse}) != 0) {
    WARN("skipped: no user namespace to refuse them in");
    return;
  }
  CHECK(run_program({"/usr/bin/unshare", "-Ur", "/bin/sh", "-c",
                     refuse + "; exec \"$0\" '[.refused]'", self()}) == 0);
}

TEST_CASE("the supervisor is found by option, or said to be missing") {
  CHECK(find_supervisor(supervisor_program()).value() == supervisor_program());
  CHECK(find_supervisor("/nowhere/it").error().code() == "supervisor_not_found");
}
