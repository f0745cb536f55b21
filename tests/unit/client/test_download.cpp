#include <sys/stat.h>
#include <unistd.h>

#include "catch.hpp"
#include "fake.hpp"
#include "spell/client.hpp"
#include "spell/json.hpp"
#include "support.hpp"

using namespace spell;
using namespace spell::test;

namespace {

/// A tree of files as the service lists and serves it.
struct Files {
  std::map<std::string, std::string> files;                 // path -> content
  std::map<std::string, std::string> links;                 // path -> target
  std::map<std::string, std::vector<std::string>> folders;  // path -> names
  std::map<std::string, std::uint32_t> modes;
  std::string tag = "\"1\"";

  void file(const std::string& path, std::string content, std::uint32_t mode = 0644) {
    files[path] = std::move(content);
    modes[path] = mode;
  }
  ResourceInfo info(const std::string& path) {
    ResourceInfo out;
    out.type = files.contains(path)   ? EntryType::file
               : links.contains(path) ? EntryType::link
                                      : EntryType::folder;
    out.path = path.substr(path.rfind('/') + 1);
    if (out.type == EntryType::file) out.size = static_cast<std::int64_t>(files[path].size());
    if (out.type == EntryType::link) out.link_target = links[path];
    out.mode = modes.contains(path) ? modes[path] : 0755;
    out.modified_at = Time(std::chrono::microseconds(1'600'000'000'123'456));
    return out;
  }
  Answer operator()(const net::ClientRequest& request) {
    auto target = target_of(request);
    bool list = target.segments[3] == "resources";
    std::string path;
    for (std::size_t i = 4; i < target.segments.size(); ++i)
      path += (i > 4 ? "/" : "") + target.segments[i];
    if (!files.contains(path) && !folders.contains(path) && !links.contains(path))
      return {404, R"({"error":{"code":"resource_not_found","message":"there is no such thing"}})"};
    if (list) {
      json entries = json::array();
      for (auto& name : folders[path]) {
        auto entry = info(path + "/" + name);
        entry.path = name;
        entries.push_back(entry);
      }
      auto resource = info(path);
      resource.path = path;
      return {200, json{{"resource", resource}, {"entries", entries}, {"next", nullptr}}.dump()};
    }
    auto& content = files[path];
    std::string range = header_of(request, "Range");
    if (range.empty())
      return {200, content, {{"ETag", tag}, {"Content-Length", std::to_string(content.size())}}};
    auto from = static_cast<std::size_t>(std::stoul(range.substr(6)));
    return {206,
            content.substr(from),
            {{"ETag", tag},
             {"Content-Range", "bytes " + std::to_string(from) + "-" +
                                   std::to_string(content.size() - 1) + "/" +
                                   std::to_string(content.size())}}};
  }
};

Files example() {
  Files files;
  files.folders["runs/7"] = {"a.txt", "empty", "link", "sub"};
  files.folders["runs/7/empty"] = {};
  files.folders["runs/7/sub"] = {"run.sh"};
  files.file("runs/7/a.txt", "hello");
  files.file("runs/7/sub/run.sh", std::string(100'000, 'x'), 0755);
  files.links["runs/7/link"] = "a.txt";
  return files;
}

struct Target : World {
  TemporaryFolder folder;
  std::shared_ptr<Files> files = std::make_shared<Files>(example());
  Target() {
    transport->serve = [shared = files](const net::ClientRequest& request) {
      return (*shared)(request);
    };
  }
  Result<std::int64_t> get(const std::string& path, const std::string& to,
                           const DownloadOptions& options = {}) {
    return Resources(connection).download(path, folder.path + "/" + to, options);
  }
  std::string read(const std::string& name) {
    return base::read_file(folder.path + "/" + name).value_or("?");
  }
  /// Names below the folder that a download left unfinished.
  int parts(const std::string& below = "") {
    std::string command = "find '" + folder.path + "/" + below + "' -name '*.part' | wc -l";
    FILE* out = ::popen(command.c_str(), "r");
    int n = -1;
    REQUIRE(::fscanf(out, "%d", &n) == 1);
    ::pclose(out);
    return n;
  }
};

}  // namespace

TEST_CASE("a file arrives under its name or a new one, with mode and time") {
  Target target;
  SECTION("into a folder") {
    CHECK(target.get("runs/7/sub/run.sh", "").value() == 1);
    CHECK(target.read("run.sh") == std::string(100'000, 'x'));
    struct stat st {};
    REQUIRE(::stat((target.folder.path + "/run.sh").c_str(), &st) == 0);
    CHECK((st.st_mode & 07777) == 0755);
    CHECK(st.st_mtim.tv_sec == 1'600'000'000);
    CHECK(st.st_mtim.tv_nsec == 123'456'000);
  }
  SECTION("under a new name") {
    CHECK(target.get("/runs/7/a.txt", "b").value() == 1);
    CHECK(target.read("b") == "hello");
  }
  SECTION("not where there is no folder") {
    auto got = target.get("runs/7/a.txt", "no/where");
    REQUIRE_FALSE(got.ok());
    CHECK_THAT(got.error().message(), Catch::Contains("no"));
  }
}

TEST_CASE("a folder arrives whole") {
  Target target;
  std::vector<std::int64_t> progress;
  DownloadOptions options;
  options.progress = [&](std::int64_t done, std::int64_t) { progress.push_back(done); };
  CHECK(target.get("runs/7", "out", options).value() == 3);
  CHECK(target.read("out/a.txt") == "hello");
  CHECK(target.read("out/sub/run.sh").size() == 100'000);
  CHECK(target.read("out/link") == "hello");
  CHECK(base::exists(target.folder.path + "/out/empty"));
  CHECK(progress.back() == 100'005);
  CHECK(target.parts() == 0);
  SECTION("into a folder that is there: below its name") {
    REQUIRE(base::make_folders(target.folder.path + "/there"));
    CHECK(target.get("runs/7/sub", "there").value() == 1);
    CHECK(target.read("there/sub/run.sh").size() == 100'000);
  }
}

TEST_CASE("what is there is not overwritten unasked") {
  Target target;
  REQUIRE(base::write_file(target.folder.path + "/a.txt", "mine"));
  SECTION("an error by default") {
    auto got = target.get("runs/7/a.txt", "");
    REQUIRE_FALSE(got.ok());
    CHECK(got.error().code() == "file_exists");
    CHECK(target.read("a.txt") == "mine");
  }
  SECTION("forced") {
    CHECK(target.get("runs/7/a.txt", "", {.force = true}).value() == 1);
    CHECK(target.read("a.txt") == "hello");
  }
  SECTION("asked") {
    bool answer = GENERATE(false, true);
    std::string asked;
    DownloadOptions options;
    options.ask = [&](const std::string& path) { return asked = path, answer; };
    CHECK(target.get("runs/7/a.txt", "", options).value() == (answer ? 1 : 0));
    CHECK_THAT(asked, Catch::EndsWith("a.txt"));
    CHECK(target.read("a.txt") == (answer ? "hello" : "mine"));
  }
}

TEST_CASE("links that lie in the way are not followed") {
  Target target;
  TemporaryFolder outside;
  REQUIRE(base::make_folders(target.folder.path + "/out"));
  SECTION("of a file: it is replaced") {
    REQUIRE(base::write_file(outside.path + "/victim", "keep"));
    REQUIRE(::symlink((outside.path + "/victim").c_str(),
                      (target.folder.path + "/a.txt").c_str()) == 0);
    CHECK(target.get("runs/7/a.txt", "", {.force = true}).ok());
    CHECK(base::read_file(outside.path + "/victim").value() == "keep");
    CHECK(target.read("a.txt") == "hello");
  }
  SECTION("of a folder: it is refused") {
    REQUIRE(base::make_folders(target.folder.path + "/out/7"));
    REQUIRE(::symlink(outside.path.c_str(), (target.folder.path + "/out/7/sub").c_str()) == 0);
    auto got = target.get("runs/7", "out", {.force = true});
    REQUIRE_FALSE(got.ok());
    CHECK(got.error().code() == "file_exists");
    CHECK_FALSE(base::exists(outside.path + "/run.sh"));
  }
}

TEST_CASE("names that would leave the folder are refused") {
  auto name = GENERATE("..", ".", "", "a/b", "/etc/x", "../x");
  Target target;
  target.files->folders["runs/7"] = {name};
  target.files->file(std::string("runs/7/") + name, "evil");
  auto got = target.get("runs/7", "out");
  REQUIRE_FALSE(got.ok());
  CHECK(got.error().code() == "invalid_answer");
  CHECK_FALSE(base::exists(target.folder.path + "/x"));
}

TEST_CASE("paths that are none are refused before anything is asked") {
  auto path = GENERATE("runs/1/../../x", "runs//1", "..", "runs/7/.", "");
  Target target;
  auto got = target.get(path, "out");
  REQUIRE_FALSE(got.ok());
  CHECK(got.error().code() == "invalid_path");
  CHECK(target.transport->steps == 0);
}

TEST_CASE("a download is whole, whichever step fails") {
  for (int failing = 1;; ++failing) {
    Target target;
    target.transport->piece = 30'000;
    bool failed = false;
    target.transport->fault = [&](int step) {
      return step == failing ? (failed = true, Fault::lost_before) : Fault::none;
    };
    INFO("step " << failing);
    REQUIRE(target.get("runs/7", "out").ok());
    CHECK(target.read("out/a.txt") == "hello");
    CHECK(target.read("out/sub/run.sh") == std::string(100'000, 'x'));
    CHECK(target.parts() == 0);
    if (!failed) break;
  }
}

TEST_CASE("a file that becomes another one meanwhile is an error, and leaves nothing") {
  Target target;
  target.transport->piece = 30'000;
  target.transport->fault = [&](int step) {
    if (step != 5) return Fault::none;
    target.files->tag = "\"2\"";
    return Fault::lost_before;
  };
  auto got = target.get("runs/7/sub/run.sh", "");
  REQUIRE_FALSE(got.ok());
  CHECK(got.error().code() == "resource_changed");
  CHECK_FALSE(base::exists(target.folder.path + "/run.sh"));
  CHECK(target.parts() == 0);
}

TEST_CASE("a file is read up to a limit") {
  Target target;
  CHECK(Resources(target.connection).read("runs/7/a.txt", 5).value() == "hello");
  auto read = Resources(target.connection).read("runs/7/a.txt", 4);
  REQUIRE_FALSE(read.ok());
  CHECK(read.error().code() == "too_large");
}

TEST_CASE("a list is that of a folder, or the file itself") {
  Target target;
  auto folder = Resources(target.connection).list("runs/7/");
  REQUIRE(folder.ok());
  REQUIRE(folder->size() == 4);
  CHECK((*folder)[0].path == "a.txt");
  auto file = Resources(target.connection).list("runs/7/a.txt");
  REQUIRE(file.ok());
  REQUIRE(file->size() == 1);
  CHECK((*file)[0].path == "runs/7/a.txt");
}
