// The database when a call fails, and when the power goes, at any step of what is written: all that
// was answered is there, and nothing needs a hand. SQLite's own calls pass through here: this
// program's fsync, fdatasync, rename, link, unlink and ftruncate stand before those of the C
// library.
#include <unistd.h>

#include "../disk_calls.hpp"
#include "base/error.hpp"
#include "base/file.hpp"
#include "base/hash.hpp"
#include "catch.hpp"
#include "store/store.hpp"

using namespace spell;
using namespace spell::store;
namespace fs = std::filesystem;

using fault::failed;
using fault::next;

namespace {
bool no_links = false;
}  // namespace

extern "C" {
int rename(const char* from, const char* to) noexcept {
  disk.losing(to);
  return disk.step(to) ? next<int(const char*, const char*)>("rename")(from, to) : failed();
}
int link(const char* from, const char* to) noexcept {
  if (no_links) {
    errno = EPERM;
    return -1;
  }
  return disk.step(to) ? next<int(const char*, const char*)>("link")(from, to) : failed();
}
}

namespace {

struct Folder {
  std::string path = "/tmp/spell-power-" + base::hex(base::random_bytes(6));
  Folder() { REQUIRE(base::make_folders(path)); }
  ~Folder() {
    disk.folder.clear();
    (void)base::remove_tree(path);
  }
  std::string database() const { return path + "/spell.db"; }
};

Result<> add_run(Writer& writer, std::int64_t number) {
  RunRecord run;
  run.id = std::string(20, 'a') + std::to_string(100'000'000'000 + number);
  run.owner = "ada";
  run.number = number;
  run.creator = "ada";
  run.request.command = "echo " + std::string(2000, 'x');
  auto all = [&]() -> Result<> {
    SPELL_TRY(writer.begin());
    SPELL_TRY(writer.insert_run(run));
    SPELL_TRY(writer.add_event(run.id, {1, 5, "running", "", true, false, 0}));
    SPELL_TRY(writer.set_last_number("ada", number));
    return writer.commit();
  };
  auto done = all();
  if (!done) writer.rollback();
  return done;
}

/// Writes until a step fails; returns how many runs were answered.
std::int64_t work(const std::string& database, std::int64_t from) {
  auto writer = Writer::open(database);
  if (!writer) return from;
  // Its log is copied back every few transactions.
  if (!writer->save_space(true)) return from;
  for (std::int64_t number = from + 1; number <= from + 14; ++number)
    if (!add_run(*writer, number)) return number - 1;
  return from + 14;
}

std::int64_t runs_of(Writer& writer) {
  RunQuery query;
  query.owner = "ada";
  query.limit = 1000;
  auto runs = writer.list_runs(query);
  REQUIRE(runs);
  for (auto& run : *runs) REQUIRE(run.request.command.size() == 2005);
  REQUIRE(writer.check()->damaged.empty());
  REQUIRE(writer.last_number("ada").value() == static_cast<std::int64_t>(runs->size()));
  return static_cast<std::int64_t>(runs->size());
}

}  // namespace

TEST_CASE("power that goes at any step of writing takes nothing that was answered") {
  for (unsigned kind = 0; kind < 4; ++kind) {
    INFO("kind " << kind);
    bool through = false;
    int at = 1;
    for (; !through; ++at) {
      INFO("step " << at);
      Folder folder;
      std::int64_t answered = 0;
      // From nothing, or on what is there.
      if (at % 2) {
        answered = work(folder.database(), 0);
        REQUIRE(answered == 14);
      }
      disk.watch(folder.path);
      disk.steps = 0;
      disk.fail_at = at / 2 + 1;
      answered = work(folder.database(), answered);
      through = !disk.dead && at > 1;
      disk.come_back(kind % 2, kind < 2 ? 0 : kind * 1000 + static_cast<unsigned>(at));
      auto writer = Writer::open(folder.database());
      if (!writer) FAIL(writer.error().message());
      std::int64_t there = runs_of(*writer);
      // One that was not answered may be there, too.
      REQUIRE((there == answered || there == answered + 1));
      REQUIRE(add_run(*writer, there + 1));
      REQUIRE(runs_of(*writer) == there + 1);
    }
    CHECK(at > 40);
  }
}

TEST_CASE("a call that fails once while the database is written loses nothing") {
  bool through = false;
  int at = 1;
  for (; !through; ++at) {
    INFO("step " << at);
    Folder folder;
    disk.watch(folder.path);
    disk.steps = 0;
    disk.fail_at = at;
    disk.only_once = true;
    std::int64_t answered = work(folder.database(), 0);
    through = disk.steps < at;
    disk.folder.clear();
    disk.only_once = false;
    auto writer = Writer::open(folder.database());
    if (!writer) FAIL(writer.error().message());
    std::int64_t there = runs_of(*writer);
    REQUIRE((there == answered || there == answered + 1));
  }
  CHECK(at > 20);
}

TEST_CASE(
    "power that goes at any step of taking over an older database leaves it, or the new one") {
  std::string golden = SPELL_SOURCE_DIR "/tests/golden/v5/data/spell.db";
  for (unsigned kind = 0; kind < 8; ++kind) {
    INFO("kind " << kind);
    no_links = kind >= 4;  // as on some file systems: a copy stays
    bool through = false;
    int at = 1;
    for (; !through; ++at) {
      INFO("step " << at);
      Folder folder;
      fs::copy_file(golden, folder.database());
      disk.watch(folder.path);
      disk.steps = 0;
      disk.fail_at = at;
      through = Writer::open(folder.database()).ok() && !disk.dead;
      disk.come_back(kind % 2, kind % 4 < 2 ? 0 : kind * 1000 + static_cast<unsigned>(at));
      {
        auto writer = Writer::open(folder.database());
        if (!writer) FAIL(writer.error().message());
        REQUIRE(writer->check()->damaged.empty());
        REQUIRE(writer->count_runs().value() >= 5);
      }
      int copies = 0;
      for (auto& entry : fs::directory_iterator(folder.path)) {
        std::string name = entry.path().filename();
        REQUIRE(name != "spell.db.new");
        copies += name.starts_with("spell.db.v5-");
      }
      REQUIRE(copies >= 1);
      REQUIRE(copies <= 2);
    }
    CHECK(at > 8);
  }
  no_links = false;
}
