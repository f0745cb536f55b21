// What no run names goes, what one names stays whole, whoever sends and submits meanwhile.
#include <atomic>
#include <mutex>
#include <random>
#include <set>
#include <thread>

#include "repository.hpp"

using namespace git_test;
using spell::git::snapshot;
using spell::git::Store;
using std::chrono::hours;
using std::chrono::seconds;

namespace {

using Commits = std::set<std::string>;

/// A store and the commits that runs name.
struct Place : TestRepository {
  Store store = Store::open(path + "/store.git").value();
  Commits named;
  int copies = 0;

  std::string send_state() {
    auto o = options();
    o.include_untracked = true;
    auto s = snapshot(o).value();
    send(s, store);
    return s.commit();
  }
  Store::Named ask() {
    return [this]() -> spell::Result<std::vector<std::string>> {
      return std::vector<std::string>(named.begin(), named.end());
    };
  }
  Store::Freed collect(seconds spare = seconds(0)) { return store.collect(ask(), spare).value(); }
  std::map<std::string, std::string> files(const std::string& commit) {
    std::string out = path + "/copy" + std::to_string(++copies);
    fs::create_directories(out);
    std::vector<std::string> notices;
    spell::git::checkout(path + "/store.git", commit, out, notices).value();
    return files_of(out);
  }
  bool whole() {
    auto found = store.check({named.begin(), named.end()}).value();
    for (auto& line : found.damaged) UNSCOPED_INFO(line);
    return found.damaged.empty() && found.hurt.empty();
  }
  std::string tree_of(const std::string& commit) {
    return sh(path, "git -C store.git rev-parse " + commit + "^{tree}");
  }
};

std::string noise(std::size_t size = 50'000) { return spell::base::random_bytes(size); }

}  // namespace

TEST_CASE("the code that only a removed run named goes, and can be sent again") {
  Place p;
  p.put("shared.bin", noise());
  p.put("first.bin", noise());
  auto first = p.send_state();
  fs::remove(p.root + "/first.bin");
  p.put("second.bin", noise());
  auto second = p.send_state();
  auto expected = p.files(second);
  p.named = {first, second};
  CHECK(p.collect().objects == 0);
  CHECK(p.whole());

  auto tree = p.tree_of(first);
  auto before = p.store.size();
  p.named = {second};
  auto freed = p.collect();
  CHECK(freed.objects == 3);  // a commit, a tree, a file
  CHECK(freed.bytes > 45'000);
  CHECK(before - p.store.size() > 45'000);
  CHECK(!p.store.has_commit(first).value());
  // What would be incomplete does not count as known.
  CHECK(p.store.known_trees({tree}).value().empty());
  CHECK(p.files(second) == expected);
  CHECK(p.whole());
  CHECK(p.collect().objects == 0);

  p.put("first.bin", noise());
  auto third = p.send_state();
  p.named = {second, third};
  CHECK(p.collect().objects == 0);
  CHECK(p.files(third) == work_tree(p));

  p.named.clear();
  p.collect();
  CHECK(fs::is_empty(p.path + "/store.git/objects/pack"));
  CHECK(sh(p.path, "git -C store.git count-objects -v | grep ^garbage:") == "garbage: 0");
}

TEST_CASE("what lost little is not written anew for it") {
  Place p;
  p.put("large.bin", noise(400'000));
  p.put("small.bin", noise(20'000));
  auto first = p.send_state();
  fs::remove(p.root + "/small.bin");
  auto second = p.send_state();
  p.named = {second};
  // The first time trees are set apart from files.
  CHECK(p.collect().bytes > 15'000);
  p.put("small.bin", noise(20'000));
  auto third = p.send_state();
  p.named = {second, third};
  p.store.repack(1).value();
  auto inode = [&] {
    std::set<ino_t> large;
    for (auto& entry : fs::directory_iterator(p.path + "/store.git/objects/pack")) {
      struct stat st;
      if (::stat(entry.path().c_str(), &st) == 0 && st.st_size > 300'000) large.insert(st.st_ino);
    }
    return large;
  };
  auto before = inode();
  REQUIRE(before.size() == 1);
  p.named = {second};
  CHECK(p.collect().objects >= 2);
  CHECK(inode() == before);
  CHECK(!p.store.has_commit(third).value());
  CHECK(p.whole());
  (void)first;
}

TEST_CASE("what arrived lately is spared, what is held stays, a name in time keeps all") {
  Place p;
  p.put("data.bin", noise());
  auto commit = p.send_state();
  auto freed = p.collect(hours(1));
  CHECK((freed.objects == 0 && freed.spared));
  {
    auto held = p.store.hold(commit).value();
    freed = p.collect(hours(1));
    CHECK((freed.objects == 0 && !freed.spared));
    CHECK(p.collect(seconds(0)).objects == 0);
    CHECK(p.files(commit) == work_tree(p));
  }
  CHECK(p.collect(hours(1)).objects > 5);
  CHECK(p.store.hold(commit).error().code() == "commit_not_found");
  // A hold that a dead process left ends some time.
  p.send_state();
  auto held = p.store.hold(commit).value();
  auto refs = p.path + "/store.git/refs/spell";
  for (auto& ref : fs::directory_iterator(refs))
    fs::last_write_time(ref.path(), fs::file_time_type::clock::now() - hours(25));
  CHECK(p.collect(hours(1)).objects > 5);
  CHECK(fs::is_empty(refs));
}

TEST_CASE("what is named while a collection looks is not hurt") {
  Place p;
  p.put("data.bin", noise());
  auto old = p.send_state();
  p.put("other.bin", noise());
  auto kept = p.send_state();
  fs::remove(p.root + "/other.bin");
  auto expected = p.files(old);
  p.named = {kept};
  // At the moment of the first question, of the second.
  int at = GENERATE(1, 2), asked = 0;
  enum Way { held, held_then_named, named };
  Way way = GENERATE(held, held_then_named, named);
  std::shared_ptr<void> hold;
  auto ask = [&]() -> spell::Result<std::vector<std::string>> {
    std::vector<std::string> now(p.named.begin(), p.named.end());
    // The second question is asked under the locks: a submission waits there, and is not tried.
    if (++asked == at && at == 1) {
      if (way != named) hold = p.store.hold(old).value();
      if (way != held) p.named.insert(old);
      if (way == held_then_named) hold.reset();
    }
    if (at == 2 && asked == 1 && way == named) p.named.insert(old);
    return now;
  };
  auto other = Store::open(p.path + "/store.git").value();
  REQUIRE(other.collect(ask, seconds(0)).ok());
  bool lives = at == 1 || way == named;
  CHECK(Store::open(p.path + "/store.git")->has_commit(old).value() == lives);
  if (lives) {
    CHECK(p.files(old) == expected);
    p.named.insert(old);
  }
  CHECK(p.whole());
}

TEST_CASE("a pack that comes while a collection looks may build on what was about to go") {
  Place p;
  p.put("data.bin", noise());
  p.send_state();  // nobody names it
  p.put("new.txt", "new");
  int asked = 0;
  std::string commit;
  auto freed = p.store.collect(
      [&]() -> spell::Result<std::vector<std::string>> {
        if (++asked == 1) {
          commit = p.send_state();
          auto o = p.options();
          o.include_untracked = true;
          REQUIRE(send(snapshot(o).value(), p.store) == 0);
          p.store.protect(commit, commit).value();
        }
        return std::vector<std::string>{};
      },
      seconds(60));
  REQUIRE(freed.ok());
  p.named = {commit};
  CHECK(p.whole());
  CHECK(p.files(commit) == work_tree(p));
}

TEST_CASE("nothing is freed where something that is named is not whole") {
  Place p;
  p.put("data.bin", noise());
  auto commit = p.send_state();
  p.named = {std::string(40, 'a')};
  CHECK(p.store.collect(p.ask(), seconds(0)).error().code() == "missing_object");
  CHECK(p.store.has_commit(commit).value());
  std::stop_source stop;
  stop.request_stop();
  p.named = {commit};
  CHECK(p.store.collect(p.ask(), seconds(0), stop.get_token()).error().code() == "canceled");
}

TEST_CASE("a wrong bit anywhere in the code is found, and whom it hurts is named") {
  Place p;
  p.put("data.bin", noise(3'000));
  auto hurt = p.send_state();
  fs::remove(p.root + "/data.bin");
  auto fine = p.send_state();
  p.named = {hurt, fine};
  CHECK(p.whole());
  std::set<std::string> named;
  for (auto& entry : fs::directory_iterator(p.path + "/store.git/objects/pack")) {
    std::string good = read(entry.path());
    fs::permissions(entry.path(), fs::perms::owner_all);
    for (std::size_t at = 0; at < good.size(); at += 41) {
      std::string bad = good;
      bad[at] = static_cast<char>(bad[at] ^ (1 << at % 8));
      write(entry.path(), bad);
      auto found = p.store.check({hurt, fine}).value();
      INFO(entry.path() << " at " << at);
      REQUIRE(found.damaged.size() == 1);
      named.insert(found.hurt.begin(), found.hurt.end());
    }
    write(entry.path(), good);
  }
  CHECK(named.contains(hurt));
  CHECK(p.whole());
  p.named.insert(std::string(40, 'b'));
  CHECK(p.store.check({std::string(40, 'b'), fine}).value().hurt ==
        std::vector<std::string>{std::string(40, 'b')});
}

TEST_CASE("any history: what runs name is whole, the rest goes") {
  auto seed = GENERATE(1u, 2u, 3u, 4u);
  INFO("seed " << seed);
  std::mt19937 random(seed);
  auto below = [&](unsigned n) { return static_cast<unsigned>(random() % n); };
  Place p;
  std::map<std::string, std::map<std::string, std::string>> content;  // of each named commit
  for (int step = 0; step < 40; ++step) {
    switch (below(6)) {
      case 0:
      case 1:
      case 2: {
        for (unsigned i = 0; i <= below(3); ++i) {
          std::string folder = "d" + std::to_string(below(3));
          std::string file = folder + "/f" + std::to_string(below(4));
          std::error_code not_empty;
          if (below(4) == 0) {
            fs::remove(p.root + "/" + file);
            fs::remove(p.root + "/" + folder, not_empty);  // Git keeps no empty ones
          } else                                           // contents come back now and then
            p.put(file, std::string(2'000 + below(4), static_cast<char>('a' + below(5))));
        }
        auto commit = p.send_state();
        auto hold = p.store.hold(commit).value();
        p.named.insert(commit);
        content[commit] = work_tree(p);
        break;
      }
      case 3:
        if (!p.named.empty()) {
          auto at = std::next(p.named.begin(), below(static_cast<unsigned>(p.named.size())));
          content.erase(*at);
          p.named.erase(at);
        }
        break;
      case 4:
        p.collect();
        break;
      case 5:
        p.store.repack(static_cast<int>(below(4))).value();
    }
    REQUIRE(p.whole());
  }
  p.collect();
  REQUIRE(p.whole());
  for (auto& [commit, files] : content) REQUIRE(p.files(commit) == files);
  // Of commits and trees nothing stays, of files less than a quarter of a pack.
  auto list = sh(p.path, "git -C store.git cat-file --batch-check --batch-all-objects");
  std::set<std::string> needed;
  for (auto& commit : p.named)
    for (auto& line :
         spell::base::split(sh(p.path, "git -C store.git rev-parse " + commit + " " + commit +
                                           "^{tree}; git -C store.git ls-tree -r -t " + commit +
                                           " | cut -c13-52 | tr -d ' '"),
                            '\n'))
      needed.insert(std::string(spell::base::trim(line)).substr(0, 40));
  std::int64_t dead = 0, living = 0;
  for (auto& line : spell::base::split(list, '\n')) {
    auto words = spell::base::split(line, ' ');
    if (words.size() != 3) continue;
    bool lives = needed.contains(words[0]);
    INFO(line);
    REQUIRE((lives || words[1] == "blob"));
    (lives ? living : dead) += spell::base::parse_int(words[2]).value();
  }
  CHECK(dead * 3 <= living);
  p.named.clear();
  p.collect();
  CHECK(fs::is_empty(p.path + "/store.git/objects/pack"));
}

TEST_CASE("submissions, removals, joins and collections go on side by side") {
  TestRepository r;
  std::string path = r.path + "/store.git";
  { Store::open(path).value(); }
  std::vector<spell::git::Snapshot> states;
  for (int i = 0; i < 6; ++i) {
    r.put("file" + std::to_string(i % 3), noise(5'000));
    states.push_back(snapshot(r.options()).value());
  }
  std::mutex mutex;
  std::map<std::string, int> runs;
  std::atomic<int> lost = 0, made = 0, writers = 3;
  auto named = [&]() -> spell::Result<std::vector<std::string>> {
    std::lock_guard lock(mutex);
    std::vector<std::string> out;
    for (auto& [commit, count] : runs)
      if (count > 0) out.push_back(commit);
    return out;
  };
  auto submit = [&](const spell::git::Snapshot& state) {
    for (;;) {
      auto store = Store::open(path).value();
      if (!store.has_commit(state.commit()).value()) {
        auto known = store.known_trees(state.recent_trees()).value();
        auto pack = temp_file();
        auto size = state.write_pack(pack.get(), known).value();
        auto sent = store.add_pack(pack.get(), size, state.commit());
        if (!sent && sent.error().code() == "incomplete_pack") continue;
        sent.value();
      }
      auto held = store.hold(state.commit());
      if (!held && held.error().code() == "commit_not_found") continue;
      held.value();
      std::lock_guard lock(mutex);
      ++runs[state.commit()];
      return;
    }
  };
  std::vector<std::thread> threads;
  for (unsigned worker = 0; worker < 3; ++worker)
    threads.emplace_back([&, worker] {
      std::mt19937 random(worker);
      for (int i = 0; i < 25; ++i) {
        auto& state = states[random() % states.size()];
        submit(state);
        ++made;
        std::vector<std::string> notices;
        TempFolder out;
        if (!spell::git::checkout(path, state.commit(), out.path, notices)) ++lost;
        std::lock_guard lock(mutex);
        --runs[state.commit()];
      }
      --writers;
    });
  std::thread collector([&] {
    auto store = Store::open(path).value();
    while (writers > 0) store.collect(named, seconds(0)).value();
  });
  std::thread joiner([&] {
    auto store = Store::open(path).value();
    while (writers > 0) store.repack(2).value();
  });
  for (auto& thread : threads) thread.join();
  collector.join();
  joiner.join();
  CHECK(made == 75);
  CHECK(lost == 0);
  for (auto& state : states) submit(state);
  auto store = Store::open(path).value();
  store.collect(named, seconds(0)).value();
  CHECK(store.check(named().value()).value().hurt.empty());
}
