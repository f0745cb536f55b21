#include "store/store.hpp"

#include <sqlite3.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "base/checksum.hpp"
#include "base/file.hpp"
#include "base/hash.hpp"
#include "catch.hpp"
#include "folder.hpp"

using namespace spell;
using namespace spell::store;

namespace {

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

TEST_CASE("keys are kept for a time, and go then") {
  Folder folder;
  auto writer = Writer::open(folder.database());
  REQUIRE(writer);
  for (int i = 1; i <= 4; ++i)
    REQUIRE(writer->put_key("ada", "k" + std::to_string(i), {"run", "hash", i * 10}));
  REQUIRE(writer->drop_keys_before(30));
  CHECK_FALSE(writer->find_key("ada", "k1").value());
  CHECK_FALSE(writer->find_key("ada", "k2").value());
  CHECK(writer->find_key("ada", "k3").value());
  CHECK(writer->find_key("ada", "k4").value());
}

TEST_CASE("the commits of a workspace are those of its runs, whatever has become of them") {
  Folder folder;
  auto writer = Writer::open(folder.database());
  REQUIRE(writer);
  auto add = [&](int number, const std::string& workspace, const std::string& commit) {
    auto run = sample(number);
    if (workspace.empty())
      run.request.code.reset();
    else
      run.request.code = model::CodeRef{.workspace = workspace, .commit = commit};
    REQUIRE(writer->insert_run(run));
    return run;
  };
  std::string a(40, 'a'), b(40, 'b'), c(40, 'c'), one(40, '1'), two(40, '2');
  auto first = add(1, one, a);
  add(2, one, b);
  auto again = add(3, one, a);
  add(4, two, c);
  add(5, "", "");
  auto commits = [&](const std::string& workspace) {
    auto found = writer->commits("ada", workspace).value();
    std::sort(found.begin(), found.end());
    return found;
  };
  CHECK(commits(one) == std::vector<std::string>{a, b});
  CHECK(commits(two) == std::vector<std::string>{c});
  CHECK(commits(a).empty());
  CHECK(writer->commits("bob", one)->empty());
  auto runs = writer->runs_of_commit("ada", one, a);
  REQUIRE(runs);
  REQUIRE(runs->size() == 2);
  CHECK(((*runs)[0].number == 1 && (*runs)[1].number == 3));
  again.status = "failed";
  REQUIRE(writer->update_run(again));
  REQUIRE(writer->delete_run(first.id));
  CHECK(commits(one) == std::vector<std::string>{a, b});
  REQUIRE(writer->delete_run(again.id));
  CHECK(commits(one) == std::vector<std::string>{b});
  // A workflow's are kept for runs that are to come.
  WorkflowRecord workflow;
  workflow.id = std::string(32, 'f');
  workflow.owner = "ada";
  workflow.number = 1;
  REQUIRE(writer->put_workflow(workflow));
  CHECK(commits(one) == std::vector<std::string>{b});
  workflow.commits = R"({"x": {"workspace": ")" + one + R"(", "commit": ")" + c +
                     R"("}, "y": {"workspace": ")" + two + R"(", "commit": ")" + a + R"("}})";
  REQUIRE(writer->put_workflow(workflow));
  CHECK(commits(one) == std::vector<std::string>{b, c});
  CHECK(commits(two) == std::vector<std::string>{a, c});
  CHECK(writer->commits("bob", one)->empty());
  REQUIRE(writer->delete_workflow("ada", 1));
  CHECK(commits(one) == std::vector<std::string>{b});
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
  // As that program would have left it: a page's last 8 bytes are its sum.
  auto file = base::read_file(folder.database());
  REQUIRE(file);
  std::uint64_t sum = base::checksum({file->data(), 4088}) ^ 1;
  std::memcpy(file->data() + 4088, &sum, 8);
  REQUIRE(base::write_file(folder.database(), *file));
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

