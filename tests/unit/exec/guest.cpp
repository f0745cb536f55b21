// Commands that are let into a run.
#include "exec/guest.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>

#include "base/file.hpp"
#include "exec/spec.hpp"
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

Told finish_guest(Guest& guest) {
  Told told;
  for (;;) {
    pollfd files[] = {{guest.output.get(), POLLIN, 0}, guest.event()};
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

Guest let_in(base::Fd supervisor, const GuestOptions& options) {
  auto guest = Guest::start(std::move(supervisor), options);
  if (!guest) FAIL(guest.error().message());
  return std::move(*guest);
}

Guest let_in(const Supervised& run, const GuestOptions& options) {
  auto supervisor = run.connection();
  if (!supervisor) FAIL(supervisor.error().message());
  return let_in(std::move(*supervisor), options);
}

void await_start(Guest& guest) {
  for (;;) {
    auto next = guest.next();
    if (!next) FAIL(next.error().message());
    if (guest.started()) return;
    REQUIRE(!*next);
    pollfd file = guest.event();
    REQUIRE(::poll(&file, 1, 30'000) > 0);
  }
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
      let_in(run, {.command = "cat file; echo $FRUIT $MORE; exit 7", .env = {{"MORE", "x"}}});
  auto told = finish_guest(guest);
  CHECK(told.output == "made\napple x\n");
  CHECK(told.code == 7);
  auto other = let_in(run, {.command = "echo $FRUIT; kill -KILL $$", .env = {{"FRUIT", "pear"}}});
  told = finish_guest(other);
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
  auto guest = let_in(run, {.command = "setsid sleep " + number + " & sleep " + number});
  await_start(guest);
  REQUIRE(run.kill());
  (void)testing::finish(run);
  auto told = finish_guest(guest);
  CAPTURE(told.error, told.code);
  CHECK((told.error == "run_ended" || told.code == 137));
  CHECK(processes_with(number) == 0);
  CHECK(run.connection().error().code() == "run_not_running");
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
    auto guest = let_in(
        run, {.command = "trap '' HUP; echo here; sleep " + number + " & wait; sleep " + number});
    await_start(guest);
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

TEST_CASE("however many look on, a guest is let in, and who comes later waits for a place") {
  Scratch scratch;
  auto folder = scratch.run_folder();
  auto run = start(launch(folder, "echo ready; sleep 1000"));
  REQUIRE(await_output(run, folder, "ready"));
  auto hears = [](const base::Fd& fd, int patience_ms) {
    pollfd file{fd.get(), POLLIN, 0};
    char packet[supervisor::packet_limit];
    return ::poll(&file, 1, patience_ms) > 0 && ::recv(fd.get(), packet, sizeof packet, 0) > 0;
  };
  auto first = Supervised::attach(folder);  // waits until others can come
  REQUIRE(first);
  std::vector<base::Fd> onlookers;  // with it and the worker itself they take all of its places
  for (int i = 0; i < 22; ++i) {
    auto onlooker = connect_supervisor(folder);
    REQUIRE(onlooker);
    CHECK(hears(*onlooker, 30'000));
    onlookers.push_back(std::move(*onlooker));
  }
  auto later = connect_supervisor(folder);
  REQUIRE(later);
  // The guests' way is the worker's own: the supervisor has looked at everybody before it answers.
  std::vector<Guest> guests;
  for (int i = 0; i < 40; ++i)
    guests.push_back(let_in(run, {.command = "exit " + std::to_string(i)}));
  for (int i = 0; i < 40; ++i) CHECK(finish_guest(guests[static_cast<std::size_t>(i)]).code == i);
  CHECK_FALSE(hears(*later, 0));
  onlookers.pop_back();
  CHECK(hears(*later, 30'000));
  REQUIRE(run.kill());
  (void)testing::finish(run);
}

TEST_CASE("more guests at once than the supervisor has room for wait, and are let in") {
  Scratch scratch;
  auto folder = scratch.run_folder();
  auto run = start(launch(folder, "echo ready; sleep 1000"));
  REQUIRE(await_output(run, folder, "ready"));
  auto way = run.connection();
  REQUIRE(way);
  int smallest = 1;
  REQUIRE(::setsockopt(way->get(), SOL_SOCKET, SO_SNDBUF, &smallest, sizeof smallest) == 0);
  int supervisor = supervisor_pid(folder);
  REQUIRE(::kill(supervisor, SIGSTOP) == 0);
  std::vector<Guest> guests;
  for (int i = 0; i < 40; ++i) {
    guests.push_back(let_in(run, {.command = "exit " + std::to_string(i)}));
    REQUIRE(guests.back().next());
  }
  CHECK(guests.back().event().events == POLLOUT);
  REQUIRE(::kill(supervisor, SIGCONT) == 0);
  for (int i = 0; i < 40; ++i) CHECK(finish_guest(guests[static_cast<std::size_t>(i)]).code == i);
  REQUIRE(run.kill());
  (void)testing::finish(run);
}

TEST_CASE("a run that ends before it has taken a guest is told from one that takes none") {
  int ends[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0);
  base::Fd supervisor(ends[1]);
  auto guest = let_in(base::Fd(ends[0]), {.command = "true"});
  REQUIRE(guest.next());
  supervisor.reset();
  CHECK(finish_guest(guest).error == "run_ended");
}

TEST_CASE("a supervisor that is older than guests is told apart") {
  int ends[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0);
  base::Fd supervisor(ends[1]);
  auto guest = let_in(base::Fd(ends[0]), {.command = "true"});
  REQUIRE(guest.next());
  // It takes the packet, knows nothing of `exec`, and what came with it is closed.
  char packet[spell::supervisor::packet_limit];
  CHECK(::recv(supervisor.get(), packet, sizeof packet, 0) > 0);
  CHECK(finish_guest(guest).error == "supervisor_version");
}
