// Code that arrives when the power goes, and a collection of code that is killed, meets a call that
// fails, or loses its power, at any step: what runs name is whole, nothing counts as known that is
// not, and the next one ends what was begun. The calls that change the store pass through here:
// this program's own rename, unlink and fsync stand before those of the C library.
#include <sys/wait.h>

#include "../../unit/git/repository.hpp"
#include "../disk.hpp"

using namespace git_test;
using fault::failed;
using fault::next;
using spell::git::snapshot;
using spell::git::Store;
using std::chrono::seconds;

namespace {
fault::Disk disk;
bool dies = false;  ///< the process ends at the step that would fail

bool step(const std::string& path) {
  bool goes = disk.step(path);
  if (!goes && dies) ::_exit(9);
  return goes;
}
}  // namespace

extern "C" {
int fsync(int fd) {
  std::string path = fault::path_of(fd);
  if (!step(path)) return failed();
  int done = next<int(int)>("fsync")(fd);
  disk.sync(path);
  return done;
}
int rename(const char* from, const char* to) noexcept {
  disk.losing(to);
  return step(to) ? next<int(const char*, const char*)>("rename")(from, to) : failed();
}
int unlink(const char* path) noexcept {
  disk.losing(path);
  return step(path) ? next<int(const char*)>("unlink")(path) : failed();
}
}

namespace {

struct Place : TestRepository {
  std::string store_path = path + "/store.git";
  std::vector<std::string> named, dead, dead_trees;

  std::string send_state() {
    auto store = Store::open(store_path).value();
    auto o = options();
    o.include_untracked = true;
    auto s = snapshot(o).value();
    send(s, store);
    return s.commit();
  }
  Place() {
    // Each dead tree names files of several packs, and lies beside what lives.
    for (int i = 0; i < 4; ++i) {
      put("a" + std::to_string(i), spell::base::random_bytes(3'000));
      put("both", spell::base::random_bytes(3'000));
      (i % 2 ? named : dead).push_back(send_state());
    }
    for (auto& commit : dead)
      dead_trees.push_back(sh(path, "git -C store.git rev-parse " + commit + "^{tree}"));
  }
  spell::Result<Store::Freed> collect() {
    auto store = Store::open(store_path);
    if (!store) return store.error();
    return store->collect([&]() -> spell::Result<std::vector<std::string>> { return named; },
                          seconds(0));
  }
  void check() {
    auto store = Store::open(store_path).value();
    auto found = store.check(named).value();
    REQUIRE(found.damaged.empty());
    REQUIRE(found.hurt.empty());
    for (auto& tree : dead_trees)
      if (!store.known_trees({tree}).value().empty())
        sh(path, "git -C store.git ls-tree -r -t " + tree +
                     " | cut -c13-52 | tr -d ' ' | git -C store.git cat-file --batch-check | "
                     "(! grep missing)");
  }
  void check_end() {
    REQUIRE(collect().ok());
    check();
    auto store = Store::open(store_path).value();
    for (auto& commit : dead) REQUIRE(!store.has_commit(commit).value());
    for (auto& entry : fs::directory_iterator(store_path)) {
      auto name = entry.path().filename().string();
      REQUIRE((!name.starts_with("spell-") || name.ends_with(".lock")));
    }
    REQUIRE(sh(path, "git -C store.git count-objects -v | grep ^garbage:") == "garbage: 0");
  }
};

}  // namespace

TEST_CASE("a collection of code that is killed at any step loses nothing") {
  bool killed = true;
  int at = 1;
  for (; killed; ++at) {
    Place p;
    INFO("step " << at);
    pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      dies = true;
      disk.fail_at = at;
      disk.folder = p.store_path;
      ::_exit(p.collect().ok() ? 0 : 1);
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    REQUIRE(WIFEXITED(status));
    REQUIRE((WEXITSTATUS(status) == 9 || WEXITSTATUS(status) == 0));
    killed = WEXITSTATUS(status) == 9;
    p.check();
    p.check_end();
  }
  CHECK(at > 15);
}

TEST_CASE("a call of a collection of code that fails, at any step, loses nothing") {
  bool through = false;
  int at = 1;
  for (; !through; ++at) {
    Place p;
    INFO("step " << at);
    disk.steps = 0;
    disk.fail_at = at;
    disk.only_once = true;
    disk.folder = p.store_path;
    auto done = p.collect();
    through = disk.steps < at;
    disk.folder.clear();
    REQUIRE((done.ok() || !through));
    p.check();
    p.check_end();
  }
  CHECK(at > 15);
}

TEST_CASE("power that goes at any step of a collection of code takes nothing that runs name") {
  bool all_names = GENERATE(false, true);
  bool through = false;
  int at = 1;
  for (; !through; ++at) {
    Place p;
    INFO("step " << at);
    disk.watch(p.store_path);
    disk.steps = 0;
    disk.fail_at = at;
    disk.only_once = false;
    auto done = p.collect();
    through = disk.steps < at;
    REQUIRE((done.ok() || !through));
    disk.come_back(all_names);
    p.check();
    p.check_end();
  }
  CHECK(at > 15);
}

TEST_CASE("power that goes at any step of an arrival of code takes nothing that was acknowledged") {
  bool all_names = GENERATE(false, true);
  bool through = false;
  int at = 1;
  for (; !through; ++at) {
    Place p;
    INFO("step " << at);
    auto o = p.options();
    o.include_untracked = true;
    auto take = [&](const std::string& file) -> spell::Result<std::string> {
      p.put(file, spell::base::random_bytes(3'000));
      auto s = snapshot(o).value();
      auto store = Store::open(p.store_path);
      if (!store) return store.error();
      auto known = store->known_trees(s.recent_trees());
      if (!known) return known.error();
      auto pack = temp_file();
      auto size = s.write_pack(pack.get(), *known).value();
      auto taken = store->add_pack(pack.get(), size, s.commit());
      if (!taken) return taken.error();
      return s.commit();
    };
    disk.watch(p.store_path);
    disk.steps = 0;
    disk.fail_at = at;
    disk.only_once = false;
    // The answer to a submission names what has arrived.
    for (auto* file : {"new1", "new2"})
      if (auto commit = take(file)) p.named.push_back(*commit);
    through = disk.steps < at;
    disk.come_back(all_names);
    p.check();
    auto again = take("new3");
    REQUIRE(again.ok());
    p.named.push_back(*again);
    p.check();
  }
  CHECK(at > 6);
}
