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
#include "folder.hpp"
#include "store/store.hpp"

using namespace spell;
using namespace spell::store;

namespace {

constexpr std::size_t page_size = 4096, frame_size = 4096 + 24, log_header = 32;

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

RunRecord small_run(std::int64_t number) {
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
  auto run = small_run(number);
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
    REQUIRE(writer->delete_run(small_run(runs).id));
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

TEST_CASE("without its note a log is read as far as it is whole") {
  auto files = killed_database(25);
  files.synced.clear();
  Folder folder;
  std::mt19937 random(9);
  std::size_t fewest = 25;
  for (std::size_t at = log_header; at < files.log.size(); at += frame_size * 2 / 3) {
    INFO("byte " << at);
    auto flipped = files;
    flipped.log = with_bit(files.log, at, random() % 8);
    flipped.put(folder);
    auto writer = Writer::open(folder.database());
    REQUIRE(writer);
    std::size_t runs = 0;
    REQUIRE(content(*writer, &runs));
    REQUIRE(writer->last_number("ada").value() == static_cast<std::int64_t>(runs));
    REQUIRE(writer->check()->damaged.empty());
    fewest = std::min(fewest, runs);
  }
  CHECK(fewest == 0);
}

TEST_CASE("a damaged log is accepted as far as it is whole, where that is asked for") {
  auto files = killed_database(25);
  Folder folder;
  files.put(folder);
  CHECK_FALSE(accept_log(folder.database()).value());  // nothing is wrong with it
  CHECK(Files::of(folder).log == files.log);
  std::size_t expected = 0;
  SECTION("damaged in the middle") {
    files.log = with_bit(files.log, log_header + files.log.size() / 2, 3);
    expected = 5;
  }
  SECTION("damaged at its beginning") { files.log = with_bit(files.log, 17, 3); }
  SECTION("its header is gone") { files.log.replace(0, log_header, log_header, '\0'); }
  files.put(folder);
  auto refused = Writer::open(folder.database());
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == "damaged");
  CHECK(refused.error().message().find("spelld fsck --accept-log") != std::string::npos);
  auto accepted = accept_log(folder.database());
  REQUIRE(accepted);
  REQUIRE(*accepted);
  CHECK((*accepted)->lost > 0);
  CHECK(base::read_file((*accepted)->kept).value() == files.log);
  CHECK_FALSE(accept_log(folder.database()).value());
  auto writer = Writer::open(folder.database());
  REQUIRE(writer);
  std::size_t runs = 0;
  REQUIRE(content(*writer, &runs));
  CHECK(runs >= expected);
  CHECK(runs < 25);
  CHECK(writer->check()->damaged.empty());
  add_run(*writer, 1000);
}

TEST_CASE("a log without its database is kept, and one that was only begun is none") {
  auto files = killed_database(5);
  Folder folder;
  auto alone = files;
  alone.database.clear();
  alone.put(folder);
  SECTION("the database is missing") {}
  SECTION("the database is empty") {
    REQUIRE(base::write_file(folder.database(), "", 0600, false));
  }
  auto refused = Writer::open(folder.database());
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == "damaged");
  CHECK(Files::of(folder).log == files.log);
  auto begun = files;
  begun.log.assign(3 * page_size, '\0');
  begun.put(folder);
  CHECK(Writer::open(folder.database()));
}

TEST_CASE("a page that is all zero, and one that was cut off, is damage") {
  auto files = closed_database(60);
  Folder folder;
  auto is_found = [&] {
    auto writer = Writer::open(folder.database());
    if (!writer) {
      CHECK(writer.error().code() == "damaged");
      return;
    }
    CHECK_FALSE(writer->check()->damaged.empty());
    auto read = content(*writer);
    if (!read) CHECK(read.error().code() == "damaged");
  };
  for (std::size_t page = 0; page < files.database.size(); page += page_size) {
    INFO("page at " << page);
    auto zeroed = files;
    zeroed.database.replace(page, page_size, page_size, '\0');
    zeroed.put(folder);
    is_found();
  }
  for (std::size_t left : {1UL, 5UL, 20UL}) {
    auto cut = files;
    cut.database.resize(left * page_size);
    cut.put(folder);
    is_found();
  }
}

