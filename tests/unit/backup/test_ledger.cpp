// What may stand in a backup, and when: the rules one by one, then random programs against a model
// that knows every version that was ever finished.
#include <algorithm>
#include <random>

#include "backup/ledger.hpp"
#include "catch.hpp"

using namespace spell;
using namespace spell::backup;

namespace {

constexpr Time s = 1'000 * ms;

/// A version of a file, in what stands for its content.
spellfs::Entry version(std::int64_t number) {
  spellfs::Entry entry;
  entry.mode = 0644;
  entry.mtime_ns = number;
  return entry;
}

struct Desk {
  Ledger ledger;
  Time now = 100 * s;
  std::map<std::string, std::int64_t> tree;  ///< path -> version
  explicit Desk(LedgerOptions options = {}) : ledger(std::move(options)) {}

  void wait(Time time) { now += time; }
  void close(const std::string& path) {
    ledger.written(path, now);
    ledger.finished(path, 10, now, Way::closed);
  }
  /// Captures all that is to be captured, as version `number`.
  int capture(std::int64_t number = 1) {
    int count = 0;
    for (; auto order = ledger.next(now); ++count) {
      ledger.begun(order->id, now);
      ledger.captured(order->id, version(number), {}, now);
    }
    return count;
  }
  bool cut() {
    auto cut = ledger.cut(now);
    if (!cut) return false;
    for (auto& [path, entry] : cut->changes) {
      if (entry)
        tree[path] = entry->mtime_ns;
      else
        tree.erase(path);
    }
    return true;
  }
  std::vector<std::string> names() const {
    std::vector<std::string> out;
    for (auto& [path, number] : tree) out.push_back(path);
    return out;
  }
};

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("a file gets in half a second after its close, not sooner") {
  Desk desk;
  desk.ledger.written("a", desk.now);
  CHECK_FALSE(desk.ledger.next(desk.now));
  desk.wait(5 * s);
  CHECK_FALSE(desk.ledger.next(desk.now));  // still open
  desk.ledger.finished("a", 10, desk.now, Way::closed);
  CHECK(desk.capture() == 1);
  desk.wait(499 * ms);
  CHECK_FALSE(desk.cut());
  CHECK(desk.ledger.wake_at() <= desk.now + 11 * ms);
  desk.wait(11 * ms);
  CHECK(desk.cut());
  CHECK(desk.names() == Names{"a"});
  CHECK_FALSE(desk.cut());
  CHECK_FALSE(desk.ledger.wake_at());  // only an event helps
}

TEST_CASE("what is open for writing is asked for again, then waited for") {
  Desk desk;
  desk.close("a");
  auto order = desk.ledger.next(desk.now);
  REQUIRE(order);
  int tries = 0;
  for (; order; ++tries) {
    desk.ledger.not_captured(order->id, Outcome::busy, desk.now);
    CHECK_FALSE(desk.ledger.next(desk.now));
    auto at = desk.ledger.wake_at();
    if (!at) {
      ++tries;
      break;
    }
    desk.now = *at;
    order = desk.ledger.next(desk.now);
  }
  CHECK(tries == 4);
  CHECK_FALSE(desk.ledger.wake_at());
  desk.close("a");
  CHECK(desk.capture() == 1);
}

TEST_CASE("a tree that holds a file holds what was closed before it") {
  Desk desk;
  desk.close("first");
  desk.wait(20 * ms);
  desk.close("second");
  auto first = desk.ledger.next(desk.now), second = desk.ledger.next(desk.now);
  REQUIRE(second);
  CHECK(second->path == "second");
  desk.ledger.captured(second->id, version(1), {}, desk.now);
  desk.wait(s);
  CHECK_FALSE(desk.cut());
  desk.ledger.captured(first->id, version(1), {}, desk.now);
  CHECK(desk.cut());
  CHECK(desk.names() == Names{"first", "second"});
}

TEST_CASE("a version that was lost holds others up until the next one, or for ten seconds") {
  Desk desk;
  desk.close("model");
  desk.ledger.written("model", desk.now + ms);  // opened again before it was captured
  desk.wait(20 * ms);
  desk.close("latest");
  CHECK(desk.capture() == 1);
  desk.wait(2 * s);
  CHECK_FALSE(desk.cut());
  SECTION("the next one comes") {
    desk.ledger.finished("model", 10, desk.now, Way::closed);
    desk.capture(2);
    desk.wait(s);
    CHECK(desk.cut());
    CHECK(desk.tree == std::map<std::string, std::int64_t>{{"latest", 1}, {"model", 2}});
  }
  SECTION("it does not") {
    Time since = desk.now;
    while (!desk.cut() && desk.now < since + 20 * s) {
      REQUIRE(desk.ledger.wake_at());
      REQUIRE(*desk.ledger.wake_at() > desk.now);
      desk.now = *desk.ledger.wake_at();
    }
    CHECK(desk.names() == Names{"latest"});
    CHECK(desk.now - since < 10 * s);
  }
}

TEST_CASE("a version that is captured gets in though the file is being written again") {
  Desk desk;
  desk.close("model");
  desk.capture(1);
  desk.wait(10 * ms);
  desk.ledger.written("model", desk.now);
  desk.wait(600 * ms);
  CHECK(desk.cut());
  CHECK(desk.tree.at("model") == 1);
  desk.ledger.finished("model", 10, desk.now, Way::closed);
  desk.capture(2);
  desk.wait(600 * ms);
  CHECK(desk.cut());
  CHECK(desk.tree.at("model") == 2);
}

TEST_CASE("a new folder gets in as a whole, two seconds after the last thing in it") {
  Desk desk;
  desk.ledger.folder_made("step-1", desk.now);
  for (int i = 0; i < 8; ++i) {
    desk.close("step-1/" + std::to_string(i));
    desk.capture();
    CHECK_FALSE(desk.cut());
    desk.wait(1900 * ms);
  }
  CHECK_FALSE(desk.cut());
  desk.wait(101 * ms);
  CHECK(desk.cut());
  CHECK(desk.tree.size() == 8);
  SECTION("what comes into it later comes by itself") {
    desk.close("step-1/more");
    desk.capture();
    desk.wait(600 * ms);
    CHECK(desk.cut());
    CHECK(desk.tree.size() == 9);
  }
}

TEST_CASE("a folder waits for the file in it that is open, and what came after waits for it") {
  Desk desk;
  desk.ledger.folder_made("step-1", desk.now);
  desk.ledger.folder_made("step-1/shards", desk.now);
  desk.close("step-1/a");
  desk.ledger.written("step-1/shards/b", desk.now);
  desk.close("latest");
  desk.capture();
  desk.wait(5 * s);
  CHECK_FALSE(desk.cut());
  desk.ledger.finished("step-1/shards/b", 10, desk.now, Way::closed);
  desk.capture();
  desk.wait(2 * s);
  CHECK(desk.cut());
  CHECK(desk.names() == Names{"latest", "step-1/a", "step-1/shards/b"});
}

TEST_CASE("a folder that was renamed into place is whole at once") {
  Desk desk;
  desk.ledger.folder_made("tmp", desk.now);
  desk.close("tmp/a");
  desk.close("tmp/b");
  desk.capture();
  desk.ledger.folder_gone("tmp", desk.now);
  desk.ledger.folder_made("step-1", desk.now, true);
  desk.ledger.finished("step-1/a", 10, desk.now, Way::renamed);
  desk.ledger.finished("step-1/b", 10, desk.now, Way::renamed);
  auto a = desk.ledger.next(desk.now), b = desk.ledger.next(desk.now);
  REQUIRE(b);
  desk.ledger.captured(a->id, version(1), {}, desk.now);
  desk.wait(600 * ms);
  CHECK_FALSE(desk.cut());
  desk.ledger.captured(b->id, version(1), {}, desk.now);
  CHECK(desk.cut());
  CHECK(desk.names() == Names{"step-1/a", "step-1/b"});
}

TEST_CASE("a time in which nobody listened is not quiet") {
  Desk desk;
  desk.ledger.heard_until(desk.now);
  desk.ledger.folder_made("new", desk.now);
  desk.close("new/a");
  desk.capture();
  // As after a sleep: hours have passed, and nothing was heard.
  desk.wait(3600 * s);
  CHECK_FALSE(desk.cut());
  desk.ledger.heard_until(desk.now);
  CHECK_FALSE(desk.cut());
  CHECK(desk.ledger.incomplete(desk.now) == std::vector<std::string>{"new/a"});
  int looks = 0;
  for (; looks < 100 && !desk.cut(); ++looks) {
    // It asks to be looked at soon.
    auto at = desk.ledger.wake_at();
    REQUIRE(at);
    REQUIRE(*at <= desk.now + 300 * ms);
    desk.now = std::max(*at, desk.now + 1);
    desk.ledger.heard_until(desk.now);
  }
  CHECK(looks >= 6);
  CHECK(desk.names() == std::vector<std::string>{"new/a"});
}

TEST_CASE("a folder that is never quiet is taken file by file in the end, and that is said") {
  Desk desk;
  desk.ledger.folder_made("frames", desk.now);
  Time began = desk.now;
  int i = 0;
  while (desk.now - began < 299 * s) {
    desk.close("frames/" + std::to_string(i++));
    desk.capture();
    REQUIRE_FALSE(desk.cut());
    desk.wait(s);
  }
  for (int more = 0; more < 3; ++more) {
    desk.close("frames/" + std::to_string(i++));
    desk.capture();
    desk.cut();
    desk.wait(s);
  }
  CHECK(desk.tree.size() >= 299);
  CHECK(desk.ledger.take_notes().size() == 1);
}

TEST_CASE("a folder in the making holds others up for ten seconds at most") {
  Desk desk;
  desk.ledger.folder_made("frames", desk.now);
  desk.close("frames/0");
  desk.wait(20 * ms);
  desk.close("other");
  desk.capture();
  Time began = desk.now;
  for (int i = 1; desk.names() != Names{"other"}; ++i) {
    REQUIRE(desk.now - began < 12 * s);
    desk.wait(s);
    desk.close("frames/" + std::to_string(i));
    desk.capture();
    desk.cut();
  }
  CHECK(desk.now - began >= 10 * s);
}

TEST_CASE("in a folder of checkpoints each entry stands for itself") {
  LedgerOptions options;
  options.container = [](const std::string& path) { return path == "checkpoints"; };
  Desk desk(options);
  desk.ledger.folder_made("checkpoints", desk.now);
  desk.close("checkpoints/1.pt");
  desk.ledger.folder_made("checkpoints/2", desk.now);
  desk.wait(20 * ms);
  desk.close("checkpoints/2/a");
  desk.capture();
  desk.wait(600 * ms);
  CHECK(desk.cut());
  CHECK(desk.names() == Names{"checkpoints/1.pt"});
  desk.wait(2 * s);
  CHECK(desk.cut());
  CHECK(desk.names() == Names{"checkpoints/1.pt", "checkpoints/2/a"});
}

TEST_CASE("a file that grows is captured as it is, now and then, and only if it has grown") {
  LedgerOptions options;
  options.grows = [](const std::string& path) { return path.ends_with(".log"); };
  Desk desk(options);
  desk.ledger.written("train.log", desk.now);
  CHECK_FALSE(desk.ledger.next(desk.now));
  desk.now = *desk.ledger.wake_at();
  auto order = desk.ledger.next(desk.now);
  REQUIRE(order);
  CHECK(order->prefix);
  desk.ledger.captured(order->id, version(1), {}, desk.now);
  desk.wait(600 * ms);
  CHECK(desk.cut());
  CHECK(desk.tree.at("train.log") == 1);
  desk.wait(60 * s);
  CHECK_FALSE(desk.ledger.next(desk.now));
  CHECK_FALSE(desk.ledger.wake_at());
  SECTION("it holds up nobody") {
    desk.ledger.written("train.log", desk.now);
    desk.close("a");
    CHECK(desk.capture() >= 1);
    desk.wait(600 * ms);
    CHECK(desk.cut());
    CHECK(desk.tree.contains("a"));
  }
  SECTION("what it says was done before is in the tree, too") {
    desk.close("a");
    auto a = desk.ledger.next(desk.now);
    REQUIRE(a);
    desk.ledger.written("train.log", desk.now);
    desk.wait(3 * s);
    desk.capture(2);
    desk.wait(s);
    CHECK_FALSE(desk.cut());
    desk.ledger.captured(a->id, version(1), {}, desk.now);
    CHECK(desk.cut());
    CHECK(desk.tree == std::map<std::string, std::int64_t>{{"a", 1}, {"train.log", 2}});
  }
  SECTION("found and still open it is taken as it is") {
    desk.ledger.finished("found.log", 10, desk.now, Way::found);
    auto found = desk.ledger.next(desk.now);
    REQUIRE(found);
    CHECK_FALSE(found->prefix);
    desk.ledger.not_captured(found->id, Outcome::busy, desk.now);
    desk.wait(3 * s);
    found = desk.ledger.next(desk.now);
    REQUIRE(found);
    CHECK(found->prefix);
  }
  SECTION("closed it is a file like others") {
    desk.ledger.finished("train.log", 10, desk.now, Way::closed);
    auto last = desk.ledger.next(desk.now);
    REQUIRE(last);
    CHECK_FALSE(last->prefix);
  }
}

TEST_CASE("a rename takes along what was captured, and what is being captured") {
  Desk desk;
  bool before = GENERATE(true, false);
  desk.close("a.tmp");
  auto order = desk.ledger.next(desk.now);
  REQUIRE(order);
  if (before) desk.ledger.captured(order->id, version(7), {}, desk.now);
  desk.ledger.moved("a.tmp", "a", 10, desk.now);
  if (!before) desk.ledger.captured(order->id, version(7), {}, desk.now);
  CHECK_FALSE(desk.ledger.next(desk.now));
  desk.wait(600 * ms);
  CHECK(desk.cut());
  CHECK(desk.tree == std::map<std::string, std::int64_t>{{"a", 7}});
}

TEST_CASE("a rename of what is in the tree changes both names at once") {
  Desk desk;
  desk.close("a");
  desk.capture(1);
  desk.wait(600 * ms);
  CHECK(desk.cut());
  desk.ledger.moved("a", "b", 10, desk.now);
  desk.wait(600 * ms);
  CHECK_FALSE(desk.cut());
  desk.capture(1);
  CHECK(desk.cut());
  CHECK(desk.names() == Names{"b"});
}

TEST_CASE("old checkpoints go when the new one is there, not before") {
  Desk desk;
  desk.close("1.pt");
  desk.capture();
  desk.wait(s);
  desk.cut();
  desk.close("2.pt");
  auto order = desk.ledger.next(desk.now);
  desk.ledger.gone("1.pt", desk.now);
  desk.wait(s);
  CHECK_FALSE(desk.cut());
  CHECK(desk.names() == Names{"1.pt"});
  desk.ledger.captured(order->id, version(1), {}, desk.now);
  CHECK(desk.cut());
  CHECK(desk.names() == Names{"2.pt"});
}

TEST_CASE("what a look at the folder found gets in together") {
  Desk desk;
  desk.ledger.begin_look();
  desk.ledger.finished("a", 1, desk.now, Way::found);
  desk.ledger.finished("b", 1, desk.now, Way::found);
  desk.ledger.end_look();
  auto a = desk.ledger.next(desk.now), b = desk.ledger.next(desk.now);
  REQUIRE(b);
  desk.ledger.captured(a->id, version(1), {}, desk.now);
  desk.wait(s);
  CHECK_FALSE(desk.cut());
  desk.ledger.captured(b->id, version(1), {}, desk.now);
  CHECK(desk.cut());
  CHECK(desk.tree.size() == 2);
}

TEST_CASE("without leases only what is renamed into place counts") {
  LedgerOptions options;
  options.renames_only = true;
  Desk desk(options);
  desk.close("a");
  desk.ledger.folder_made("new", desk.now);
  desk.close("new/b.tmp");
  CHECK_FALSE(desk.ledger.next(desk.now));
  desk.ledger.moved("new/b.tmp", "new/b", 10, desk.now);
  CHECK(desk.capture() == 1);
  desk.wait(600 * ms);
  CHECK(desk.cut());
  CHECK(desk.names() == Names{"new/b"});
}

TEST_CASE("the backlog names what is finished and in no tree") {
  Desk desk;
  CHECK(desk.ledger.backlog().files == 0);
  desk.close("a");
  Time closed = desk.now;
  desk.wait(s);
  desk.close("b");
  auto backlog = desk.ledger.backlog();
  CHECK(backlog.files == 2);
  CHECK(backlog.bytes == 20);
  CHECK(backlog.oldest == closed);
  desk.capture();
  desk.wait(s);
  desk.cut();
  CHECK(desk.ledger.backlog().files == 0);
  CHECK(desk.ledger.backlog().oldest == 0);
}

TEST_CASE("what an end by force leaves that cannot be trusted") {
  Desk desk;
  desk.close("good");
  desk.close("unseen");
  auto good = desk.ledger.next(desk.now), unseen = desk.ledger.next(desk.now);
  REQUIRE(good->path == "good");
  desk.ledger.begun(good->id, desk.now);
  desk.ledger.captured(good->id, version(1), {}, desk.now);
  desk.ledger.not_captured(unseen->id, Outcome::later, desk.now);
  desk.ledger.finished("moved", 1, desk.now, Way::renamed);
  desk.ledger.written("open", desk.now);
  desk.ledger.folder_made("folder", desk.now);
  desk.close("folder/a");
  desk.wait(600 * ms);
  desk.close("late");
  desk.capture();
  CHECK(desk.ledger.incomplete(desk.now) == Names{"folder/a", "late", "open"});
}

TEST_CASE("what was closed well before an end by force is whole, captured or not") {
  Desk desk;
  desk.close("early");
  desk.ledger.finished("found", 1, desk.now, Way::found);
  desk.ledger.written("open", desk.now);
  desk.wait(600 * ms);
  desk.close("late");
  CHECK(desk.ledger.incomplete(desk.now) == Names{"late", "open"});
  // Where nobody heard who had it open, only what is captured is trusted.
  CHECK(desk.ledger.incomplete(desk.now, false) == Names{"found", "late", "open"});
}

TEST_CASE("what was finished well after a stop was not torn by it") {
  Desk desk;
  desk.close("early");
  desk.ledger.folder_made("before", desk.now);
  desk.close("before/a");
  desk.wait(3 * s);
  desk.ledger.folder_made("torn", desk.now);
  desk.close("torn/a");
  desk.close("writer");
  desk.ledger.written("open", desk.now);
  Time stop = desk.now + 100 * ms;
  desk.wait(700 * ms);
  desk.close("after");
  desk.close("writer");
  desk.ledger.folder_made("final", desk.now);
  desk.close("final/a");
  CHECK(desk.ledger.incomplete(stop, true, {}, stop + 500 * ms) == Names{"open", "torn/a"});
}

TEST_CASE("without leases it is known all the same what an end by force may have torn") {
  LedgerOptions options;
  options.renames_only = true;
  options.grows = [](const std::string& path) { return path.ends_with(".log"); };
  Desk desk(options);
  desk.close("early");
  desk.ledger.finished("found", 1, desk.now, Way::found, desk.now - s);
  desk.close("goes");
  desk.close("moves");
  desk.ledger.written("open", desk.now);
  desk.ledger.written("a.log", desk.now);
  desk.ledger.gone("goes", desk.now);
  desk.wait(600 * ms);
  desk.close("late");
  desk.ledger.moved("moves", "moved", 1, desk.now);
  CHECK(desk.ledger.incomplete(desk.now) == Names{"late", "open"});

  // The same of a file that has none.
  Desk other;
  other.close("early");
  other.ledger.not_captured(other.ledger.next(other.now)->id, Outcome::no_lease, other.now);
  other.wait(600 * ms);
  other.close("late");
  other.ledger.not_captured(other.ledger.next(other.now)->id, Outcome::no_lease, other.now);
  CHECK(other.ledger.incomplete(other.now) == Names{"late"});
}

TEST_CASE("of what an end by force has torn a file that grows is no part, unless it is made anew") {
  LedgerOptions options;
  options.grows = [](const std::string& path) { return path.ends_with(".csv"); };
  Desk desk(options);
  desk.ledger.folder_made("new", desk.now);
  desk.ledger.written("new/a.csv", desk.now);
  desk.ledger.written("new/open", desk.now);
  desk.ledger.written("b.csv", desk.now);
  CHECK(desk.ledger.incomplete(desk.now) == Names{"new/open"});
  auto shrunk = [](const std::string& path) { return path == "b.csv"; };
  CHECK(desk.ledger.incomplete(desk.now, true, shrunk) == Names{"b.csv", "new/open"});
}

// ---- random programs

namespace {

/// A program, and all that it ever finished.
struct Program {
  struct Version {
    std::int64_t number = 0;  ///< of the content; 0: the file is not there
    std::int64_t index = 0;   ///< in the history of closes, renames and removals
  };
  std::map<std::string, std::vector<Version>> history;
  std::map<std::string, std::int64_t> open;  ///< path -> content that is being written
  std::map<std::string, Time> stirred;       ///< folder -> when something last happened in it
  std::int64_t index = 0, numbers = 0;
  std::set<std::string> folders;

