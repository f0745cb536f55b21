#include "base/file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "base/error.hpp"
#include "catch.hpp"

using namespace spell;
using namespace spell::base;
namespace fs = std::filesystem;

namespace {

struct Folder {
  std::string path;
  Folder() {
    std::string pattern = fs::temp_directory_path() / "spell-base-XXXXXX";
    path = ::mkdtemp(pattern.data());
  }
  ~Folder() { fs::remove_all(path); }
  std::string operator/(const std::string& name) const { return path + "/" + name; }
};

unsigned mode_of(const std::string& path) {
  struct stat st;
  REQUIRE(::lstat(path.c_str(), &st) == 0);
  return st.st_mode & 07777;
}

}  // namespace

TEST_CASE("a file is replaced as a whole, with its mode, and nothing is left beside it") {
  Folder folder;
  for (bool durable : {true, false}) {
    REQUIRE(write_file(folder / "a", std::string(100'000, 'x'), 0640, durable));
    REQUIRE(write_file(folder / "a", std::string("b\0c", 3), 0600, durable));
    CHECK(*read_file(folder / "a") == std::string("b\0c", 3));
    CHECK(mode_of(folder / "a") == 0600);
    CHECK(std::distance(fs::directory_iterator(folder.path), {}) == 1);
  }
}

TEST_CASE("a file that cannot be replaced stays as it was") {
  Folder folder;
  REQUIRE(make_folders(folder / "a/b"));
  CHECK_FALSE(write_file(folder / "a", "x"));
  CHECK(fs::is_directory(folder / "a/b"));
  CHECK(std::distance(fs::directory_iterator(folder.path), {}) == 1);
  CHECK(write_file(folder / "none/x", "x").error().code() == "not_found");
}

TEST_CASE("reading says what is wrong") {
  Folder folder;
  CHECK(read_file(folder / "none").error().code() == "not_found");
  CHECK(read_file(folder / "none").error().message().find(folder / "none") != std::string::npos);
  REQUIRE(write_file(folder / "a", "12345"));
  CHECK(*read_file(folder / "a", 5) == "12345");
  CHECK(read_file(folder / "a", 4).error().code() == "too_large");
  CHECK_FALSE(read_file(folder.path));
}

TEST_CASE("folders are made with all above them, and may be there already") {
  Folder folder;
  REQUIRE(make_folders(folder / "a/b/c", 0700));
  REQUIRE(make_folders(folder / "a/b/c/", 0700));
  CHECK(mode_of(folder / "a/b") == 0700);
  REQUIRE(write_file(folder / "file", ""));
  CHECK_FALSE(make_folders(folder / "file"));
  CHECK_FALSE(make_folders(folder / "file/x"));
}

TEST_CASE("removal takes everything below and follows no link") {
  Folder folder;
  REQUIRE(make_folders(folder / "keep"));
  REQUIRE(write_file(folder / "keep/file", "x"));
  REQUIRE(make_folders(folder / "gone/deep/closed"));
  REQUIRE(write_file(folder / "gone/deep/closed/file", "x"));
  fs::create_symlink(folder / "keep", folder / "gone/link");
  fs::create_symlink("none", folder / "gone/broken");
  ::chmod((folder / "gone/deep/closed").c_str(), 0);
  REQUIRE(remove_tree(folder / "gone"));
  CHECK_FALSE(exists(folder / "gone"));
  CHECK(exists(folder / "keep/file"));
  fs::create_symlink(folder / "keep", folder / "link");
  REQUIRE(remove_tree(folder / "link"));
  CHECK_FALSE(exists(folder / "link"));
  CHECK(exists(folder / "keep/file"));
  REQUIRE(remove_tree(folder / "keep/file"));
  CHECK(remove_tree(folder / "none"));
}

TEST_CASE("a tree that is deeper than a stack is removed, too") {
  Folder folder;
  int at = ::open(folder.path.c_str(), O_PATH | O_DIRECTORY);
  for (int depth = 0; depth < 5000; ++depth) {
    REQUIRE(::mkdirat(at, "d", 0700) == 0);
    int next = ::openat(at, "d", O_PATH | O_DIRECTORY);
    ::close(at);
    at = next;
  }
  ::close(at);
  REQUIRE(remove_tree(folder / "d"));
  CHECK_FALSE(exists(folder / "d"));
}

TEST_CASE("a broken link exists; free space is known") {
  Folder folder;
  fs::create_symlink("none", folder / "link");
  CHECK(exists(folder / "link"));
  CHECK_FALSE(exists(folder / "none"));
  CHECK(free_bytes(folder.path) >= 0);
  CHECK(free_bytes(folder / "none") == -1);
  CHECK_FALSE(is_network_file_system("/proc"));
}

TEST_CASE("descriptors are owned once and closed at the end") {
  Folder folder;
  int number;
  {
    auto file = open(folder / "a", O_RDWR | O_CREAT);
    REQUIRE(file);
    number = file->get();
    CHECK((::fcntl(number, F_GETFD) & FD_CLOEXEC) != 0);
    Fd other = std::move(*file);
    CHECK_FALSE(*file);
    CHECK(other.get() == number);
    REQUIRE(write_all(number, "0123456789"));
    REQUIRE(pwrite_all(number, "ab", 4));
    char buffer[16];
    CHECK(*pread_full(number, buffer, 4, 3) == 4);
    CHECK(std::string_view(buffer, 4) == "3ab6");
    CHECK(*pread_full(number, buffer, sizeof buffer, 8) == 2);
    CHECK(*pread_full(number, buffer, sizeof buffer, 100) == 0);
  }
  CHECK(::fcntl(number, F_GETFD) == -1);
  CHECK(open(folder / "none/a", O_RDONLY).error().code() == "not_found");
}

TEST_CASE("errno becomes a code and one line") {
  CHECK(errno_error("do it", ENOSPC).code() == "disk_full");
  CHECK(errno_error("do it", EDQUOT).code() == "disk_full");
  CHECK(errno_error("do it", EROFS).code() == "not_permitted");
  CHECK(errno_error("do it", ENOTDIR).code() == "not_found");
  CHECK(errno_error("do it", EIO).code() == "io_error");
  CHECK(errno_error("open x", ENOENT).message() == "cannot open x: No such file or directory");
}
