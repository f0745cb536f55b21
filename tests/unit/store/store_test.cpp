#include "store/store.hpp"

#include <sqlite3.h>
#include <unistd.h>

#include "base/file.hpp"
#include "base/hash.hpp"
#include "catch.hpp"

using namespace spell;
using namespace spell::store;

namespace {

struct Folder {
  std::string path = "/tmp/spell-store-" + base::hex(base::random_bytes(6));
  Folder() { REQUIRE(base::make_folders(path)); }
  ~Folder() { (void)base::remove_tree(path); }
  std::string database() const { return path + "/spell.db"; }
};

RunRecord sample(std::int64_t number) {
  RunRecord run;
  run.id = base::hex(base::random_bytes(16));
  run.owner = "ada";
  run.number = number;
  run.created_us = 1'000'000 + number;
  run.creator = "ada";
  run.request.command = "echo 'héllo'; true";
  run.request.env = {{"A", "1=2"}};
  run.labels = join_labels({"x", "y"});
  run.project = "p";
  run.identity = "i" + std::to_string(number);
  return run;
}

}  // namespace

TEST_CASE("what was committed is there after the database was opened again") {
  Folder folder;
  auto run = sample(1);
  std::string incarnation;
  {
    auto writer = Writer::open(folder.database());
    REQUIRE(writer);
    incarnation = writer->incarnation();
    CHECK(incarnation.size() == 32);
    REQUIRE(writer->begin());
    REQUIRE(writer->insert_run(run));
    REQUIRE(writer->add_event(run.id, {1, 5, "machine_requested", "Run created", true, false, 0}));
    REQUIRE(writer->put_key("ada", "k", {run.id, "hash", 7}));
    REQUIRE(writer->set_last_number("ada", 1));
    REQUIRE(writer->commit());
    REQUIRE(writer->begin());
    run.status = "running";
    run.exit_code = 3;
    REQUIRE(writer->update_run(run));
    writer->rollback();
  }
  auto writer = Writer::open(folder.database());
  REQUIRE(writer);
  CHECK(writer->incarnation() == incarnation);
  auto found = writer->find_run("ada", 1);
  REQUIRE(found);
  REQUIRE(*found);
  CHECK((*found)->status == "machine_requested");
  CHECK_FALSE((*found)->exit_code);
  CHECK((*found)->request.command == run.request.command);
  CHECK((*found)->request.env == run.request.env);
  CHECK(split_labels((*found)->labels) == std::vector<std::string>{"x", "y"});
  CHECK(writer->last_number("ada").value() == 1);
  CHECK(writer->find_key("ada", "k").value()->run == run.id);
  CHECK_FALSE(writer->find_key("bob", "k").value());
  auto events = writer->events(run.id, 0);
  REQUIRE(events);
  REQUIRE(events->size() == 1);
  CHECK(events->front().text == "Run created");
  CHECK(writer->events(run.id, 1)->empty());
}

TEST_CASE("lists are filtered, the newest first") {
  Folder folder;
  auto writer = Writer::open(folder.database());
  REQUIRE(writer);
  REQUIRE(writer->begin());
  for (int i = 1; i <= 5; ++i) {
    auto run = sample(i);
    if (i == 2) run.status = "complete", run.exit_code = 0;
    if (i == 3) run.labels = join_labels({"xy"});
    if (i == 4) run.archived = true;
    REQUIRE(writer->insert_run(run));
  }
  REQUIRE(writer->commit());
  auto reader = Reader::open(folder.database());
  REQUIRE(reader);
  auto numbers = [&](RunQuery query) {
    query.owner = "ada";
    std::vector<std::int64_t> out;
    auto runs = reader->list_runs(query);
    REQUIRE(runs);
    for (auto& run : *runs) out.push_back(run.number);
    return out;
  };
  CHECK(numbers({}) == std::vector<std::int64_t>{5, 3, 2, 1});
  RunQuery query;
  query.label = "x";
  CHECK(numbers(query) == std::vector<std::int64_t>{5, 2, 1});
  query.label = "%";
  CHECK(numbers(query).empty());
  query = {};
  query.active = true;
  CHECK(numbers(query) == std::vector<std::int64_t>{5, 3, 1});
  query = {};
  query.archived = true;
  query.below = 5;
  query.limit = 2;
  CHECK(numbers(query) == std::vector<std::int64_t>{4, 3});
  CHECK(reader->find_same("ada", "i2").value()->number == 2);
  CHECK(reader->count_by_status("ada").value() ==
        std::map<std::string, std::int64_t>{{"complete", 1}, {"machine_requested", 4}});
  CHECK(writer->active_runs()->size() == 4);
}

TEST_CASE("data of a newer program is refused in one line and left alone") {
  Folder folder;
  REQUIRE(Writer::open(folder.database()));
  sqlite3* db = nullptr;
  REQUIRE(sqlite3_open(folder.database().c_str(), &db) == SQLITE_OK);
  REQUIRE(sqlite3_exec(db, "PRAGMA user_version = 99", nullptr, nullptr, nullptr) == SQLITE_OK);
  sqlite3_close(db);
  auto writer = Writer::open(folder.database());
  REQUIRE_FALSE(writer);
  CHECK(writer.error().code() == "newer_data");
  CHECK(writer.error().message().find('\n') == std::string::npos);
}

TEST_CASE("a file that is no database is called damaged") {
  Folder folder;
  REQUIRE(base::write_file(folder.database(), std::string(4096, 'x')));
  auto writer = Writer::open(folder.database());
  REQUIRE_FALSE(writer);
  CHECK(writer.error().code() == "damaged");
}
