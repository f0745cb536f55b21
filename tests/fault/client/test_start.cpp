// The start of the personal service, with programs in its place that behave in every way.
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>

#include "../../unit/client/support.hpp"
#include "base/fd.hpp"
#include "catch.hpp"
#include "client/service_control.hpp"
#include "spell/client.hpp"

using namespace spell;
using namespace spell::detail;

namespace {

struct Place {
  test::TemporaryFolder folder;
  base::SpellDirs dirs;
  std::shared_ptr<Waiter> waiter = make_waiter();
  std::shared_ptr<ServiceControl> control;

  /// `script`: what the program does; its descriptor 3 is the one to say "ready" to.
  explicit Place(const std::string& script) {
    auto program = folder.path + "/spelld";
    REQUIRE(base::write_file(program, "#!/bin/sh\n" + script + "\n", 0700, false));
    dirs = base::resolve_spell_dirs(folder.path, {}).value();
    control = make_personal_service(dirs, program);
  }
  Result<> start(const CallOptions& options = {}) {
    return control->start(Limit(options, *waiter));
  }
};

}  // namespace

TEST_CASE("a service that says it is ready has started") {
  auto word = GENERATE("ready", "running");
  Place place(std::string("echo ") + word + " >&3");
  CHECK(place.start().ok());
}

TEST_CASE("it is started for its folder, in a session of its own, away from the terminal") {
  Place place(R"sh(
    dir=$(dirname "$0")
    echo "$@" > $dir/arguments
    pwd > $dir/folder
    [ "$(cut -d' ' -f6 /proc/$$/stat)" = $$ ] && touch $dir/own-session
    [ "$(readlink /proc/$$/fd/0)" = /dev/null ] && touch $dir/no-input
    ls /proc/$$/fd > $dir/descriptors
    echo to the log
    echo ready >&3)sh");
  REQUIRE(place.start().ok());
  auto read = [&](const std::string& name) {
    return base::read_file(place.folder.path + "/" + name).value_or("?");
  };
  CHECK(read("arguments") ==
        "serve --personal --spell-dir " + place.dirs.config + " --ready-fd 3\n");
  CHECK(read("folder") == "/\n");
  CHECK(base::exists(place.folder.path + "/own-session"));
  CHECK(base::exists(place.folder.path + "/no-input"));
  CHECK(read("spelld.log") == "to the log\n");
}

TEST_CASE("its own words are the error") {
  Place place("echo 'error disk_full no space left in /x: free some' >&3; exit 1");
  auto started = place.start();
  REQUIRE_FALSE(started.ok());
  CHECK(started.error().code() == "disk_full");
  CHECK(started.error().message() == "no space left in /x: free some");
}

TEST_CASE("a service that ends without a word is explained by its log") {
  auto script =
      GENERATE("echo first; echo 'last words' >&2; exit 1", "echo 'last words'; echo; kill -9 $$");
  Place place(script);
  auto started = place.start();
  REQUIRE_FALSE(started.ok());
  CHECK(started.error().code() == "service_unreachable");
  CHECK_THAT(started.error().message(),
             Catch::Contains(place.dirs.log) && Catch::EndsWith("last words"));
}

TEST_CASE("a service that is killed while it starts is started again") {
  Place place("[ -e $0.again ] && exec echo ready >&3; touch $0.again; kill -9 $$");
  CHECK(place.start().ok());
}

TEST_CASE("a program that is not there is named") {
  test::TemporaryFolder folder;
  auto dirs = base::resolve_spell_dirs(folder.path, {}).value();
  auto waiter = make_waiter();
  auto started = make_personal_service(dirs, "/nowhere/spelld")->start(Limit({}, *waiter));
  REQUIRE_FALSE(started.ok());
  CHECK(started.error().code() == "invalid_configuration");
  CHECK_THAT(started.error().message(), Catch::Contains("/nowhere/spelld"));
}

TEST_CASE("waiting for a start that never comes ends with the call") {
  // Says nothing until the test is over: it waits for the end of a pipe that is closed then, or
  // gone.
  Place place("read nothing < $(dirname $0)/pipe");
  auto pipe = place.folder.path + "/pipe";
  REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
  auto end = base::open(pipe, O_RDWR);
  REQUIRE(end.ok());
  auto begin = std::chrono::steady_clock::now();
  SECTION("its time limit") {
    auto started = place.start({.timeout = std::chrono::milliseconds(50)});
    REQUIRE_FALSE(started.ok());
    CHECK(started.error().code() == "timeout");
  }
  SECTION("its stop token") {
    std::stop_source source;
    source.request_stop();
    auto started = place.start({.timeout = {}, .stop = source.get_token()});
    REQUIRE_FALSE(started.ok());
    CHECK(started.error().code() == "canceled");
  }
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(10));
  ::unlink(pipe.c_str());
}

TEST_CASE("a service runs while its lock is held, whatever else lies there") {
  Place place("true");
  CHECK(place.control->holder() == 0);
  REQUIRE(base::write_file(place.dirs.lock, R"({"pid": 7})"));
  CHECK(place.control->holder() == 0);
  {
    auto lock = base::open(place.dirs.lock, O_RDWR);
    REQUIRE(::flock(lock->get(), LOCK_EX | LOCK_NB) == 0);
    CHECK(place.control->holder() == 7);
    REQUIRE(::ftruncate(lock->get(), 1) == 0);
    CHECK(place.control->holder() == -1);
  }
  CHECK(place.control->holder() == 0);
}
