// A bit that is wrong on the disk: found, and never returned as data.
#include <sqlite3.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <random>

#include "base/file.hpp"
#include "base/hash.hpp"
#include "catch.hpp"
#include "store/store.hpp"

using namespace spell;
using namespace spell::store;

namespace {

constexpr std::size_t page_size = 4096, frame_size = 4096 + 24, log_header = 32;

struct Folder {
  std::string path = "/tmp/spell-damage-" + base::hex(base::random_bytes(6));
  Folder() { REQUIRE(base::make_folders(path)); }
  ~Folder() { (void)base::remove_tree(path); }
  std::string database() const { return path + "/spell.db"; }
};

/// The files of a database as they stand on the disk.
struct Files {
  std::string database, log, synced;

  static Files of(const Folder& folder) {
    auto text = [&](const char* end) {
      auto read = base::read_file(folder.database() + end);
      return read ? *read : std::string();
    };
    return {text(""), text("-wal"), text("-synced")};
  }
  void put(const Folder& folder) const {
    auto put = [&](const char* end, const std::string& bytes) {
      std::string path = folder.database() + end;
      ::unlink(path.c_str());
      if (!bytes.empty()) REQUIRE(base::write_file(path, bytes, 0600, false));
    };
    put("", database);
    put("-wal", log);
    put("-synced", synced);
    ::unlink((folder.database() + "-shm").c_str());
  }
};

RunRecord sample(std::int64_t number) {
  RunRecord run;
  run.id = std::string(20, 'a') + std::to_string(100'000'000'000 + number);
  run.owner = "ada";
  run.number = number;
  run.created_us = 1'000'000 + number;
  run.creator = "ada";
  run.request.command = "echo " + std::string(static_cast<std::size_t>(number % 7) * 90, 'x');
  run.labels = join_labels({"x", "y"});
  run.project = "p";
  run.identity = "i" + std::to_string(number);
  return run;
}

void add_run(Writer& writer, std::int64_t number) {
  auto run = sample(number);
  REQUIRE(writer.begin());
  REQUIRE(writer.insert_run(run));
  REQUIRE(writer.add_event(run.id, {1, 5, "machine_requested", "Run created", true, false, 0}));
  REQUIRE(writer.put_key("ada", "k" + std::to_string(number), {run.id, "hash", 7}));
  REQUIRE(writer.set_last_number("ada", number));
  REQUIRE(writer.commit());
}

/// All that it says of its runs; the error if anything cannot be read.
Result<std::string> content(Reader& reader, std::size_t* runs = nullptr) {
  std::string out;
  RunQuery query;
  query.owner = "ada";
  query.limit = 10'000;
  query.archived = true;
  auto list = reader.list_runs(query);
  if (!list) return list.error();
  for (auto& run : *list) {
    out += run.id + run.status + run.request.command + run.labels + run.project + run.identity +
           std::to_string(run.created_us) + "\n";
    auto events = reader.events(run.id, 0);
    if (!events) return events.error();
    for (auto& event : *events) out += event.text + event.status + std::to_string(event.time_us);
  }
  if (runs) *runs = list->size();
  return out;
}

std::string with_bit(std::string bytes, std::size_t at, unsigned bit) {
  bytes[at] = static_cast<char>(bytes[at] ^ (1 << bit));
  return bytes;
}

void write_at(const std::string& path, std::size_t at, char byte) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(static_cast<std::streamoff>(at));
  file.put(byte);
  REQUIRE(file.flush());
}

/// A database of one file.
Files closed_database(std::int64_t runs) {
  Folder folder;
  {
    auto writer = Writer::open(folder.database());
    REQUIRE(writer);
    for (std::int64_t number = 1; number <= runs; ++number) add_run(*writer, number);
    REQUIRE(writer->delete_run(sample(runs).id));
  }
  auto files = Files::of(folder);
  CHECK(files.log.empty());
  CHECK(files.synced.empty());
  return files;
}

/// As a kill leaves it: all of it stands in the log.
Files killed_database(std::int64_t runs) {
  Folder folder;
  auto writer = Writer::open(folder.database());
  REQUIRE(writer);
  REQUIRE(writer->save_space(true));
  REQUIRE(writer->save_space(false));
  for (std::int64_t number = 1; number <= runs; ++number) add_run(*writer, number);
  return Files::of(folder);
}

}  // namespace