TEST_CASE("uploads and links are kept by owner and name") {
  Folder folder;
  auto writer = Writer::open(folder.database());
  REQUIRE(writer);
  UploadRecord upload{"ada", "data", "folder", "s1", 10, 2, 0755, 5, 7, "ada"};
  REQUIRE(writer->put_upload(upload));
  upload.owner = "bob";
  upload.node = "s2";
  REQUIRE(writer->put_upload(upload));
  upload.owner = "ada";
  upload.name = "more";
  REQUIRE(writer->put_upload(upload));
  CHECK(writer->find_upload("ada", "data").value()->node == "s1");
  upload.name = "data";
  upload.node = "s3";
  REQUIRE(writer->put_upload(upload));
  auto found = writer->find_upload("ada", "data").value();
  REQUIRE(found);
  CHECK(found->node == "s3");
  CHECK(found->mode == 0755);
  CHECK(found->modified_us == 5);
  CHECK(found->created_us == 7);
  CHECK(writer->uploads("ada", "", 10)->size() == 2);
  CHECK(writer->uploads("ada", "", 1)->front().name == "data");
  CHECK(writer->uploads("ada", "data", 10)->front().name == "more");
  REQUIRE(writer->delete_upload("ada", "data"));
  CHECK_FALSE(writer->find_upload("ada", "data").value());
  CHECK(writer->find_upload("bob", "data").value()->node == "s2");

  REQUIRE(writer->put_link("ada", {"d", "runs/1", 3, ""}));
  REQUIRE(writer->put_link("ada", {"d", "runs/2", 4, ""}));
  REQUIRE(writer->links("ada")->size() == 1);
  CHECK(writer->find_link("ada", "d").value()->resource == "runs/2");
  CHECK_FALSE(writer->find_link("bob", "d").value());
  REQUIRE(writer->delete_link("ada", "d"));
  CHECK(writer->links("ada")->empty());
}

TEST_CASE("data of version 1 is brought to this version, a copy stays beside it") {
  Folder folder;
  auto golden = base::read_file(SPELL_SOURCE_DIR "/tests/unit/store/data/v1.sql");
  REQUIRE(golden);
  sqlite3* db = nullptr;
  REQUIRE(sqlite3_open(folder.database().c_str(), &db) == SQLITE_OK);
  REQUIRE(sqlite3_exec(db, golden->c_str(), nullptr, nullptr, nullptr) == SQLITE_OK);
  sqlite3_close(db);
  auto writer = Writer::open(folder.database());
  REQUIRE(writer);
  CHECK(writer->incarnation() == "44664cfa13378c4e8d5ece1f17f3eefc");
  auto run = writer->find_run("ada", 1);
  REQUIRE(run);
  REQUIRE(*run);
  CHECK((*run)->exit_code == 3);
  CHECK((*run)->output_files == 1);
  CHECK((*run)->mounts.empty());
  CHECK(split_labels((*run)->labels) == std::vector<std::string>{"kept"});
  CHECK((*run)->request.env.at("A") == "1");
  CHECK(writer->runs_with_outputs("ada", 0, 10)->size() == 1);
  CHECK(writer->events((*run)->id, 0)->size() == 10);
  CHECK(writer->last_number("ada").value() == 2);
  auto project = writer->find_project("ada", "paper").value();
  REQUIRE(project);
  CHECK(project->runs == 1);
  CHECK(project->keep_days == 0);
  CHECK(writer->uploads("ada", "", 10)->empty());
  CHECK(writer->links("ada")->empty());

  // The copy is the old data, whole, for the older program.
  std::string copy;
  for (auto& entry : std::filesystem::directory_iterator(folder.path))
    if (entry.path().string().find(".v1-") != std::string::npos) copy = entry.path();
  REQUIRE_FALSE(copy.empty());
  REQUIRE(sqlite3_open(copy.c_str(), &db) == SQLITE_OK);
  int version = 0;
  auto read = [](void* out, int, char** values, char**) {
    return *static_cast<int*>(out) = std::atoi(values[0]), 0;
  };
  REQUIRE(sqlite3_exec(db, "PRAGMA user_version", read, &version, nullptr) == SQLITE_OK);
  CHECK(version == 1);
  int runs = 0;
  REQUIRE(sqlite3_exec(db, "SELECT count(*) FROM run", read, &runs, nullptr) == SQLITE_OK);
  CHECK(runs == 2);
  sqlite3_close(db);

  // New members are written too.
  auto changed = **run;
  changed.mounts = R"([{"node":"s1"}])";
  REQUIRE(writer->update_run(changed));
  CHECK(writer->find_run("ada", 1).value()->mounts == changed.mounts);
  project->keep_days = 7;
  project->keep_runs = 3;
  REQUIRE(writer->put_project("ada", "paper", *project));
  CHECK(writer->find_project("ada", "paper").value()->keep_days == 7);
  CHECK(writer->find_project("ada", "paper").value()->keep_runs == 3);
}

