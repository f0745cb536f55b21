// Runs as units of systemd of their own. Where systemd does not run this computer, or does not
// obey this user, they stay where their starter is.
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

#include "base/fd.hpp"
#include "exec/scope.hpp"
#include "runs.hpp"

using namespace spell;
using namespace spell::exec;
using namespace spell::exec::testing;

TEST_CASE("a run that asks for a scope runs, in it or not, and it is known which") {
  Scratch scratch;
  auto folder = scratch.run_folder();
  auto what = launch(folder, "cat /proc/self/cgroup; exit 7");
  what.scope = {"spell-test-" + std::to_string(::getpid()), "A run of a test", 10};
  auto run = start(what);
  auto state = finish(run);
  REQUIRE(state.phase == State::Phase::ended);
  CHECK(state.exit->code == 7);
  bool there = output_of(folder).all.find(what.scope.name + ".scope") != std::string::npos;
  CHECK(run.in_scope() == there);
}

TEST_CASE("a run that asks for none has none") {
  Scratch scratch;
  auto run = start(launch(scratch.run_folder(), "true"));
  CHECK_FALSE(run.in_scope());
  CHECK(finish(run).exit->code == 0);
}

TEST_CASE("only the main process of a unit asks for scopes") {
  ::setenv("SYSTEMD_EXEC_PID", std::to_string(::getpid() + 1).c_str(), 1);
  CHECK_FALSE(can_make_scopes());
  ::unsetenv("SYSTEMD_EXEC_PID");
  CHECK_FALSE(can_make_scopes());
}

namespace {

std::string little(std::uint32_t value) {
  std::string out;
  for (int i = 0; i < 4; ++i) out += static_cast<char>(value >> 8 * i);
  return out;
}

std::string text(const std::string& value) {
  std::string out = little(static_cast<std::uint32_t>(value.size())) + value + '\0';
  return out + std::string((4 - out.size() % 4) % 4, '\0');
}

/// A message as the manager sends it: `field`: code, type and value of a header field.
std::string message(char type, const std::string& field, const std::string& body) {
  std::string out = std::string("l") + type + '\0' + '\1' +
                    little(static_cast<std::uint32_t>(body.size())) + little(7) +
                    little(static_cast<std::uint32_t>(field.size())) + field;
  return out + std::string((8 - out.size() % 8) % 8, '\0') + body;
}

/// A header field of type string: nothing comes behind it.
std::string named(const std::string& code, const std::string& value) {
  return code + std::string("\1s\0", 3) + little(static_cast<std::uint32_t>(value.size())) + value +
         '\0';
}

std::string answers(std::uint32_t serial) { return std::string("\5\1u\0", 4) + little(serial); }
const std::string job_removed = named("\3", "JobRemoved");

/// Stands in for systemd: takes one call, and says this.
class Manager {
 public:
  Manager(const std::string& at, std::string says) : path(at) {
    listening = base::Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::copy(path.begin(), path.end(), address.sun_path);
    REQUIRE(::bind(listening.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    REQUIRE(::listen(listening.get(), 1) == 0);
    thread = std::thread([this, says = std::move(says)] {
      base::Fd peer(::accept4(listening.get(), nullptr, nullptr, SOCK_CLOEXEC));
      char part[4096];
      // The call ends with an empty array of other units, behind the last property.
      while (heard.find("inactive-or-failed") == std::string::npos)
        if (ssize_t n = ::read(peer.get(), part, sizeof part); n > 0)
          heard.append(part, static_cast<std::size_t>(n));
        else
          return;
      for (char byte : says) (void)::send(peer.get(), &byte, 1, MSG_NOSIGNAL);  // in pieces
    });
  }
  ~Manager() { end(); }
  void end() {
    if (thread.joinable()) thread.join();
  }

  std::string path, heard;
  base::Fd listening;
  std::thread thread;
};

Result<> ask(const std::string& says, std::string* heard = nullptr) {
  Scratch scratch;
  Manager manager(scratch.path() + "/manager", says);
  auto asked = put_in_scope({"spell-run-7", "Run 7 of ada; $HOME", 40}, 4711, manager.path);
  manager.end();
  if (heard) *heard = manager.heard;
  return asked;
}

}  // namespace

TEST_CASE("the manager is asked for a scope, and its job is waited for") {
  std::string heard;
  std::string noise =
      message(4, job_removed, little(1) + text("/job/1") + text("cron.service") + text("failed")) +
      message(4, named("\3", "UnitNew"), text("x") + text("y"));
  auto done = message(4, job_removed,
                      little(2) + text("/job/2") + text("spell-run-7.scope") + text("done"));
  auto asked =
      ask("OK 0123\r\n" + noise + message(2, answers(1), text("/job/2")) + noise + done, &heard);
  CHECK(asked);
  CHECK(heard.starts_with(std::string(1, '\0') + "AUTH EXTERNAL 30\r\nBEGIN\r\n"));
  for (auto* part : {"StartTransientUnit", "spell-run-7.scope", "Run 7 of ada; $HOME"})
    CHECK(heard.find(part) != heard.npos);
  CHECK(heard.find(little(4) + little(4711)) != heard.npos);  // an array of one process
  // The job may have ended before the call is answered.
  CHECK(ask("OK 0123\r\n" + done + message(2, answers(1), text("/job/2"))));
}

TEST_CASE("a manager that refuses, fails, hangs up or talks nonsense makes no scope") {
  auto code = [](const std::string& says) { return ask(says).error().code(); };
  std::string hello = "OK 0123\r\n";
  CHECK(code("REJECTED EXTERNAL\r\n") == "no_scope");
  CHECK(ask(hello + message(3, answers(1), text("no such process")))
            .error()
            .message()
            .find("no such process") != std::string::npos);
  CHECK(code(hello + message(2, answers(1), text("/job/2")) +
             message(4, job_removed,
                     little(2) + text("/job/2") + text("spell-run-7.scope") + text("failed"))) ==
        "no_scope");
  CHECK(code("") == "no_scope");
  CHECK(code(hello) == "no_scope");
  CHECK(code(hello + std::string(64, 'x')) == "no_scope");
  CHECK(code(hello + std::string("l\2\0\1", 4) + little(UINT32_MAX) + little(1) + little(8)) ==
        "no_scope");
  auto whole = message(2, answers(1), text("/job/2"));
  for (std::size_t cut = 0; cut < whole.size(); ++cut)
    CHECK(code(hello + whole.substr(0, cut)) == "no_scope");
  CHECK(put_in_scope({"x", "", 1}, 1, "/nowhere").error().code() == "no_scope");
}
