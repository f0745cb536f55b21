// A program's checkpoints: kill -9 before each call that changes the disk, each of these failing
// once, and what is durable when.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

#include "../../unit/client/support.hpp"
#include "catch.hpp"
#include "spell/checkpoint.hpp"

namespace {

/// What happens at the calls below, in this process, while it is armed.
struct Calls {
  bool armed = false;
  int count = 0, kill_at = 0, fail_at = 0;
  std::string seen;  ///< a letter a call: Write, Sync, Rename, Folder sync, Unlink, mKdir
  /// Whether the call is to fail.
  bool step(char letter) {
    if (!armed) return false;
    seen += letter;
    ++count;
    if (count == kill_at) ::kill(::getpid(), SIGKILL);
    return count == fail_at;
  }
} calls;

bool is_folder(int fd) {
  struct stat st;
  return ::fstat(fd, &st) == 0 && S_ISDIR(st.st_mode);
}

}  // namespace

// In place of the C library's, in this program.
extern "C" int fsync(int fd) {
  if (calls.step(is_folder(fd) ? 'F' : 'S')) return errno = EIO, -1;
  return static_cast<int>(::syscall(SYS_fsync, fd));
}
extern "C" ssize_t write(int fd, const void* bytes, size_t size) {
  if (calls.step('W')) return errno = ENOSPC, -1;
  return ::syscall(SYS_write, fd, bytes, size);
}
extern "C" int rename(const char* from, const char* to) noexcept {
  if (calls.step('R')) return errno = EACCES, -1;
  return static_cast<int>(::syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0));
}
extern "C" int unlink(const char* path) noexcept {
  if (calls.step('U')) return errno = EIO, -1;
  return static_cast<int>(::syscall(SYS_unlinkat, AT_FDCWD, path, 0));
}
extern "C" int unlinkat(int folder, const char* path, int flags) noexcept {
  if (calls.step('U')) return errno = EIO, -1;
  return static_cast<int>(::syscall(SYS_unlinkat, folder, path, flags));
}
extern "C" int mkdir(const char* path, mode_t mode) noexcept {
  if (calls.step('K')) return errno = EACCES, -1;
  return static_cast<int>(::syscall(SYS_mkdirat, AT_FDCWD, path, mode));
}

using namespace spell;

namespace {

std::string content(std::int64_t step) { return std::string(3000, 'x') + std::to_string(step); }

/// Writes by the calls above, in pieces.
Result<> write_pieces(const std::string& path, const std::string& text) {
  int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  if (fd < 0) return Error("io_error", "open");
  for (std::size_t at = 0; at < text.size(); at += 1000)
    if (::write(fd, text.data() + at, std::min<std::size_t>(1000, text.size() - at)) < 0) {
      ::close(fd);
      return Error("disk_full", "no room");
    }
  ::close(fd);
  return ok();
}

Result<CheckpointFolder::Entry> commit(const CheckpointFolder& folder, std::int64_t step) {
  return folder.commit(step,
                       [&](const std::string& path) { return write_pieces(path, content(step)); });
}

std::string read(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream out;
  out << in.rdbuf();
  return out.str();
}

std::vector<std::string> names(const std::string& path) {
  std::vector<std::string> out;
  DIR* folder = ::opendir(path.c_str());
  while (dirent* entry = folder ? ::readdir(folder) : nullptr)
    if (std::string name = entry->d_name; name != "." && name != "..") out.push_back(name);
  if (folder) ::closedir(folder);
  std::sort(out.begin(), out.end());
  return out;
}

/// The steps that are there; each must be whole.
std::vector<std::int64_t> whole_steps(const CheckpointFolder& folder) {
  std::vector<std::int64_t> out;
  for (auto& entry : folder.list().value()) {
    CHECK(read(entry.path) == content(entry.step));
    out.push_back(entry.step);
  }
  return out;
}

using Steps = std::vector<std::int64_t>;

struct Armed {
  explicit Armed(int fail_at = 0) { calls = {true, 0, 0, fail_at, {}}; }
  ~Armed() { calls.armed = false; }
};

}  // namespace

