#include "proc/spawn.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.hpp"
#include "catch.hpp"

using namespace spell;

namespace {

struct Pipe {
  base::Fd read, write;
  Pipe() {
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    read = base::Fd(ends[0]);
    write = base::Fd(ends[1]);
  }
  /// What is written until all writers are gone.
  std::string drain() {
    write.reset();
    std::string out;
    char buffer[4096];
    for (ssize_t n; (n = ::read(read.get(), buffer, sizeof buffer)) > 0;)
      out.append(buffer, static_cast<std::size_t>(n));
    return out;
  }
};

int wait_for(int process) {
  int status = 0;
  REQUIRE(::waitpid(process, &status, 0) == process);
  return status;
}

std::string shell_spawn(proc::SpawnOptions options, const std::string& script) {
  Pipe pipe;
  options.arguments = {"/bin/sh", "-c", script};
  options.descriptors.emplace_back(pipe.write.get(), 1);
  auto process = proc::spawn(options);
  REQUIRE(process.ok());
  auto out = pipe.drain();
  wait_for(*process);
  return out;
}

}  // namespace

TEST_CASE("a program gets exactly the environment it is given") {
  proc::SpawnOptions options;
  options.environment = {"A=1", "B=two words"};
  CHECK(shell_spawn(options, "tr '\\0' '\\n' < /proc/self/environ") == "A=1\nB=two words\n");
}

TEST_CASE("descriptors change places, and no other one is open") {
  Pipe one, two;
  int leak = ::open("/dev/null", O_RDONLY);  // without close-on-exec
  REQUIRE(leak >= 0);
  REQUIRE(::write(one.write.get(), "1", 1) == 1);
  REQUIRE(::write(two.write.get(), "2", 1) == 1);
  int a = one.read.get(), b = two.read.get();
  proc::SpawnOptions options;
  options.environment = {"PATH=/usr/bin:/bin"};
  options.descriptors = {{a, b}, {b, a}};
  auto script = "head -c1 <&" + std::to_string(a) + "; head -c1 <&" + std::to_string(b) +
                "; echo; echo /proc/$$/fd/*; echo .";
  auto out = shell_spawn(options, script);
  ::close(leak);
  CHECK(out.substr(0, 3) == "21\n");
  int open = 0;
  for (std::size_t at = 0; (at = out.find("/fd/", at)) != std::string::npos; ++at) ++open;
  CHECK(open == 6);  // 0, 1, 2, the two, and the folder that the shell reads
}

TEST_CASE("stdin is /dev/null, the folder is the one named, signals are as by default") {
  struct sigaction ignore {
  }, before{};
  ignore.sa_handler = SIG_IGN;
  REQUIRE(::sigaction(SIGUSR2, &ignore, &before) == 0);
  proc::SpawnOptions options;
  options.environment = {"PATH=/usr/bin:/bin"};
  options.folder = "/usr";
  CHECK(shell_spawn(options,
                    "pwd; wc -c; grep -E 'Sig(Blk|Ign)' /proc/self/status | sed "
                    "'s/.*\\(.\\{7\\}\\)$/\\1/'") == "/usr\n0\n0000000\n0000000\n");
  ::sigaction(SIGUSR2, &before, nullptr);
}

TEST_CASE("a new session is one") {
  proc::SpawnOptions options;
  options.environment = {"PATH=/usr/bin:/bin"};
  const char* script = "[ $(cut -d' ' -f6 /proc/$$/stat) = $$ ] && echo own || echo shared";
  CHECK(shell_spawn(options, script) == "shared\n");
  options.new_session = true;
  CHECK(shell_spawn(options, script) == "own\n");
}

TEST_CASE("a program that is not there is an error that names it") {
  proc::SpawnOptions options;
  options.arguments = {"/nowhere/program"};
  auto process = proc::spawn(options);
  REQUIRE(!process.ok());
  CHECK(process.error().code() == "not_found");
  CHECK(process.error().message().find("/nowhere/program") != std::string::npos);
  CHECK(!proc::spawn({}).ok());
}