TEST_CASE("a flipped bit in any page of the database is found, and never returned as data") {
  auto files = closed_database(120);
  Folder folder;
  files.put(folder);
  std::string whole;
  {
    auto writer = Writer::open(folder.database());
    REQUIRE(writer);
    whole = content(*writer).value();
    auto checked = writer->check();
    REQUIRE(checked);
    CHECK(checked->damaged.empty());
    CHECK(checked->pages == static_cast<std::int64_t>(files.database.size() / page_size));
  }
  REQUIRE(files.database.size() > 30 * page_size);
  std::mt19937 random(7);
  std::vector<std::pair<std::size_t, unsigned>> flips;
  for (std::size_t at = 0; at < 100; ++at)  // what SQLite calls the header
    for (unsigned bit = 0; bit < 8; bit += at >= 16 && at < 24 ? 1 : 5)
      flips.emplace_back(at, (bit + at) % 8);
  for (unsigned bit = 0; bit < 32; ++bit) flips.emplace_back(60 + bit / 8, bit % 8);
  for (std::size_t page = 0; page < files.database.size(); page += page_size) {
    for (std::size_t at : {0UL, 5UL, page_size - 9, page_size - 8, page_size - 1})
      flips.emplace_back(page + at, random() % 8);
    for (int i = 0; i < 5; ++i) flips.emplace_back(page + random() % page_size, random() % 8);
  }
  std::size_t refused = 0, told = 0;
  for (auto [at, bit] : flips) {
    INFO("byte " << at << ", bit " << bit);
    write_at(folder.database(), at, with_bit(files.database, at, bit)[at]);
    {
      auto writer = Writer::open(folder.database());
      if (!writer) {
        ++refused;
        REQUIRE(writer.error().code() == "damaged");
        CHECK(writer.error().message().find(folder.database()) != std::string::npos);
        CHECK(writer.error().message().find("spelld restore") != std::string::npos);
      } else {
        auto read = content(*writer);
        if (read)
          REQUIRE(*read == whole);
        else
          REQUIRE(read.error().code() == "damaged");
        auto checked = writer->check();
        REQUIRE(checked);
        REQUIRE_FALSE(checked->damaged.empty());
        ++told;
      }
    }
    write_at(folder.database(), at, files.database[at]);
    REQUIRE(Files::of(folder).database == files.database);
  }
  CHECK(refused > 100);
  CHECK(told > 200);
}

TEST_CASE("a check names the tables and runs that a damaged page hurts") {
  auto files = closed_database(120);
  Folder folder;
  auto at = files.database.find("\"echo " + std::string(540, 'x'));
  REQUIRE(at != std::string::npos);
  files.database[at + 9] = 'X';
  files.put(folder);
  auto reader = Reader::open(folder.database());
  REQUIRE(reader);
  auto checked = reader->check();
  REQUIRE(checked);
  REQUIRE(checked->damaged.size() == 1);
  CHECK(checked->damaged[0].find("page " + std::to_string(at / page_size + 1)) !=
        std::string::npos);
  CHECK(checked->damaged[0].find("table run") != std::string::npos);
  REQUIRE_FALSE(checked->hurt.empty());
  CHECK(checked->hurt.size() < 20);
  for (auto& run : checked->hurt) {
    auto found = reader->find_run("ada", run.number);
    REQUIRE_FALSE(found);
    CHECK(found.error().code() == "damaged");
  }
  // The others are there.
  std::size_t sound = 0;
  for (std::int64_t number = 1; number < 120; ++number)
    if (auto run = reader->find_run("ada", number); run && *run) ++sound;
  CHECK(sound == 119 - checked->hurt.size());
}

