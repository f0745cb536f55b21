// docs/errors.md is for people, the tables in the source are for programs: they say the same.
#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <set>
#include <string>

#include "catch.hpp"
#include "model/error_code.hpp"

using namespace spell::model;
namespace fs = std::filesystem;

namespace {

std::string read(const fs::path& path) {
  std::ifstream file(path);
  REQUIRE(file);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string document() { return read(fs::path(SPELL_SOURCE_DIR) / "docs/errors.md"); }

std::string section(const std::string& title) {
  auto text = document();
  auto from = text.find("## " + title);
  REQUIRE(from != std::string::npos);
  return text.substr(from, text.find("\n## ", from) - from);
}

std::set<std::string> all_matches(const std::string& text, const std::string& pattern, int group) {
  std::regex expression(pattern);
  std::set<std::string> out;
  for (std::sregex_iterator at(text.begin(), text.end(), expression), end; at != end; ++at)
    out.insert((*at)[group]);
  return out;
}

}  // namespace

TEST_CASE("the service's table is the one in the document, row by row") {
  std::set<std::string> rows;
  for (auto& row : error_codes())
    rows.insert("| `" + std::string(row.code) + "` | " + std::to_string(row.http_status) + " | " +
                std::string(row.meaning) + " |");
  CHECK(all_matches(section("From the service"), "\\| `[^\n]*", 0) == rows);
}

TEST_CASE("every code that the source makes is in the document") {
  auto documented = all_matches(document(), "\n\\| `([a-z_]+)` \\|", 1);
  std::set<std::string> made;
  for (auto folder : {"src", "cli", "include"}) {
    for (auto& entry : fs::recursive_directory_iterator(fs::path(SPELL_SOURCE_DIR) / folder)) {
      auto extension = entry.path().extension();
      if (extension != ".cpp" && extension != ".hpp") continue;
      for (auto& code :
           all_matches(read(entry.path()),
                       "(^|[^a-z_])(error|Error|library_error)\\(\\s*\"([a-z_]+)\",", 3)) {
        INFO(entry.path() << ": " << code);
        CHECK(documented.contains(code));
        made.insert(code);
      }
    }
  }
  for (auto code : {"run_not_found", "invalid_json", "not_a_repository"})
    CHECK(made.contains(code));
}

TEST_CASE("the document's exit statuses are those of the command line") {
  auto source = read(fs::path(SPELL_SOURCE_DIR) / "cli/spell/exit_status.cpp");
  auto text = section("From the SDK and the command line");
  for (auto& row : all_matches(source, "\\{\"[a-z_]+\", [0-9]\\}", 0)) {
    std::smatch parts;
    REQUIRE(std::regex_match(row, parts, std::regex("\\{\"([a-z_]+)\", ([0-9])\\}")));
    INFO(row);
    CHECK(text.find("| `" + parts[1].str() + "` | " + parts[2].str() + " |") != std::string::npos);
  }
  for (auto& code : all_matches(text, "\\| `([a-z_]+)` \\| [2-9] \\|", 1)) {
    INFO(code);
    CHECK(source.find("{\"" + code + "\", ") != std::string::npos);
  }
}

TEST_CASE("each code leads to what one can do about it") {
  auto named =
      all_matches(read(fs::path(SPELL_SOURCE_DIR) / "docs/troubleshooting.md"), "`([a-z_]+)`", 1);
  for (auto& code : all_matches(document(), "\n\\| `([a-z_]+)` \\|", 1)) {
    INFO(code << " is in docs/errors.md, and docs/troubleshooting.md says nothing of it");
    CHECK(named.contains(code));
  }
}