TEST_CASE("one damaged run refuses what needs it, and nothing else of a batch") {
  auto files = closed_database(120);
  auto at = files.database.find("\"echo " + std::string(540, 'x'));
  REQUIRE(at != std::string::npos);
  files.database[at + 9] = 'X';
  Folder folder;
  files.put(folder);
  auto writer = Writer::open(folder.database());
  REQUIRE(writer);
  std::int64_t hurt = writer->check()->hurt.at(0).number;
  REQUIRE(writer->begin());
  REQUIRE(writer->insert_run(small_run(1000)));
  auto read = writer->find_run("ada", hurt);
  REQUIRE_FALSE(read);
  CHECK(read.error().code() == "damaged");
  REQUIRE(writer->set_note("after", 7));
  REQUIRE(writer->commit());
  CHECK(writer->find_run("ada", 1000).value());
  CHECK(writer->note("after").value() == 7);
  // What was to change something and met damage may have done half of it: all is taken back.
  REQUIRE(writer->begin());
  REQUIRE(writer->set_note("before", 8));
  REQUIRE_FALSE(writer->update_run(small_run(hurt)));
  CHECK_FALSE(writer->set_note("after", 9));
  auto committed = writer->commit();
  REQUIRE_FALSE(committed);
  CHECK(committed.error().code() == "damaged");
  writer->rollback();
  CHECK(writer->note("before").value() == 0);
  CHECK(writer->note("after").value() == 7);
  REQUIRE(writer->begin());
  REQUIRE(writer->set_note("after", 10));
  REQUIRE(writer->commit());
  CHECK(writer->note("after").value() == 10);
}

namespace {

/// Writes of SQLite's to files of this ending fail after so many.
std::string failing;
int left = 0;

bool fails(int fd) {
  if (failing.empty()) return false;
  std::error_code none;
  auto path = std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(fd), none).string();
  if (!path.ends_with(failing) || left-- > 0) return false;
  errno = ENOSPC;
  return true;
}
ssize_t failing_pwrite(int fd, const void* from, std::size_t size, off_t at) {
  return fails(fd) ? -1 : ::pwrite(fd, from, size, at);
}
ssize_t failing_write(int fd, const void* from, std::size_t size) {
  return fails(fd) ? -1 : ::write(fd, from, size);
}

struct FailingWrites {
  FailingWrites() {
    set("pwrite", reinterpret_cast<sqlite3_syscall_ptr>(failing_pwrite));
    set("pwrite64", reinterpret_cast<sqlite3_syscall_ptr>(failing_pwrite));
    set("write", reinterpret_cast<sqlite3_syscall_ptr>(failing_write));
  }
  ~FailingWrites() {
    failing.clear();
    for (auto* name : {"pwrite", "pwrite64", "write"}) set(name, nullptr);
  }
  void set(const char* name, sqlite3_syscall_ptr to) {
    auto* vfs = sqlite3_vfs_find(nullptr);
    (void)vfs->xSetSystemCall(vfs, name, to);
  }
};

}  // namespace

TEST_CASE("a transaction that SQLite took back after its sync counts for nothing") {
  Folder folder, killed;
  FailingWrites writes;
  auto writer = Writer::open(folder.database());
  REQUIRE(writer);
  for (std::int64_t number = 1; number <= 3; ++number) add_run(*writer, number);
  auto before = Files::of(folder);
  // Its frames are on the disk when the index of the log cannot grow.
  auto large = small_run(4);
  large.request.command = std::string(18 << 20, 'x');
  failing = "-shm";
  REQUIRE(writer->begin());
  REQUIRE(writer->insert_run(large));
  auto committed = writer->commit();
  REQUIRE_FALSE(committed);
  CHECK(committed.error().code() == "disk_full");
  writer->rollback();
  REQUIRE(Files::of(folder).synced != before.synced);
  // The next one is cut off in the middle, where that one was.
  failing = "-wal";
  left = 3;
  REQUIRE(writer->begin());
  REQUIRE(writer->insert_run(small_run(5)));
  REQUIRE_FALSE(writer->commit());
  writer->rollback();
  failing.clear();
  Files::of(folder).put(killed);
  {
    auto again = Writer::open(killed.database());
    REQUIRE(again);
    std::size_t runs = 0;
    REQUIRE(content(*again, &runs));
    CHECK(runs == 3);
  }
  add_run(*writer, 6);
  Files::of(folder).put(killed);
  auto again = Writer::open(killed.database());
  REQUIRE(again);
  std::size_t runs = 0;
  REQUIRE(content(*again, &runs));
  CHECK(runs == 4);
}