TEST_CASE("roots are outputs, uploads, and mounts of runs that have not ended") {
  Folder folder;
  auto writer = Writer::open(folder.database());
  REQUIRE(writer);
  for (int i = 1; i <= 4; ++i) {
    auto run = sample(i);
    if (i == 1)
      run.status = "complete", run.outputs = "s-out", run.mounts = R"([{"node":"s-old"}])";
    if (i == 2) run.mounts = R"([{"node":"s-a","at":"/x"},{"node":"","run":1},{"node":"s-b"}])";
    REQUIRE(writer->insert_run(run));
  }
  REQUIRE(writer->put_upload({"ada", "data", "folder", "s-data", 1, 1, 0, 0, 0, "ada"}));
  REQUIRE(writer->put_upload({"public", "data", "folder", "s-public", 1, 1, 0, 0, 0, "ada"}));
  REQUIRE(writer->put_upload({"ada", "empty", "file", "", 0, 1, 0, 0, 0, "ada"}));
  auto roots = writer->roots();
  REQUIRE(roots);
  std::map<std::string, std::string> found;
  for (auto& root : *roots) found[root.node] = root.resource;
  CHECK(found == std::map<std::string, std::string>{{"s-out", "runs/1"},
                                                    {"s-data", "uploads/data"},
                                                    {"s-public", "public/data"},
                                                    {"s-a", ""},
                                                    {"s-b", ""}});
  auto run = *writer->find_run("ada", 3).value();
  run.mounts = "nonsense";
  REQUIRE(writer->update_run(run));
  CHECK(writer->roots().error().code() == "damaged");
}

TEST_CASE("projects keep runs by age and by count, labelled ones and unfinished ones for good") {
  Folder folder;
  auto writer = Writer::open(folder.database());
  REQUIRE(writer);
  constexpr std::int64_t day = 86'400'000'000, now = 100 * day;
  REQUIRE(writer->put_project("ada", "p", {}));
  REQUIRE(writer->put_project("ada", "q", {}));
  for (int i = 1; i <= 8; ++i) {
    auto run = sample(i);
    run.labels = i == 2 ? join_labels({"best"}) : "";
    run.status = i == 3 ? "running" : "failed";
    run.ended_us = (90 + i) * day;
    if (i == 8) run.project = "q";
    if (i == 7) run.project = "";
    REQUIRE(writer->insert_run(run));
  }
  auto expired = [&] {
    std::vector<std::int64_t> out;
    auto found = writer->expired_runs(now);
    REQUIRE(found);
    for (auto& [owner, number] : *found) out.push_back(number);
    std::sort(out.begin(), out.end());
    return out;
  };
  CHECK(expired().empty());
  CHECK_FALSE(writer->projects_keep().value());
  CHECK(writer->next_expiry_us(now).value() == 0);
  ProjectRecord project;
  project.keep_days = 6;
  REQUIRE(writer->put_project("ada", "p", project));
  CHECK(writer->projects_keep().value());
  CHECK(expired() == std::vector<std::int64_t>{1});
  CHECK(writer->next_expiry_us(now).value() == (95 + 6) * day);
  project.keep_days = 0;
  project.keep_runs = 2;
  REQUIRE(writer->put_project("ada", "p", project));
  CHECK(expired() == std::vector<std::int64_t>{1, 4});
  project.keep_runs = 100;
  REQUIRE(writer->put_project("ada", "p", project));
  CHECK(expired().empty());
}

TEST_CASE("notes and the lengths of logs are kept; a whole database has nothing to complain of") {
  Folder folder;
  auto writer = Writer::open(folder.database());
  REQUIRE(writer);
  CHECK(writer->note("x").value() == 0);
  REQUIRE(writer->set_note("x", 1'700'000'000'000'000));
  CHECK(writer->note("x").value() == 1'700'000'000'000'000);
  auto run = sample(1);
  run.status = "complete";
  run.log_bytes = 77;
  REQUIRE(writer->insert_run(run));
  REQUIRE(writer->insert_run(sample(2)));
  auto lengths = writer->log_lengths();
  REQUIRE(lengths);
  REQUIRE(lengths->size() == 1);
  CHECK(lengths->front().first.number == 1);
  CHECK(lengths->front().second == 77);
  auto living = writer->living_runs().value();
  REQUIRE(living.size() == 1);
  CHECK(living[0].second == 1'000'002);
  CHECK(writer->has_run(run.id).value());
  CHECK_FALSE(writer->has_run(std::string(32, 'f')).value());
  CHECK(writer->check()->damaged.empty());
  REQUIRE(writer->save_space(true));
  REQUIRE(writer->set_note("x", 2));
  REQUIRE(writer->save_space(false));
  CHECK(writer->note("x").value() == 2);
}