TEST_CASE("a flipped bit in the log of a service that was killed is found, nothing is dropped") {
  auto files = killed_database(25);
  REQUIRE(files.log.size() > log_header + 40 * frame_size);
  Folder folder;
  files.put(folder);
  {
    auto writer = Writer::open(folder.database());
    REQUIRE(writer);
    std::size_t runs = 0;
    REQUIRE(content(*writer, &runs));
    CHECK(runs == 25);
    CHECK(writer->check()->damaged.empty());
  }
  std::mt19937 random(8);
  std::vector<std::size_t> places;
  for (std::size_t at = 0; at < log_header; ++at) places.push_back(at);
  for (std::size_t at = log_header; at < files.log.size(); at += frame_size) {
    for (std::size_t i = 0; i < 24; i += 1 + random() % 4) places.push_back(at + i);
    for (int i = 0; i < 3; ++i) places.push_back(at + 24 + random() % page_size);
  }
  for (auto at : places) {
    INFO("byte " << at);
    auto flipped = files;
    flipped.log = with_bit(files.log, at, random() % 8);
    flipped.put(folder);
    auto writer = Writer::open(folder.database());
    REQUIRE_FALSE(writer);
    REQUIRE(writer.error().code() == "damaged");
    REQUIRE(Files::of(folder).log == flipped.log);  // and nothing was changed
  }
  // The note of how far the log is on the disk is a help, which may be lost or wrong.
  for (std::size_t at = 0; at < files.synced.size(); ++at) {
    auto flipped = files;
    flipped.synced = with_bit(files.synced, at, random() % 8);
    flipped.put(folder);
    auto writer = Writer::open(folder.database());
    REQUIRE(writer);
    std::size_t runs = 0;
    REQUIRE(content(*writer, &runs));
    CHECK(runs == 25);
  }
}

TEST_CASE("without its note a log that lost all but its last transaction is still found damaged") {
  auto files = killed_database(25);
  files.synced.clear();
  Folder folder;
  // Where each transaction ends: its last frame says so.
  std::vector<std::size_t> ends;
  for (std::size_t at = log_header; at < files.log.size(); at += frame_size)
    if (files.log.substr(at + 4, 4) != std::string(4, '\0')) ends.push_back(at + frame_size);
  REQUIRE(ends.size() >= 25);
  std::mt19937 random(9);
  for (std::size_t at = log_header; at < files.log.size(); at += frame_size / 3) {
    INFO("byte " << at);
    auto flipped = files;
    flipped.log = with_bit(files.log, at, random() % 8);
    flipped.put(folder);
    auto writer = Writer::open(folder.database());
    if (at < ends[ends.size() - 2]) {
      REQUIRE_FALSE(writer);
      REQUIRE(writer.error().code() == "damaged");
    } else {
      // Cannot be told from what a loss of power left of a transaction that nobody was answered.
      REQUIRE(writer);
      std::size_t runs = 0;
      REQUIRE(content(*writer, &runs));
      REQUIRE(runs >= 24);
    }
  }
}

TEST_CASE("what a loss of power left of the last transaction needs no hand") {
  // The power fails while one more run is written: of what was not synced each sector may be there
  // or not, and the service goes on from that; again and again.
  for (unsigned seed = 1; seed <= 60; ++seed) {
    INFO("seed " << seed);
    std::mt19937 random(seed);
    Folder folder, disk;
    std::int64_t answered = 0, next = 1;
    for (int round = 0; round < 3; ++round) {
      Files before, after;
      {
        auto writer = Writer::open(folder.database());
        REQUIRE(writer);
        for (unsigned i = random() % 4; i > 0; --i) add_run(*writer, next++), ++answered;
        before = Files::of(folder);
        if (random() % 3 == 0) {  // one that is taken back, larger than the next
          REQUIRE(writer->begin());
          for (std::int64_t n = 0; n < 20; ++n)
            REQUIRE(writer->insert_run(sample(1000 * (round + 1) + n)));
          writer->rollback();
        }
        add_run(*writer, next++);
        after = Files::of(folder);
      }
      constexpr std::size_t sector = 512;
      std::string log = before.log;
      log.resize(std::max(before.log.size(), after.log.size()));
      for (std::size_t at = 0; at < after.log.size(); at += sector)
        if (random() % 2) log.replace(at, sector, after.log, at, sector);
      log.resize(std::max<std::size_t>(before.log.size(),
                                       random() % 4 ? log.size() : random() % (log.size() + 1)));
      Files{after.database, log, random() % 2 ? before.synced : ""}.put(folder);
      auto writer = Writer::open(folder.database());
      REQUIRE(writer);
      std::size_t runs = 0;
      REQUIRE(content(*writer, &runs));
      auto there = static_cast<std::int64_t>(runs);
      REQUIRE((there == answered || there == answered + 1));
      CHECK(writer->check()->damaged.empty());
      answered = there;
    }
  }
}