TEST_CASE("a log that cannot be copied back is told of once, and changes go on") {
  Folder folder;
  auto writer = Writer::open(folder.database());
  REQUIRE(writer);
  REQUIRE(writer->save_space(true));
  add_run(*writer, 1);
  REQUIRE(Files::of(folder).log.size() > log_header + frame_size);
  auto log = Files::of(folder).log;
  REQUIRE(log.size() < log_header + 16 * frame_size);
  for (std::size_t at = log_header + 30; at < log.size(); at += frame_size)
    write_at(folder.database() + "-wal", at, static_cast<char>(log[at] ^ 4));
  // It is tried with 16 frames, and then with twice as many.
  auto frames = static_cast<std::int64_t>(log.size() / frame_size);
  int told = 0;
  for (std::int64_t number = frames; number < 26; ++number) {
    REQUIRE(writer->begin());
    REQUIRE(writer->set_note("n", number));
    REQUIRE(writer->commit());
    if (auto trouble = writer->take_trouble()) {
      CHECK(trouble->code() == "damaged");
      ++told;
    }
  }
  CHECK(told == 1);
}

TEST_CASE("the log of a killed service may be copied back by another program") {
  auto files = killed_database(25);
  Folder folder;
  files.put(folder);
  sqlite3* db = nullptr;
  REQUIRE(sqlite3_open(folder.database().c_str(), &db) == SQLITE_OK);
  REQUIRE(sqlite3_exec(db, "SELECT count(*) FROM run", nullptr, nullptr, nullptr) == SQLITE_OK);
  sqlite3_close(db);
  REQUIRE(Files::of(folder).log.empty());
  bool noted = true;
  SECTION("its note is there") {}
  SECTION("and its note is lost") {
    noted = false;
    ::unlink((folder.database() + "-synced").c_str());
  }
  {
    auto writer = Writer::open(folder.database());
    REQUIRE(writer);
    std::size_t runs = 0;
    REQUIRE(content(*writer, &runs));
    CHECK(runs == 25);
    CHECK(writer->check()->damaged.empty());
    for (std::int64_t number = 26; number <= 40; ++number) add_run(*writer, number);
  }
  auto writer = Writer::open(folder.database());
  REQUIRE(writer);
  CHECK(writer->check()->damaged.empty());
  if (!noted) return;
  // From then on they carry sums again.
  auto at = Files::of(folder).database.find("\"echo " + std::string(540, 'x'));
  REQUIRE(at != std::string::npos);
  write_at(folder.database(), at + 9, 'X');
  CHECK_FALSE(writer->check()->damaged.empty());
  auto reader = Reader::open(folder.database());
  CHECK(content(*reader).error().code() == "damaged");
}

TEST_CASE("a database that another program began, with nothing in it, is made anew") {
  Folder folder;
  sqlite3* db = nullptr;
  REQUIRE(sqlite3_open(folder.database().c_str(), &db) == SQLITE_OK);
  REQUIRE(sqlite3_exec(db, "PRAGMA journal_mode = WAL", nullptr, nullptr, nullptr) == SQLITE_OK);
  sqlite3_close(db);
  REQUIRE(Files::of(folder).database.size() == page_size);
  {
    auto writer = Writer::open(folder.database());
    REQUIRE(writer);
    add_run(*writer, 1);
  }
  CHECK(Files::of(folder).database[20] == 8);
  auto writer = Writer::open(folder.database());
  REQUIRE(writer);
  CHECK(writer->find_run("ada", 1).value());
  CHECK(writer->check()->damaged.empty());
}

TEST_CASE("an older database that was kept by a start that was killed is kept once") {
  Folder folder;
  std::filesystem::copy_file(SPELL_SOURCE_DIR "/tests/golden/v5/data/spell.db", folder.database());
  std::filesystem::create_hard_link(folder.database(), folder.database() + ".v5-01234567");
  REQUIRE(base::write_file(folder.database() + ".new", "half", 0600, false));
  {
    auto writer = Writer::open(folder.database());
    REQUIRE(writer);
    CHECK(writer->check()->damaged.empty());
  }
  std::vector<std::string> names;
  for (auto& entry : std::filesystem::directory_iterator(folder.path))
    names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  CHECK(names == std::vector<std::string>{"spell.db", "spell.db.v5-01234567"});
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
            REQUIRE(writer->insert_run(small_run(1000 * (round + 1) + n)));
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
      log.replace(0, log_header, after.log, 0, log_header);  // synced before any frame
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
