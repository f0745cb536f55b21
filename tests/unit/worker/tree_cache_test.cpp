#include "worker/tree_cache.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <latch>
#include <thread>

#include "base/error.hpp"
#include "base/file.hpp"
#include "catch.hpp"
#include "temporary_folder.hpp"
#include "worker/tree_sum.hpp"

using namespace spell;
using namespace spell::worker;

namespace {

struct TreesHere {
  testing::TemporaryFolder top;
  std::int64_t now = 1'000'000'000;
  std::atomic<int> made = 0;
  std::unique_ptr<TreeCache> trees;

  explicit TreesHere(std::int64_t limit = 1'000'000) { open(limit); }
  void open(std::int64_t limit = 1'000'000) {
    trees = std::make_unique<TreeCache>(top.path + "/trees", limit, [this] { return now += 10; });
    REQUIRE(trees->open());
  }
  std::string path(const std::string& key) const { return top.path + "/trees/" + key; }
  bool has(const std::string& key) const { return base::exists(path(key)); }
  Result<> make(const std::string& at) {
    ++made;
    SPELL_TRY(base::make_folders(at));
    return base::write_file(at + "/file", "content", 0644, false);
  }
  Result<TreeCache::Use> use(const std::string& run, const std::string& key,
                             std::int64_t bytes = 100) {
    return trees->use(run, key, bytes,
                      [this](const std::string& at, std::stop_token) { return make(at); }, {});
  }
  std::vector<std::string> names() const {
    std::vector<std::string> out;
    for (auto* key : {"a", "b", "c", "d"})
      if (has(key)) out.push_back(key);
    return out;
  }
};

using Keys = std::vector<std::string>;

}  // namespace

TEST_CASE("what was used longest ago goes first, and only as much as has to") {
  std::vector<CachedTree> trees{
      {"new", 30, 3, false}, {"old", 30, 1, false}, {"middle", 30, 2, false}};
  CHECK(choose_to_evict(trees, 100, 0) == Keys{});
  CHECK(choose_to_evict(trees, 100, 10) == Keys{});
  CHECK(choose_to_evict(trees, 100, 11) == Keys{"old"});
  CHECK(choose_to_evict(trees, 100, 50) == Keys{"old", "middle"});
  CHECK(choose_to_evict(trees, 0, 0) == Keys{"old", "middle", "new"});
  trees[1].held = true;
  CHECK(choose_to_evict(trees, 100, 11) == Keys{"middle"});
  trees[0].held = trees[2].held = true;
  CHECK(choose_to_evict(trees, 0, 1000) == Keys{});
  CHECK(reckoned_size(10, 3) > 10);
}

TEST_CASE("a tree is made once and stays for the next run") {
  TreesHere cache;
  auto first = cache.use("run1", "a");
  REQUIRE(first);
  CHECK_FALSE(first->was_there);
  CHECK(*base::read_file(first->path + "/file") == "content");
  CHECK(cache.use("run2", "a")->was_there);
  cache.trees->release("run1");
  cache.trees->release("run2");
  cache.open();
  CHECK(cache.use("run3", "a")->was_there);
  CHECK(cache.made == 1);
  CHECK(cache.trees->bytes() == 100);
}

TEST_CASE("beyond the limit unused trees go, those of live runs stay") {
  TreesHere cache(250);
  for (auto* key : {"a", "b"}) REQUIRE(cache.use(std::string("run-") + key, key));
  REQUIRE(cache.use("run-c", "c"));
  CHECK(cache.names() == Keys{"a", "b", "c"});  // all three are in use
  cache.trees->release("run-a");
  cache.trees->release("run-b");
  REQUIRE(cache.use("again", "a"));
  cache.trees->release("again");
  REQUIRE(cache.use("run-d", "d"));
  CHECK(cache.names() == Keys{"c", "d"});
}