TEST_CASE(
    "kill -9 before each call of a commit leaves whole checkpoints, the one before at least") {
  int killed = 0;
  for (int at = 1;; ++at) {
    test::TemporaryFolder place;
    CheckpointFolder folder(place.path + "/checkpoints", 2);
    for (std::int64_t step : {1, 2}) REQUIRE(commit(folder, step));
    pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      calls = {true, 0, at, 0, {}};
      ::_exit(commit(folder, 3) ? 0 : 1);
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    auto steps = whole_steps(folder);
    if (WIFEXITED(status)) {  // fewer calls than `at`
      CHECK(WEXITSTATUS(status) == 0);
      CHECK(steps == Steps{2, 3});
      break;
    }
    ++killed;
    bool named = steps == Steps{1, 2, 3} || steps == Steps{2, 3};
    CHECK((named || steps == Steps{1, 2}));
    CHECK(folder.latest().value()->step == (named ? 3 : 2));
    // The program starts again and goes on: nothing is left of the cut.
    REQUIRE(commit(folder, 4));
    CHECK(whole_steps(folder).back() == 4);
    CHECK(names(folder.path()).size() == 2);
  }
  CHECK(killed >= 8);
}

TEST_CASE("the file is on the disk before it has its name, the name before the return") {
  test::TemporaryFolder place;
  CheckpointFolder folder(place.path + "/c", 1);
  REQUIRE(commit(folder, 1));
  Armed armed;
  REQUIRE(commit(folder, 2));
  // Nothing is removed before the new one is safe.
  CHECK(calls.seen == "KKKUWWWWSRFU");
}

TEST_CASE("a commit that fails at any step changes nothing, or is done") {
  for (int at = 1;; ++at) {
    test::TemporaryFolder place;
    CheckpointFolder folder(place.path + "/c", 2);
    for (std::int64_t step : {1, 2}) REQUIRE(commit(folder, step));
    Result<CheckpointFolder::Entry> done;
    std::string seen;
    {
      Armed armed(at);
      done = commit(folder, 3);
      seen = calls.seen;
    }
    auto steps = whole_steps(folder);
    if (done) {
      CHECK(folder.latest().value()->step == 3);
    } else {
      // Only the sync of the folder comes after the name.
      CHECK(steps == (seen.back() == 'F' ? Steps{1, 2, 3} : Steps{1, 2}));
      CHECK(!done.error().message().empty());
    }
    if (static_cast<int>(seen.size()) < at) break;
  }
}

TEST_CASE("the last ones stay, and one of the same step is replaced") {
  test::TemporaryFolder place;
  CheckpointFolder folder(place.path + "/deep/checkpoints/", 3, ".pt");
  CHECK(!folder.latest().value());
  for (std::int64_t step : {9, 10, 100, 8}) REQUIRE(commit(folder, step));
  // What was just written stays, also where it is not the highest.
  CHECK(whole_steps(folder) == Steps{8, 10, 100});
  REQUIRE(folder.commit(100, [](std::ostream& out) { out << "again"; }));
  auto latest = folder.latest().value().value();
  CHECK(latest.path == place.path + "/deep/checkpoints/step-100.pt");
  CHECK(read(latest.path) == "again");
  CHECK(names(folder.path()) == std::vector<std::string>{"step-10.pt", "step-100.pt", "step-8.pt"});
}

TEST_CASE("what is none of ours is left alone") {
  test::TemporaryFolder place;
  CheckpointFolder folder(place.path, 1);
  for (auto* name : {"best.pt", "step-x", "step-5extra", ".hidden"})
    std::ofstream(place.path + "/" + name) << "mine";
  REQUIRE(commit(folder, 1));
  REQUIRE(commit(folder, 2));
  CHECK(names(place.path) ==
        std::vector<std::string>{".hidden", "best.pt", "step-2", "step-5extra", "step-x"});
}

TEST_CASE("bad commits are refused") {
  test::TemporaryFolder place;
  CheckpointFolder folder(place.path + "/c");
  CHECK(commit(folder, -1).error().code() == "invalid_request");
  auto nothing = folder.commit(1, [](const std::string&) { return ok(); });
  CHECK(nothing.error().message().find("has written nothing") != std::string::npos);
  auto fails = folder.commit(
      1, [](const std::string&) -> Result<> { return Error("my_error", "out of ideas"); });
  CHECK(fails.error().code() == "my_error");
  auto a_folder = folder.commit(1, [](const std::string& path) -> Result<> {
    ::mkdir(path.c_str(), 0700);
    return ok();
  });
  CHECK(a_folder.error().code() == "invalid_request");
  CHECK(names(folder.path()).empty());
  std::ofstream(place.path + "/file") << "x";
  CHECK(!commit(CheckpointFolder(place.path + "/file"), 1));
  CHECK(commit(CheckpointFolder(place.path + "/c", 1, "/pt"), 1).error().code() ==
        "invalid_request");
}
