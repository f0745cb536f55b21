#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>

#include "base/file.hpp"
#include "catch.hpp"
#include "spellfs/ignore.hpp"

namespace spell::spellfs {
namespace {

struct Row {
  const char* rules;
  const char* path;  ///< a folder if it ends with '/'
  bool ignored;
};

// What `git check-ignore` says of the same rules in a .gitignore.
constexpr Row table[] = {
    {"*.log", "a.log", true},
    {"*.log", "sub/deep/a.log", true},
    {"*.log", "a.log.txt", false},
    {"*.log\n!keep.log", "keep.log", false},
    {"!keep.log\n*.log", "keep.log", true},
    {"build/", "build/", true},
    {"build/", "build", false},
    {"build/", "sub/build/", true},
    {"/build", "build", true},
    {"/build", "sub/build", false},
    {"sub/build", "sub/build", true},
    {"sub/build", "other/sub/build", false},
    {"**/build", "build", true},
    {"**/build", "a/b/build", true},
    {"sub/**", "sub/", false},
    {"sub/**", "sub/a/b", true},
    {"a/**/b", "a/b", true},
    {"a/**/b", "a/x/y/b", true},
    {"a/**/b", "a/x/y/c", false},
    {"a/*", "a/b", true},
    {"a/*", "b", false},
    {"*", "anything", true},
    {"# comment", "# comment", false},
    {"\\#name", "#name", true},
    {"\\!name", "!name", true},
    {"name  ", "name", true},
    {"name\\ ", "name ", true},
    {"name\\ ", "name", false},
    {"name\r\nother", "name", true},
    {"[a-c].txt", "b.txt", true},
    {"[a-c].txt", "d.txt", false},
    {"[!a-c].txt", "d.txt", true},
    {"[^a-c].txt", "b.txt", false},
    {"[]x].txt", "].txt", true},
    {"[[:digit:]]*", "7up", true},
    {"[[:digit:]]*", "up", false},
    {"[a", "[a", false},
    {"a?c", "abc", true},
    {"a?c", "ac", false},
    {"a\\*c", "a*c", true},
    {"a\\*c", "abc", false},
    {"\n\n", "a", false},
    {"!", "a", false},
    {"/", "a", false},
    {"a*b*c", "axxbxxc", true},
    {"a*b*c", "axxbxx", false},
};

}  // namespace

TEST_CASE("rules mean what they mean to Git") {
  for (auto& row : table) {
    std::string path = row.path;
    bool is_folder = path.ends_with('/');
    if (is_folder) path.pop_back();
    INFO(row.rules << " | " << row.path);
    CHECK(IgnoreRules::parse(row.rules).ignores(path, is_folder) == row.ignored);
  }
}

TEST_CASE("the table of rules is Git's") {
  char folder[] = "/tmp/spell-ignore-XXXXXX";
  REQUIRE(::mkdtemp(folder));
  std::string top = folder;
  REQUIRE(std::system(("git init -q " + top).c_str()) == 0);
  for (auto& row : table) {
    REQUIRE(base::write_file(top + "/.gitignore", row.rules, 0644, false).ok());
    std::string path = row.path;
    bool is_folder = path.ends_with('/');
    if (is_folder) path.pop_back();
    std::string quoted = "'" + path + "'";
    std::string make = is_folder
                           ? "mkdir -p -- " + quoted
                           : "mkdir -p -- \"$(dirname -- " + quoted + ")\" && touch -- " + quoted;
    INFO(row.rules << " | " << row.path);
    REQUIRE(std::system(("cd " + top + " && " + make).c_str()) == 0);
    int status = std::system(
        ("cd " + top + " && git -c core.excludesFile= check-ignore -q -- " + quoted).c_str());
    CHECK((status == 0) == row.ignored);
    REQUIRE(std::system(("cd " + top + " && git clean -qfdx").c_str()) == 0);
  }
  REQUIRE(base::remove_tree(top).ok());
}

TEST_CASE("a hostile pattern takes no longer than its length allows") {
  std::string pattern, name(200'000, 'a');
  for (int i = 0; i < 200; ++i) pattern += "a*";
  auto began = std::chrono::steady_clock::now();
  CHECK_FALSE(IgnoreRules::parse(pattern + "b").ignores(name, false));
  CHECK(std::chrono::steady_clock::now() - began < std::chrono::seconds(20));
}

TEST_CASE("the rules of a folder are read from its top, never through a link") {
  char made[] = "/tmp/spell-ignore-XXXXXX";
  REQUIRE(::mkdtemp(made));
  std::string folder = made, file = folder + "/.spellignore";
  CHECK(IgnoreRules::read(folder)->empty());
  REQUIRE(base::write_file(file, "*.log\n", 0644, false).ok());
  CHECK(IgnoreRules::read(folder)->ignores("a.log", false));
  REQUIRE(::unlink(file.c_str()) == 0);
  REQUIRE(::symlink("/etc/passwd", file.c_str()) == 0);
  CHECK(IgnoreRules::read(folder)->empty());
  REQUIRE(::unlink(file.c_str()) == 0);
  REQUIRE(::mkfifo(file.c_str(), 0600) == 0);
  CHECK(IgnoreRules::read(folder)->empty());
  REQUIRE(::unlink(file.c_str()) == 0);
  REQUIRE(base::write_file(file, std::string(max_ignore_file + 1, 'a'), 0644, false).ok());
  CHECK(IgnoreRules::read(folder).error().code() == "too_large");
  REQUIRE(base::remove_tree(folder).ok());
}

}  // namespace spell::spellfs
