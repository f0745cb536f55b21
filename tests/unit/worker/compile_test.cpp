// Builds with a real supervisor, and a compiler that is a script of the source's.
#include <sys/stat.h>
#include <unistd.h>

#include <thread>

#include "base/file.hpp"
#include "base/text.hpp"
#include "catch.hpp"
#include "fake_world.hpp"
#include "temporary_folder.hpp"
#include "worker/hooks.hpp"
#include "worker/machine.hpp"
#include "worker/mount_record.hpp"

using namespace spell;
using namespace spell::worker;
using namespace spell::worker::testing;

namespace {

struct Builds {
  TemporaryFolder top;
  Folders folders{top.path + "/worker"};
  TreeCache cache{top.path + "/trees", 1'000'000'000, [] { return 1; }};
  Turns turns{1};
  Host host;
  model::StartCommand start = start_command();

  Builds() {
    host.supervisor = std::string(SPELL_BINARY_DIR) + "/bin/spell-supervisor";
    host.base_environment = {"PATH=" + top.path + "/tools:/usr/bin:/bin"};
    REQUIRE(folders.make());
    REQUIRE(cache.open());
    auto found = find_capabilities(host.supervisor, top.path);
    REQUIRE(found);
    host.capabilities = *found;
    for (auto* name : {"c++", "make", "cmake"}) {
      std::string program = top.path + "/tools/" + name;
      REQUIRE(base::make_folders(top.path + "/tools"));
      REQUIRE(base::write_file(
          program, "#!/bin/sh\n[ \"$1\" != --build ] || . /spell-build/source/build.sh\n"));
      REQUIRE(::chmod(program.c_str(), 0755) == 0);
    }
    REQUIRE(base::make_folders(top.path + "/sdk"));
    start.request.build = "";
    start.mounts.resize(2);
    start.mounts[0].at = model::build_source;
    start.mounts[1].at = model::build_sdk;
    start.mounts[1].node = "sdk 1";
  }
  bool possible() const { return host.capabilities.containment != exec::Containment::best_effort; }
  void source(const std::string& script) {
    REQUIRE(base::make_folders(top.path + "/source"));
    REQUIRE(base::write_file(top.path + "/source/build.sh", script, 0644));
    start.mounts[0].node = "source of " + script;
  }
  std::string folder() const { return folders.run(start.run); }
  Result<std::vector<std::string>> compile(std::stop_token stop = {}) {
    REQUIRE(base::make_folders(folder()));
    MountRecord record;
    record.mounts = {{top.path + "/source", "", "", std::string(model::build_source)},
                     {top.path + "/sdk", "", "", std::string(model::build_sdk)}};
    record.keys = {"tree"};
    REQUIRE(write_mount_record(folder(), record));
    auto done = worker::compile(folders, host, start, cache, turns, stop);
    CHECK_FALSE(base::exists(folder() + "/compile"));
    return done;
  }
  /// The error of what must not succeed; nothing is kept of it.
  std::string failure(const std::string& script) {
    source(script);
    auto done = compile();
    REQUIRE(!done);
    CHECK(cache.bytes() == 0);
    CHECK(done.error().code() == "build_failed");
    return done.error().message();
  }
};

const std::string makes = "mkdir bin; printf program > bin/p; chmod 755 bin/p\n";

}  // namespace

TEST_CASE("what is built is kept for the same owner, source, target and SDK") {
  Builds builds;
  if (!builds.possible()) return;
  builds.source(makes);
  auto first = builds.compile();
  REQUIRE((first ? "" : first.error().message()) == "");
  CHECK(*first == std::vector<std::string>{"Program built with " + builds.top.path + "/tools/c++"});
  auto record = *read_mount_record(builds.folder());
  CHECK(record.mounts.empty());
  REQUIRE(record.binds.size() == 1);
  CHECK(record.binds[0].to == model::built_program);
  CHECK(record.binds[0].read_only);
  CHECK(*base::read_file(record.binds[0].from) == "program");
  REQUIRE(record.keys.size() == 2);
  CHECK(record.keys[0] == "tree");

  auto is_built = [&] { return builds.compile()->at(0).starts_with("Program built with"); };
  CHECK_FALSE(is_built());
  SECTION("another owner's") { builds.start.owner = "bob"; }
  SECTION("another target") { builds.start.request.build = "p"; }
  SECTION("another SDK") { builds.start.mounts[1].node = "sdk 2"; }
  SECTION("another source") { builds.source(makes + "# more\n"); }
  SECTION("another compiler") {
    REQUIRE(base::write_file(builds.top.path + "/tools/c++", "#!/bin/sh\n# new\n", 0755));
  }
  CHECK(is_built());
  CHECK_FALSE(is_built());
}

TEST_CASE("a build that leaves no program, or what is none, fails by name") {
  Builds builds;
  if (!builds.possible()) return;
  CHECK(builds.failure("true\n").find("leaves no program") != std::string::npos);
  CHECK(builds.failure("mkdir bin; ln -s /bin/sh bin/p\n").find("leaves no program") !=
        std::string::npos);
  CHECK(builds.failure("mkdir real; cp /bin/sh real/p; ln -s real bin\n").find("no program") !=
        std::string::npos);
  CHECK(builds.failure("mkdir bin; mkfifo bin/p; chmod 755 bin/p\n").find("no program") !=
        std::string::npos);
  CHECK(builds.failure(makes + "cp bin/p bin/q\n").find("several programs: p, q") !=
        std::string::npos);
  builds.start.request.build = "other";
  CHECK(builds.failure(makes).find("no program other") != std::string::npos);
}

TEST_CASE("what a build that fails has said last is told, the line that says most first") {
  Builds builds;
  if (!builds.possible()) return;
  auto lines = base::split(
      builds.failure("seq 1000; echo 'x.cpp:1: Error: no y'; echo '1 left'; exit 3\n"), '\n');
  CHECK(lines[0] == "the program cannot be built (exit code 3): x.cpp:1: Error: no y");
  REQUIRE(lines.size() == 21);
  CHECK(lines[1] == "983");
  CHECK(lines[20] == "1 left");
  // Its log is the build's to replace: by nothing that leads out.
  auto linked = builds.failure("ln -sf /etc/passwd log; exit 4\n");
  CHECK(linked == "the program cannot be built (exit code 4)");
}

TEST_CASE("a build ends with its run's time, and when it is given up") {
  Builds builds;
  if (!builds.possible()) return;
  builds.start.request.timeout = 1;
  CHECK(builds.failure("echo waits; sleep 1000\n") ==
        "the program cannot be built (it took longer than 1 s): waits\nwaits");
  builds.start.request.timeout = {};
  builds.source("echo > " + builds.top.path + "/begun; sleep 1000\n");
  std::stop_source stop;
  std::thread stops([&] {
    while (!base::exists(builds.top.path + "/begun")) ::usleep(1000);
    stop.request_stop();
  });
  CHECK(builds.compile(stop.get_token()).error().code() == "canceled");
  stops.join();
  // One that waits for its turn is given up, too.
  auto turn = builds.turns.take("ann", {});
  CHECK(builds.compile(stop.get_token()).error().code() == "canceled");
  CHECK(builds.cache.bytes() == 0);
}
