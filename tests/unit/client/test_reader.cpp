#include "catch.hpp"
#include "fake.hpp"
#include "spell/client.hpp"
#include "spell/json.hpp"

using namespace spell;
using namespace spell::test;

namespace {

/// One file, served as the API says; the ranges that were asked for.
struct Served : World {
  std::string bytes;
  std::string tag = "\"1\"";
  std::vector<std::string> ranges;
  std::size_t served = 0;

  explicit Served(std::size_t size) {
    for (std::size_t i = 0; i < size; ++i) bytes += static_cast<char>(i * 7 + i / 1000);
    transport->serve = [this](const net::ClientRequest& request) { return answer(request); };
  }
  Answer answer(const net::ClientRequest& request) {
    auto range = header_of(request, "Range");
    ranges.push_back(range);
    if (range.empty())
      return {200, bytes, {{"ETag", tag}, {"Content-Length", std::to_string(bytes.size())}}};
    auto dash = range.find('-');
    auto from = std::stoul(range.substr(6, dash - 6));
    if (from >= bytes.size())
      return {416, R"({"error":{"code":"range_not_satisfiable","message":"behind the end"}})"};
    auto last = bytes.size() - 1;
    if (dash + 1 < range.size()) last = std::min(last, std::stoul(range.substr(dash + 1)));
    auto piece = bytes.substr(from, last - from + 1);
    served += piece.size();
    return {206,
            piece,
            {{"ETag", tag},
             {"Content-Length", std::to_string(piece.size())},
             {"Content-Range", "bytes " + std::to_string(from) + "-" + std::to_string(last) + "/" +
                                   std::to_string(bytes.size())}}};
  }
  ResourceReader open() { return Resource(connection, "uploads/x").open().value(); }
  std::string read(ResourceReader& reader, std::size_t size) {
    std::string out(size, '\0');
    std::size_t done = 0;
    while (done < size) {
      auto n = reader.read(out.data() + done, size - done).value();
      if (n == 0) break;
      done += n;
    }
    out.resize(done);
    return out;
  }
};

}  // namespace

TEST_CASE("a file is read from its start to its end with one request") {
  Served served(300'000);
  auto reader = served.open();
  CHECK(reader.size() == 300'000);
  CHECK(served.read(reader, 1'000'000) == served.bytes);
  CHECK(reader.offset() == 300'000);
  char more;
  CHECK(reader.read(&more, 1).value() == 0);
  CHECK(served.ranges == std::vector<std::string>{""});
}

TEST_CASE("reading goes on from anywhere") {
  Served served(5'000'000);
  auto reader = served.open();
  for (std::size_t at : {4'000'000, 10, 2'500'000, 4'999'999, 0}) {
    REQUIRE(reader.seek(static_cast<std::int64_t>(at)).ok());
    CHECK(served.read(reader, 1000) == served.bytes.substr(at, 1000));
  }
  CHECK(reader.seek(-1).error().code() == "range_not_satisfiable");
  REQUIRE(reader.seek(5'000'001).ok());
  CHECK(served.read(reader, 10).empty());
  // Who jumps about gets little that is not wanted.
  CHECK(served.served < 5 << 20);
}

TEST_CASE("who reads on after a jump is asked for more and more") {
  Served served(30'000'000);
  auto reader = served.open();
  REQUIRE(reader.seek(1000).ok());
  CHECK(served.read(reader, 40'000'000) == served.bytes.substr(1000));
  CHECK(served.ranges.size() < 6);
}

TEST_CASE("a file is whole whichever step fails") {
  for (int failing = 1;; ++failing) {
    Served served(100'000);
    served.transport->piece = 30'000;
    bool failed = false;
    served.transport->fault = [&](int step) {
      return step == failing ? (failed = true, Fault::lost_before) : Fault::none;
    };
    INFO("step " << failing);
    auto reader = served.open();
    CHECK(served.read(reader, 20'000) == served.bytes.substr(0, 20'000));
    REQUIRE(reader.seek(50'000).ok());
    CHECK(served.read(reader, 100'000) == served.bytes.substr(50'000));
    if (!failed) break;
  }
}

TEST_CASE("a file that was replaced is not read on") {
  Served served(100'000);
  auto reader = served.open();
  CHECK(served.read(reader, 10).size() == 10);
  served.tag = "\"2\"";
  REQUIRE(reader.seek(50'000).ok());
  char byte;
  CHECK(reader.read(&byte, 1).error().code() == "resource_changed");
}

TEST_CASE("answers that make no sense are refused") {
  Served served(1000);
  auto headers = GENERATE(net::Headers{}, net::Headers{{"Content-Length", "-5"}},
                          net::Headers{{"Content-Length", "x"}}, net::Headers{{"ETag", "x"}});
  served.transport->serve = [&](const net::ClientRequest&) {
    return Answer{200, "bytes", headers};
  };
  auto reader = Resource(served.connection, "uploads/x").open();
  REQUIRE_FALSE(reader.ok());
  CHECK(reader.error().code() == "invalid_answer");
}

TEST_CASE("a folder is a range whose pages are asked for as they are needed") {
  World world;
  int pages = 0;
  world.transport->serve = [&](const net::ClientRequest& request) {
    auto target = target_of(request);
    auto from = target.query.contains("after") ? std::stol(target.query["after"]) : 0;
    auto last = std::min(from + std::stol(target.query["limit"]), 7000L);
    json entries = json::array();
    for (long i = from; i < last; ++i) entries.push_back(ResourceInfo{std::to_string(i)});
    ++pages;
    return Answer{200, json{{"resource", ResourceInfo{"runs/1", EntryType::folder}},
                            {"entries", entries},
                            {"next", last < 7000 ? json(std::to_string(last)) : json(nullptr)}}
                           .dump()};
  };
  auto list = Resource(world.connection, "runs/1").list();
  CHECK(pages == 0);
  CHECK(list.next()->value().path == "0");
  CHECK(pages == 1);
  int count = 1;
  for (auto& entry : list) CHECK(entry.value().path == std::to_string(count++));
  CHECK(count == 7000);
  CHECK(pages <= 4);
}

TEST_CASE("a list that fails says so once and ends") {
  World world;
  world.transport->serve = [](const net::ClientRequest&) {
    return Answer{404, R"({"error":{"code":"resource_not_found","message":"no"}})"};
  };
  for (const char* path : {"runs/1", "runs/../x"}) {
    auto list = Resource(world.connection, path).list();
    CHECK_FALSE(list.next()->ok());
    CHECK_FALSE(list.next());
  }
}

TEST_CASE("only an upload can be removed or uploaded") {
  World world;
  for (const char* path : {"runs/1", "uploads", "uploads/a/b", "best", "uploads/.."}) {
    Resource resource(world.connection, path);
    CHECK(resource.remove().error().code() == "invalid_path");
    CHECK(resource.upload("/etc/hostname").error().code() == "invalid_path");
  }
  CHECK(world.transport->steps == 0);
}