TEST_CASE("a restarted worker knows what was used when, and spares what it is told of") {
  TreesHere cache(350);
  for (auto* key : {"a", "b", "c"}) {
    REQUIRE(cache.use("gone", key));
    // The times that a restart goes by are those of the disk.
    timespec times[2] = {{0, UTIME_OMIT}, {key[0], 0}};
    REQUIRE(::utimensat(AT_FDCWD, (cache.path(key) + ".use").c_str(), times, 0) == 0);
  }
  cache.open(350);
  cache.trees->hold("alive", "a");
  REQUIRE(cache.use("new", "d"));
  CHECK(cache.names() == Keys{"a", "c", "d"});
}

TEST_CASE("half a tree is found at the start and is no tree") {
  TreesHere cache;
  REQUIRE(cache.use("run", "a"));
  auto half = [&](const std::string& name) {
    REQUIRE(base::make_folders(cache.path(name)));
    REQUIRE(base::write_file(cache.path(name) + "/part", "x", 0644, false));
  };
  half("b");                                                             // without a note
  half(".b.tmp-123");                                                    // what restoring left
  REQUIRE(base::write_file(cache.path("c.use"), "100\n", 0600, false));  // a note alone
  half("d");
  REQUIRE(base::write_file(cache.path("d.use"), "many\n", 0600, false));
  cache.open();
  CHECK(cache.names() == Keys{"a"});
  cache.trees->clean();
  Keys left;
  REQUIRE(std::system(("ls -A " + cache.top.path + "/trees | sort | tr '\\n' ' ' > " +
                       cache.top.path + "/left")
                          .c_str()) == 0);
  CHECK(*base::read_file(cache.top.path + "/left") == "a a.use ");
  CHECK_FALSE(cache.use("run", "c")->was_there);
}

TEST_CASE("two runs that want the same tree at the same time have it made once") {
  TreesHere cache;
  std::latch making(1), go(1);
  std::thread first([&] {
    auto used = cache.trees->use("run1", "a", 100,
                                 [&](const std::string& at, std::stop_token) {
                                   making.count_down();
                                   go.wait();
                                   return cache.make(at);
                                 },
                                 {});
    CHECK(used.ok());
  });
  making.wait();
  Result<TreeCache::Use> second;
  std::thread waiter([&] { second = cache.use("run2", "a"); });
  // Another tree need not wait.
  CHECK(cache.use("run3", "b").ok());
  CHECK_FALSE(cache.has("a"));
  go.count_down();
  first.join();
  waiter.join();
  REQUIRE(second);
  CHECK(second->was_there);
  CHECK(cache.made == 2);
}

TEST_CASE("a tree whose making fails or is given up is made by the next who wants it") {
  TreesHere cache;
  std::latch making(1);
  std::stop_source stop;
  std::thread first([&] {
    auto used = cache.trees->use(
        "run1", "a", 100,
        [&](const std::string&, std::stop_token token) -> Result<> {
          making.count_down();
          std::mutex mutex;
          std::condition_variable_any stopped;
          std::unique_lock lock(mutex);
          stopped.wait(lock, token, [] { return false; });
          return base::error("canceled", "given up");
        },
        stop.get_token());
    CHECK(used.error().code() == "canceled");
  });
  making.wait();
  std::stop_source waits;
  Result<TreeCache::Use> third = base::error("x", "x");
  std::thread gives_up([&] {
    third = cache.trees->use(
        "run3", "a", 100, [](const std::string&, std::stop_token) { return ok(); },
        waits.get_token());
  });
  waits.request_stop();
  gives_up.join();
  CHECK(third.error().code() == "canceled");
  Result<TreeCache::Use> second;
  std::thread waiter([&] { second = cache.use("run2", "a"); });
  stop.request_stop();
  first.join();
  waiter.join();
  REQUIRE(second);
  CHECK_FALSE(second->was_there);
  CHECK(cache.has("a"));
}