  std::int64_t now_of(const std::string& path) const {
    auto it = history.find(path);
    return it == history.end() || it->second.empty() ? 0 : it->second.back().number;
  }
  void stir(const std::string& path, Time now) {
    if (auto at = path.find('/'); at != std::string::npos) stirred[path.substr(0, at)] = now;
  }
};

void play(std::uint64_t seed) {
  INFO("seed " << seed);
  std::mt19937_64 random(seed);
  auto chance = [&](int of) { return static_cast<int>(random() % static_cast<unsigned>(of)); };
  LedgerOptions options;
  options.patience = options.unrest = 1'000'000 * s;  // the order without exceptions
  Desk desk(options);
  Program program;
  std::map<std::string, Order> capturing;  // path at its beginning -> order
  struct Reading {
    Order order;
    std::int64_t number;
    std::string path;
  };
  std::vector<Reading> reading;
  std::vector<std::string> names{"a", "b", "c", "f/x", "f/y", "f/z", "g/x", "g/y", "tmp"};
  auto have_folder = [&](const std::string& path) {
    auto at = path.find('/');
    if (at == std::string::npos) return;
    auto folder = path.substr(0, at);
    if (program.folders.insert(folder).second) {
      desk.ledger.folder_made(folder, desk.now);
      program.stirred[folder] = desk.now;
    }
  };
  std::set<std::string> shown;  ///< folders

  auto check = [&] {
    // The newest thing in the tree, in the program's history.
    std::int64_t newest = 0;
    for (auto& [path, number] : desk.tree) {
      auto& versions = program.history[path];
      auto it = std::find_if(versions.begin(), versions.end(),
                             [&](auto& v) { return v.number == number; });
      INFO(path << " version " << number);
      REQUIRE(it != versions.end());  // never one that was not finished
      newest = std::max(newest, it->index);
    }
    for (auto& [path, versions] : program.history) {
      auto shown_as = desk.tree.contains(path) ? desk.tree.at(path) : 0;
      // The last one that is not after the newest; what the tree has is that one, or a later one.
      auto due = std::find_if(versions.rbegin(), versions.rend(),
                              [&](auto& v) { return v.index <= newest; });
      if (due == versions.rend()) continue;
      bool found = false;
      for (auto& v : versions)
        if (v.index >= due->index && v.number == shown_as) found = true;
      INFO(path << " shown " << shown_as << " due " << due->number << " newest " << newest);
      // A removal may be in the tree, and nothing newer to tell so.
      for (auto& v : versions)
        if (v.index > newest && v.number == 0 && shown_as == 0) found = true;
      REQUIRE(found);
    }
    // A folder that appears is whole: all that is there is closed, and has been for two seconds.
    std::map<std::string, bool> appeared;
    for (auto& [path, number] : desk.tree)
      if (auto at = path.find('/'); at != std::string::npos) {
        auto folder = path.substr(0, at);
        if (!shown.contains(folder)) appeared[folder] = true;
      }
    for (auto& [folder, yes] : appeared) {
      INFO("folder " << folder);
      REQUIRE(desk.now - program.stirred[folder] >= 2 * s);
      for (auto& [path, content] : program.open) REQUIRE_FALSE(path.starts_with(folder + "/"));
      for (auto& [path, versions] : program.history)
        if (path.starts_with(folder + "/") && program.now_of(path))
          REQUIRE(desk.tree.contains(path));
    }
    for (auto& [folder, yes] : appeared) shown.insert(folder);
  };

  auto step_backup = [&] {
    switch (chance(4)) {
      case 0:
        if (auto order = desk.ledger.next(desk.now)) {
          if (program.open.contains(order->path)) {
            desk.ledger.not_captured(order->id, Outcome::busy, desk.now);
          } else if (!program.now_of(order->path)) {
            desk.ledger.not_captured(order->id, Outcome::gone, desk.now);
          } else {
            desk.ledger.begun(order->id, desk.now);
            reading.push_back({*order, program.now_of(order->path), order->path});
          }
        }
        return;
      case 1:
        if (!reading.empty()) {
          auto at = reading.begin() + chance(static_cast<int>(reading.size()));
          // A lease ends when a writer comes; what was read of another inode stays what it was.
          if (program.open.contains(at->path))
            desk.ledger.not_captured(at->order.id, Outcome::disturbed, desk.now);
          else
            desk.ledger.captured(at->order.id, version(at->number), {}, desk.now);
          reading.erase(at);
        }
        return;
      default:
        if (desk.cut()) check();
    }
  };
  auto finish = [&](const std::string& path, std::int64_t number) {
    program.history[path].push_back({number, ++program.index});
    program.stir(path, desk.now);
  };

  for (int step = 0; step < 400; ++step) {
    desk.wait(chance(10) ? chance(300) * ms : chance(4000) * ms);
    auto path = names[static_cast<std::size_t>(chance(static_cast<int>(names.size())))];
    switch (chance(8)) {
      case 0:
      case 1:
        if (program.open.contains(path)) break;
        have_folder(path);
        // Opening it for writing breaks leases: what is being read of it is disturbed.
        for (auto it = reading.begin(); it != reading.end();)
          if (it->path == path) {
            desk.ledger.not_captured(it->order.id, Outcome::disturbed, desk.now);
            it = reading.erase(it);
          } else {
            ++it;
          }
        program.open[path] = ++program.numbers;
        program.stir(path, desk.now);
        desk.ledger.written(path, desk.now);
        break;
      case 2:
      case 3:
      case 4:
        if (program.open.empty()) break;
        {
          auto it = std::next(program.open.begin(), chance(static_cast<int>(program.open.size())));
          auto closed = *it;
          program.open.erase(it);
          finish(closed.first, closed.second);
          desk.ledger.finished(closed.first, 10, desk.now, Way::closed);
        }
        break;
      case 5:
        if (program.now_of("tmp") && !program.open.contains("tmp") &&
            !program.open.contains(path) && path != "tmp") {
          have_folder(path);
          auto number = program.now_of("tmp");
          finish("tmp", 0);
          --program.index;  // both at once
          finish(path, number);
          // A reader of the old inode under this name goes on, but not as this file.
          std::erase_if(reading, [&](auto& one) {
            if (one.path != path) return false;
            desk.ledger.not_captured(one.order.id, Outcome::disturbed, desk.now);
            return true;
          });
          for (auto& one : reading)
            if (one.path == "tmp") one.path = path;
          desk.ledger.moved("tmp", path, 10, desk.now);
        }
        break;
      case 6:
        if (chance(4) == 0 && program.now_of(path) && !program.open.contains(path)) {
          finish(path, 0);
          std::erase_if(reading, [&](auto& one) {
            if (one.path != path) return false;
            desk.ledger.not_captured(one.order.id, Outcome::gone, desk.now);
            return true;
          });
          desk.ledger.gone(path, desk.now);
        }
        break;
      default:
        break;
    }
    for (int i = chance(6); i > 0; --i) step_backup();
  }

  // It pauses with all closed: the backup becomes what is there.
  while (!program.open.empty()) {
    auto closed = *program.open.begin();
    program.open.erase(program.open.begin());
    finish(closed.first, closed.second);
    desk.ledger.finished(closed.first, 10, desk.now, Way::closed);
  }
  for (auto& one : reading) desk.ledger.captured(one.order.id, version(one.number), {}, desk.now);
  for (int i = 0; i < 100; ++i) {
    while (auto order = desk.ledger.next(desk.now)) {
      desk.ledger.begun(order->id, desk.now);
      desk.ledger.captured(order->id, version(program.now_of(order->path)), {}, desk.now);
    }
    if (desk.cut()) check();
    auto at = desk.ledger.wake_at();
    if (!at) break;
    desk.now = std::max(desk.now + 1, *at);
  }
  std::map<std::string, std::int64_t> there;
  for (auto& [path, versions] : program.history)
    if (auto number = program.now_of(path)) there[path] = number;
  for (auto& [path, number] : there) {
    INFO(path << " " << number << " in tree " << desk.tree[path]);
    CHECK(desk.tree[path] == number);
  }
  CHECK(desk.tree.size() == there.size());
  CHECK(desk.ledger.backlog().files == 0);
}

}  // namespace

TEST_CASE("whatever a program does, a tree is a moment of it") {
  for (std::uint64_t seed = 1; seed <= 400; ++seed) play(seed);
}
