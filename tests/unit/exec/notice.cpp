// What a run is told, and that it stands still.
#include <signal.h>
#include <sys/stat.h>

#include <fstream>
#include <thread>

#include "base/clock.hpp"
#include "base/file.hpp"
#include "runs.hpp"

using namespace spell;
using namespace spell::exec;
using namespace spell::exec::testing;

namespace {

std::int64_t size_of(const std::string& path) {
  struct stat st;
  return ::stat(path.c_str(), &st) == 0 ? st.st_size : -1;
}

bool grows_beyond(const std::string& path, std::int64_t size) {
  for (auto until = base::boot_ns() + 30'000'000'000; base::boot_ns() < until; ::usleep(2000))
    if (size_of(path) > size) return true;
  return false;
}

}  // namespace

TEST_CASE("a signal comes to the command's process group, and to nobody else") {
  auto level = GENERATE(from_range(levels()));
  CAPTURE(name_of(level));
  Scratch scratch;
  auto folder = scratch.run_folder();
  // The child in a session of its own is not of the group: the signal would end it.
  auto run = start(launch(folder,
                          "trap 'echo told; kill -0 $away && echo spared; exit 5' USR1; "
                          "setsid sh -c 'touch in; exec sleep 1000' & away=$!; "
                          "until [ -e in ]; do sleep 0.02; done; echo ready; "
                          "while :; do sleep 0.02; done",
                          level));
  REQUIRE(await_output(run, folder, "ready"));
  REQUIRE(run.signal(0));  // none
  REQUIRE(run.signal(SIGUSR1));
  auto end = finish(run);
  REQUIRE(end.exit);
  CHECK(end.exit->code == 5);
  CHECK(end.exit->ended_by.empty());
  // Shells say besides who was ended.
  auto said = output_of(folder).all;
  CHECK(said.find("told\n") != said.npos);
  CHECK(said.find("spared\n") != said.npos);
  CHECK(run.signal(SIGUSR1));  // it is over: fine
}

TEST_CASE("a run that is halted does nothing any more, and can be ended") {
  auto level = GENERATE(from_range(levels()));
  CAPTURE(name_of(level));
  Scratch scratch;
  auto folder = scratch.run_folder();
  // Writers of all kinds: the command, a child, one in a session of its own, and one that makes
  // others all the time.
  auto run = start(launch(folder,
                          "w() { while :; do echo x >> $1; done; }; "
                          "(w child) & setsid bash -c 'while :; do echo x >> away; done' & "
                          "(while :; do sh -c 'echo x >> many'; done) & echo ready; w own",
                          level));
  REQUIRE(await_output(run, folder, "ready"));
  const std::vector<std::string> names{"own", "child", "away", "many"};
  for (auto& name : names) REQUIRE(grows_beyond(folder + "/spell/" + name, 0));
  auto frozen = freeze(folder);
  REQUIRE((frozen ? "" : frozen.error().message()) == "");
  std::vector<std::int64_t> sizes;
  for (auto& name : names) sizes.push_back(size_of(folder + "/spell/" + name));
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  for (std::size_t i = 0; i < names.size(); ++i)
    CHECK(size_of(folder + "/spell/" + names[i]) == sizes[i]);
  CHECK(freeze(folder));  // again
  CHECK(command_lives(folder));
  REQUIRE(run.kill("notice"));
  auto end = finish(run);
  REQUIRE(end.exit);
  CHECK(end.exit->ended_by == "notice");
  CHECK(end.exit->signal == SIGKILL);
  CHECK(freeze(folder).error().code() == "run_not_running");
}