TEST_CASE("on a full disk what is unused goes, then it is tried once more") {
  TreesHere cache;
  REQUIRE(cache.use("old", "a"));
  REQUIRE(cache.use("held", "b"));
  cache.trees->release("old");
  int tries = 0;
  auto used = cache.trees->use(
      "run", "c", 100,
      [&](const std::string& at, std::stop_token) {
        return ++tries == 1 ? Result<>(base::error("disk_full", "no space")) : cache.make(at);
      },
      {});
  CHECK(used.ok());
  CHECK(cache.names() == Keys{"b", "c"});
  tries = 0;
  used = cache.trees->use("run", "d", 100,
                          [&](const std::string&, std::stop_token) {
                            ++tries;
                            return Result<>(base::error("disk_full", "no space"));
                          },
                          {});
  CHECK(used.error().code() == "disk_full");
  CHECK(tries == 1);  // all that is left is in use
  CHECK(cache.names() == Keys{"b", "c"});
  CHECK_FALSE(base::exists(cache.path("d.use")));
}

TEST_CASE("a file whose size is not known before is reckoned when it is there") {
  TreesHere cache(50'000);
  auto make = [](const std::string& at, std::stop_token) {
    return base::write_file(at, std::string(20'000, 'x'), 0755, false);
  };
  REQUIRE(cache.trees->use("run", "a", 0, make, {}));
  CHECK(cache.trees->bytes() == reckoned_size(20'000, 1));
  cache.trees->release("run");
  cache.open(50'000);
  CHECK(cache.trees->bytes() == reckoned_size(20'000, 1));
  REQUIRE(cache.trees->use("run", "b", 30'000, make, {}));
  CHECK(cache.names() == Keys{"b"});
}

namespace {

constexpr std::chrono::seconds at_once{0}, a_day{24 * 3600};

void flip(const std::string& path) {
  auto bytes = base::read_file(path);
  REQUIRE(bytes);
  struct stat st;
  REQUIRE(::stat(path.c_str(), &st) == 0);
  base::Fd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  char byte = static_cast<char>((*bytes)[2] ^ 1);
  REQUIRE(::pwrite(file.get(), &byte, 1, 2) == 1);
  timespec times[2] = {st.st_atim, st.st_mtim};  // as a disk does it, whose files look the same
  REQUIRE(::futimens(file.get(), times) == 0);
}

}  // namespace

TEST_CASE("a tree with a flipped bit is found by a check, goes, and is made anew") {
  TreesHere cache;
  REQUIRE(cache.use("run", "a"));
  REQUIRE(cache.use("run", "b"));
  CHECK(cache.trees->check(a_day, {}).empty());  // they get their sums
  CHECK(base::exists(cache.path("a") + ".sum"));
  cache.trees->release("run");
  SECTION("in the same worker") {}
  SECTION("of a worker before") { cache.open(); }
  CHECK(cache.trees->check(at_once, {}).empty());
  flip(cache.path("a") + "/file");
  auto wrong = cache.trees->check(at_once, {});
  REQUIRE(wrong.size() == 1);
  CHECK(wrong[0].find(cache.path("a") + " is not as it was made") != std::string::npos);
  CHECK(cache.names() == Keys{"b"});
  CHECK_FALSE(base::exists(cache.path("a") + ".sum"));
  auto again = cache.use("next", "a");
  REQUIRE(again);
  CHECK_FALSE(again->was_there);
  CHECK(*base::read_file(again->path + "/file") == "content");
  CHECK(cache.trees->check(at_once, {}).empty());
}

TEST_CASE("a damaged tree that a live run has is given to no other, and goes when that has ended") {
  TreesHere cache;
  REQUIRE(cache.use("live", "a"));
  CHECK(cache.trees->check(at_once, {}).empty());
  flip(cache.path("a") + "/file");
  auto wrong = cache.trees->check(at_once, {});
  REQUIRE(wrong.size() == 1);
  CHECK(wrong[0].find("(live)") != std::string::npos);
  CHECK(cache.has("a"));
  auto refused = cache.use("other", "a");
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == "damaged");
  SECTION("it ends") {
    cache.trees->release("live");
    auto again = cache.use("other", "a");
    REQUIRE(again);
    CHECK_FALSE(again->was_there);
    CHECK(*base::read_file(again->path + "/file") == "content");
  }
  SECTION("the worker is started anew, and then it ends") {
    cache.open();
    cache.trees->hold("live", "a");
    CHECK(cache.trees->check(a_day, {}).empty());
    CHECK(cache.has("a"));
    cache.trees->release("live");
    CHECK(cache.trees->check(a_day, {}).empty());
    CHECK_FALSE(cache.has("a"));
  }
}

TEST_CASE("trees are looked at once a day, by the time they were last found right") {
  TreesHere cache;
  CHECK_FALSE(cache.trees->next_check_ns(a_day));
  REQUIRE(cache.use("run", "a"));
  CHECK(cache.trees->check(a_day, {}).empty());
  cache.trees->release("run");
  std::int64_t due = *cache.trees->next_check_ns(a_day);
  CHECK(due > cache.now + 86'000'000'000'000);
  flip(cache.path("a") + "/file");
  CHECK(cache.trees->check(a_day, {}).empty());
  cache.now = due;
  CHECK(cache.trees->check(a_day, {}).size() == 1);
}

TEST_CASE("a tree whose sum is not known is made anew, unless a live run has it") {
  TreesHere cache;
  for (auto* key : {"a", "b"}) REQUIRE(cache.use("run", key));  // the worker is killed right then
  cache.open();
  cache.trees->hold("alive", "b");
  CHECK(cache.trees->check(a_day, {}).empty());
  CHECK(cache.names() == Keys{"b"});
}

TEST_CASE("a sum tells files, folders, links, modes, times and names apart") {
  testing::TemporaryFolder top;
  std::string tree = top.path + "/tree";
  auto make = [&] {
    REQUIRE(base::remove_tree(tree));
    REQUIRE(base::make_folders(tree + "/b/c"));
    for (auto* name : {"/a", "/b/d", "/empty"}) {
      REQUIRE(base::write_file(tree + name, name[1] == 'e' ? "" : "text", 0644, false));
      timespec times[2] = {{5, 5}, {5, 5}};
      REQUIRE(::utimensat(AT_FDCWD, (tree + name).c_str(), times, 0) == 0);
    }
    REQUIRE(::symlink("a", (tree + "/link").c_str()) == 0);
  };
  make();
  auto sum = tree_sum(tree, {});
  REQUIRE(sum);
  CHECK(sum->size() == 16);
  make();
  CHECK(tree_sum(tree, {}).value() == *sum);
  auto differs = [&](auto change) {
    make();
    change();
    return tree_sum(tree, {}).value() != *sum;
  };
  CHECK(differs([&] { flip(tree + "/b/d"); }));
  CHECK(differs([&] { REQUIRE(::chmod((tree + "/a").c_str(), 0755) == 0); }));
  CHECK(differs([&] { REQUIRE(::unlink((tree + "/empty").c_str()) == 0); }));
  CHECK(differs([&] { REQUIRE(::rmdir((tree + "/b/c").c_str()) == 0); }));
  CHECK(differs([&] { REQUIRE(::rename((tree + "/a").c_str(), (tree + "/z").c_str()) == 0); }));
  CHECK(differs([&] {
    timespec times[2] = {{5, 5}, {5, 6}};
    REQUIRE(::utimensat(AT_FDCWD, (tree + "/a").c_str(), times, 0) == 0);
  }));
  CHECK(differs([&] {
    REQUIRE(::unlink((tree + "/link").c_str()) == 0);
    REQUIRE(::symlink("b", (tree + "/link").c_str()) == 0);
  }));
  std::stop_source stop;
  stop.request_stop();
  CHECK(tree_sum(tree, stop.get_token()).error().code() == "canceled");
}
