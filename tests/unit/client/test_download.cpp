#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <set>

#include "base/hash.hpp"
#include "catch.hpp"
#include "fake.hpp"
#include "spell/client.hpp"
#include "spell/json.hpp"
#include "spellfs/pack.hpp"
#include "spellfs/pack_store.hpp"
#include "spellfs/tree.hpp"
#include "support.hpp"

using namespace spell;
using namespace spell::test;

namespace {

/// A folder that was saved as runs/7, as the service lists and serves it.
struct Files {
  TemporaryFolder folder;
  std::unique_ptr<spellfs::PackStore> store =
      std::move(spellfs::open_pack_store(folder.path + "/store")).value();
  spellfs::Entry root;
  int fetched = 0;             ///< answers with objects
  std::set<std::string> held;  ///< versions that were read, as the client named them

  std::string path(const std::string& name) const { return folder.path + "/files/" + name; }
  void file(const std::string& name, const std::string& content, mode_t mode = 0644) {
    REQUIRE(base::make_folders(path(name).substr(0, path(name).rfind('/'))));
    REQUIRE(base::write_file(path(name), content, mode));
    timespec times[2] = {{1'600'000'000, 123'456'789}, {1'600'000'000, 123'456'789}};
    REQUIRE(::utimensat(AT_FDCWD, path(name).c_str(), times, 0) == 0);
  }
  void save() {
    auto writer = store->writer("ada").value();
    root = spellfs::save(folder.path + "/files", {}, *writer).value().root;
    writer->finish().value();
  }
  static ResourceInfo info(const spellfs::Entry& entry, const std::string& path) {
    ResourceInfo out;
    out.path = path;
    out.type = entry.type == spellfs::EntryType::file   ? EntryType::file
               : entry.type == spellfs::EntryType::link ? EntryType::link
                                                        : EntryType::folder;
    if (out.type == EntryType::file) out.size = entry.size;
    out.link_target = entry.target;
    out.mode = entry.mode;
    out.bytes = entry.size;
    if (entry.node != spellfs::Name{}) out.node = entry.node.text();
    out.modified_at = Time(std::chrono::microseconds(entry.mtime_ns / 1000));
    return out;
  }
  Answer operator()(const net::ClientRequest& request) {
    auto target = target_of(request);
    if (target.segments.size() < 4) return {200, "{}"};  // a client that asks who is there
    if (target.segments[3] == "objects") {
      ++fetched;
      held.insert(target.query.at("tree"));
      std::vector<spellfs::Name> names;
      auto body = json::parse(request.body);
      for (auto& name : body.at("names"))
        names.push_back(spellfs::Name::parse(name.get<std::string>()).value());
      return {200, store->pack_of("ada", names, 4 << 20).value()};
    }
    std::string path, below;
    for (std::size_t i = 4; i < target.segments.size(); ++i)
      path += (i > 4 ? "/" : "") + target.segments[i];
    for (std::size_t i = 6; i < target.segments.size(); ++i)
      below += (i > 6 ? "/" : "") + target.segments[i];
    auto entry = path.starts_with("runs/7") ? spellfs::find(*store, root.node, below)
                                            : base::error("resource_not_found", "none");
    if (!entry)
      return {404, R"({"error":{"code":"resource_not_found","message":"there is no such thing"}})"};
    if (target.segments[3] == "files") {
      auto content = spellfs::read(*store, entry->node, entry->size, 0, 1 << 20).value();
      return {
          200, content, {{"ETag", "\"1\""}, {"Content-Length", std::to_string(content.size())}}};
    }
    json entries = json::array();
    if (entry->type == spellfs::EntryType::folder)
      for (auto& child : spellfs::list(*store, entry->node).value())
        entries.push_back(info(child, child.name));
    return {200,
            json{{"resource", info(*entry, path)}, {"entries", entries}, {"next", nullptr}}.dump(
                -1, ' ', false, json::error_handler_t::replace)};
  }
};

struct DownloadTarget : World {
  TemporaryFolder folder;
  std::shared_ptr<Files> files = std::make_shared<Files>();
  DownloadTarget() {
    files->file("a.txt", "hello");
    files->file("sub/run.sh", std::string(100'000, 'x'), 0755);
    REQUIRE(base::make_folders(files->path("empty")));
    REQUIRE(::symlink("a.txt", files->path("link").c_str()) == 0);
    files->save();
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
  DownloadTarget target;
  SECTION("into a folder") {
    CHECK(target.get("runs/7/sub/run.sh", "").value() == 1);
    CHECK(target.read("run.sh") == std::string(100'000, 'x'));
    struct stat st {};
    REQUIRE(::stat((target.folder.path + "/run.sh").c_str(), &st) == 0);
    CHECK((st.st_mode & 07777) == 0755);
    CHECK(st.st_mtim.tv_sec == 1'600'000'000);
    CHECK(st.st_mtim.tv_nsec == 123'456'789);
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
  DownloadTarget target;
  std::vector<std::int64_t> progress;
  DownloadOptions options;
  options.progress = [&](std::int64_t done, std::int64_t) { progress.push_back(done); };
  REQUIRE(target.get("runs/7", "out", options).value() == 3);
  CHECK(target.read("out/a.txt") == "hello");
  CHECK(target.read("out/sub/run.sh").size() == 100'000);
  CHECK(target.read("out/link") == "hello");
  CHECK(base::exists(target.folder.path + "/out/empty"));
  REQUIRE_FALSE(progress.empty());
  CHECK(progress.back() == 100'005);
  CHECK(target.parts() == 0);
  SECTION("into a folder that is there: below its name") {
    REQUIRE(base::make_folders(target.folder.path + "/there"));
    CHECK(target.get("runs/7/sub", "there").value() == 1);
    CHECK(target.read("there/sub/run.sh").size() == 100'000);
  }
}

TEST_CASE("what is there is not overwritten unasked") {
  DownloadTarget target;
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
  DownloadTarget target;
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
  std::string name = GENERATE("..", ".", "", "a/b", "/etc/x", "../x");
  DownloadTarget target;
  // A node as no Spell would write it: one empty file of this name.
  std::string node{1, 0, 1, 1};
  node += static_cast<char>(name.size()) + name + "\xa4\x03" + std::string(10, '\0');
  auto bad = spellfs::name_of(spellfs::Kind::folder, node);
  auto honest = target.transport->serve;
  target.transport->serve = [=](const net::ClientRequest& request) -> Answer {
    if (target_of(request).segments[3] != "objects") {
      auto answer = honest(request);
      auto body = json::parse(answer.body);
      if (answer.status == 200) body["resource"]["node"] = bad.text();
      return {answer.status, body.dump()};
    }
    spellfs::PackFileWriter pack;
    auto size = static_cast<std::uint32_t>(node.size());
    pack.append({spellfs::Kind::folder, spellfs::Codec::raw, size, size, 0, bad}, node).value();
    pack.finish().value();
    return {200, pack.take()};
  };
  auto got = target.get("runs/7", "out");
  REQUIRE_FALSE(got.ok());
  CHECK(got.error().code() == "damaged");
  CHECK_FALSE(base::exists(target.folder.path + "/x"));
}

TEST_CASE("names that are no text, and holes, arrive as they were") {
  DownloadTarget target;
  target.files->file("\xff\xfe", "no text");
  target.files->file("sparse", "begin");
  REQUIRE(::truncate(target.files->path("sparse").c_str(), 20 << 20) == 0);
  target.files->save();
  REQUIRE(target.get("runs/7", "out").ok());
  CHECK(target.read("out/\xff\xfe") == "no text");
  struct stat st {};
  REQUIRE(::stat((target.folder.path + "/out/sparse").c_str(), &st) == 0);
  CHECK(st.st_size == 20 << 20);
  CHECK(st.st_blocks * 512 < 1 << 20);
}

TEST_CASE("many small files come with few answers, a large one with several threads") {
  DownloadTarget target;
  std::string large = base::random_bytes(20 << 20);
  for (int i = 0; i < 500; ++i) target.files->file("many/" + std::to_string(i), std::to_string(i));
  target.files->file("large", large);
  target.files->save();
  auto info = Resources(target.connection).fetch("runs/7", target.folder.path).value();
  CHECK(info.files == 504);
  CHECK(target.read("7/large") == large);
  CHECK(target.read("7/many/77") == "77");
  CHECK(target.files->fetched < 70);
  // All of it is of one version, which the service keeps meanwhile.
  CHECK(target.files->held == std::set<std::string>{target.files->root.node.text()});
  // Once more: all is here.
  int before = target.files->fetched;
  auto again = Resources(target.connection).fetch("runs/7", target.folder.path).value();
  CHECK(again.present == 504);
  CHECK(again.bytes == 0);
  CHECK(target.files->fetched - before < 10);
}

TEST_CASE("paths that are none are refused before anything is asked") {
  auto path = GENERATE("runs/1/../../x", "runs//1", "..", "runs/7/.", "");
  DownloadTarget target;
  auto got = target.get(path, "out");
  REQUIRE_FALSE(got.ok());
  CHECK(got.error().code() == "invalid_path");
  CHECK(target.transport->steps == 0);
}

TEST_CASE("a download is whole, whichever step fails") {
  for (int failing = 1;; ++failing) {
    DownloadTarget target;
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

TEST_CASE("a file is read up to a limit") {
  DownloadTarget target;
  CHECK(Resources(target.connection).read("runs/7/a.txt", 5).value() == "hello");
  auto read = Resources(target.connection).read("runs/7/a.txt", 4);
  REQUIRE_FALSE(read.ok());
  CHECK(read.error().code() == "too_large");
}

TEST_CASE("a list is that of a folder, or the file itself") {
  DownloadTarget target;
  auto folder = Resources(target.connection).list("runs/7/");
  REQUIRE(folder.ok());
  REQUIRE(folder->size() == 4);
  CHECK((*folder)[0].path == "a.txt");
  auto file = Resources(target.connection).list("runs/7/a.txt");
  REQUIRE(file.ok());
  REQUIRE(file->size() == 1);
  CHECK((*file)[0].path == "runs/7/a.txt");
}
