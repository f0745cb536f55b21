// Commands that are let into a run.
#include "exec/guest.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/file.hpp"
#include "runs.hpp"
#include "supervisor/protocol.hpp"

using namespace spell;
using namespace spell::exec;
using namespace spell::exec::testing;

namespace {

/// What it wrote, and its end.
struct Told {
  std::string output{};
  int code = -1;
  std::string error{};
};

Told finish(Guest& guest) {
  Told told;
  for (;;) {
    pollfd files[] = {{guest.output.get(), POLLIN, 0}, {guest.event_fd(), POLLIN, 0}};
    REQUIRE(::poll(files, 2, 30'000) > 0);
    char buffer[4096];
    for (ssize_t n; (n = ::read(guest.output.get(), buffer, sizeof buffer)) > 0;)
      told.output.append(buffer, static_cast<std::size_t>(n));
    auto next = guest.next();
    if (!next) return told.error = next.error().code(), told;
    if (!*next) continue;
    for (ssize_t n; (n = ::read(guest.output.get(), buffer, sizeof buffer)) > 0;)
      told.output.append(buffer, static_cast<std::size_t>(n));
    told.code = (*next)->code;
    return told;
  }
}

Guest let_in(const std::string& folder, GuestOptions options) {
  auto guest = Guest::start(folder, options);
  if (!guest) FAIL(guest.error().message());
  return std::move(*guest);
}

}  // namespace

TEST_CASE("a guest is where the run is, with its variables and its folder") {
  auto level = GENERATE(from_range(levels()));
  CAPTURE(name_of(level));
  Scratch scratch;
  auto folder = scratch.run_folder();
  auto what = launch(folder, "echo made > file; echo ready; sleep 1000", level);
  what.env.push_back("FRUIT=apple");
  auto run = start(what);
  REQUIRE(await_output(run, folder, "ready"));
  auto guest =
      let_in(folder, {.command = "cat file; echo $FRUIT $MORE; exit 7", .env = {{"MORE", "x"}}});
  auto told = finish(guest);
  CHECK(told.output == "made\napple x\n");
  CHECK(told.code == 7);
  auto other =
      let_in(folder, {.command = "echo $FRUIT; kill -KILL $$", .env = {{"FRUIT", "pear"}}});
  told = finish(other);
  CHECK(told.output == "pear\n");
  CHECK(told.code == 137);
  REQUIRE(run.kill());
  (void)testing::finish(run);
}

TEST_CASE("a guest ends with the run") {
  auto level = GENERATE(from_range(levels()));
  CAPTURE(name_of(level));
  Scratch scratch;
  auto folder = scratch.run_folder();
  auto run = start(launch(folder, "echo ready; sleep 1000", level));
  REQUIRE(await_output(run, folder, "ready"));
  std::string number = unique_sleep();
  auto guest = let_in(folder, {.command = "setsid sleep " + number + " & sleep " + number});
  while (!guest.started()) {  // a kill may overtake a request on another connection
    pollfd file{guest.event_fd(), POLLIN, 0};
    REQUIRE(::poll(&file, 1, 30'000) > 0);
    auto next = guest.next();
    REQUIRE(next);
    REQUIRE(!*next);
  }
  REQUIRE(run.kill());
  (void)testing::finish(run);
  auto told = finish(guest);
  CAPTURE(told.error, told.code);
  CHECK((told.error == "run_ended" || told.code == 137));
  CHECK(processes_with(number) == 0);
  CHECK(Guest::start(folder, {.command = "true"}).error().code() == "run_not_running");
}

TEST_CASE("a guest whose caller has gone is ended, and the run goes on") {
  auto level = GENERATE(from_range(levels()));
  CAPTURE(name_of(level));
  Scratch scratch;
  auto folder = scratch.run_folder();
  auto run = start(launch(folder, "echo ready; sleep 1000", level));
  REQUIRE(await_output(run, folder, "ready"));
  std::string number = unique_sleep();
  {
    auto guest = let_in(folder, {.command = "trap '' HUP; echo here; sleep " + number +
                                            " & wait; sleep " + number});
    std::string seen;
    while (seen.find("here") == seen.npos) {
      pollfd file{guest.output.get(), POLLIN, 0};
      REQUIRE(::poll(&file, 1, 30'000) > 0);
      char buffer[64];
      ssize_t n = ::read(guest.output.get(), buffer, sizeof buffer);
      REQUIRE(n > 0);
      seen.append(buffer, static_cast<std::size_t>(n));
    }
  }
  for (int i = 0; i < 1000 && processes_with(number) > 0; ++i) ::poll(nullptr, 0, 10);
  CHECK(processes_with(number) == 0);
  CHECK(run.state()->phase == State::Phase::running);
  REQUIRE(run.kill());
  (void)testing::finish(run);
}

TEST_CASE("a supervisor that is older than guests is told apart") {
  Scratch scratch;
  auto folder = scratch.run_folder();
  // It takes the packet, knows nothing of `exec`, and what came with it is closed.
  auto lock = base::open(folder + "/lock", O_RDWR | O_CREAT);
  REQUIRE(lock);
  supervisor::FieldWriter<512> content;
  content.put("run", "x");
  REQUIRE(base::pwrite_all(lock->get(), {content.data(), content.size()}, 0));
  struct flock whole {};
  whole.l_type = F_WRLCK;
  REQUIRE(::fcntl(lock->get(), F_OFD_SETLK, &whole) == 0);
  base::Fd listening(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  std::string path = folder + "/sock";
  REQUIRE(path.size() < sizeof name.sun_path);
  path.copy(name.sun_path, sizeof name.sun_path - 1);
  REQUIRE(::bind(listening.get(), reinterpret_cast<sockaddr*>(&name), sizeof name) == 0);
  REQUIRE(::listen(listening.get(), 4) == 0);
  auto guest = let_in(folder, {.command = "true"});
  base::Fd client(::accept4(listening.get(), nullptr, nullptr, SOCK_CLOEXEC));
  char packet[supervisor::packet_limit];
  CHECK(::recv(client.get(), packet, sizeof packet, 0) > 0);
  client.reset();
  CHECK(finish(guest).error == "supervisor_version");
}