TEST_CASE("a bit that flips under a running service is found when it is read, and by a check") {
  Folder folder;
  auto writer = Writer::open(folder.database());
  REQUIRE(writer);
  for (std::int64_t number = 1; number <= 30; ++number) add_run(*writer, number);
  auto text = "\"echo " + std::string(540, 'x');
  bool in_log = false;
  SECTION("in the log") { in_log = true; }
  SECTION("in the database") { REQUIRE(writer->save_space(true)); }
  CHECK(writer->check()->damaged.empty());
  auto files = Files::of(folder);
  auto& bytes = in_log ? files.log : files.database;
  auto at = bytes.rfind(text);
  REQUIRE(at != std::string::npos);
  write_at(folder.database() + (in_log ? "-wal" : ""), at + 20, 'y');
  auto reader = Reader::open(folder.database());
  REQUIRE(reader);
  auto read = content(*reader);
  REQUIRE_FALSE(read);
  CHECK(read.error().code() == "damaged");
  auto checked = reader->check();
  REQUIRE(checked);
  REQUIRE_FALSE(checked->damaged.empty());
  CHECK(checked->damaged[0].find(folder.database()) != std::string::npos);
  // Where it goes to the database it does not become right.
  if (in_log) {
    CHECK_FALSE(writer->save_space(true));
    auto again = content(*reader);
    REQUIRE_FALSE(again);
    CHECK(again.error().code() == "damaged");
  }
}

TEST_CASE("other programs can read the database; what they write counts as damage") {
  Folder folder;
  closed_database(5).put(folder);
  sqlite3* db = nullptr;
  REQUIRE(sqlite3_open(folder.database().c_str(), &db) == SQLITE_OK);
  std::string runs;
  auto note = [](void* to, int, char** values, char**) {
    *static_cast<std::string*>(to) = values[0];
    return 0;
  };
  REQUIRE(sqlite3_exec(db, "SELECT count(*) FROM run", note, &runs, nullptr) == SQLITE_OK);
  CHECK(runs == "4");
  CHECK(Writer::open(folder.database()));
  REQUIRE(sqlite3_exec(db, "UPDATE run SET creator = 'eve'", nullptr, nullptr, nullptr) ==
          SQLITE_OK);
  sqlite3_close(db);
  auto reader = Reader::open(folder.database());
  REQUIRE(reader);
  auto read = content(*reader);
  REQUIRE_FALSE(read);
  CHECK(read.error().code() == "damaged");
}

TEST_CASE("a copy of the database is checked as the database is") {
  Folder folder;
  auto writer = Writer::open(folder.database());
  REQUIRE(writer);
  for (std::int64_t number = 1; number <= 30; ++number) add_run(*writer, number);
  std::string copy = folder.path + "/copy.db";
  REQUIRE(writer->copy_to(copy));
  auto reader = Reader::open(copy);
  REQUIRE(reader);
  CHECK(content(*reader).value() == content(*writer).value());
  CHECK(reader->check()->damaged.empty());
  auto at = base::read_file(copy).value().find("\"echo " + std::string(540, 'x'));
  REQUIRE(at != std::string::npos);
  write_at(copy, at + 20, 'y');
  auto other = Reader::open(copy);
  REQUIRE(other);
  CHECK_FALSE(content(*other));
}

TEST_CASE("a transaction that met damage writes nothing, whatever follows in it") {
  Folder folder;
  auto writer = Writer::open(folder.database());
  REQUIRE(writer);
  for (std::int64_t number = 1; number <= 30; ++number) add_run(*writer, number);
  REQUIRE(writer->save_space(true));
  auto at = Files::of(folder).database.rfind("\"echo " + std::string(540, 'x'));
  REQUIRE(at != std::string::npos);
  write_at(folder.database(), at + 20, 'y');
  auto fresh = Writer::open(folder.database());  // has no page in its memory
  REQUIRE(fresh);
  REQUIRE(fresh->begin());
  REQUIRE(fresh->set_note("before", 1));
  CHECK_FALSE(content(*fresh));
  CHECK_FALSE(fresh->set_note("behind", 1));
  auto committed = fresh->commit();
  REQUIRE_FALSE(committed);
  CHECK(committed.error().code() == "damaged");
  fresh->rollback();
  REQUIRE(fresh->begin());
  REQUIRE(fresh->set_note("next", 1));
  REQUIRE(fresh->commit());
  CHECK(fresh->note("before").value() == 0);
  CHECK(fresh->note("behind").value() == 0);
  CHECK(fresh->note("next").value() == 1);
}
