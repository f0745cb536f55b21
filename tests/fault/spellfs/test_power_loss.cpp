// The store on disk when a call fails, and when the power goes: at every step of saving, receiving
// and collecting. The calls that change the folder of packs pass through here: this program's own
// fsync, rename, unlink and pwritev stand before those of the C library.
#include <sys/uio.h>

#include "../../unit/spellfs/support.hpp"
#include "../disk.hpp"

using namespace spell;
using namespace spell::spellfs;
namespace fs = std::filesystem;

using fault::failed;
using fault::next;
using fault::path_of;

namespace {
fault::Disk disk;
}

extern "C" {
int fsync(int fd) {
  std::string path = path_of(fd);
  if (!disk.step(path)) return failed();
  int done = next<int(int)>("fsync")(fd);
  disk.sync(path);
  return done;
}
int rename(const char* from, const char* to) noexcept {
  return disk.step(to) ? next<int(const char*, const char*)>("rename")(from, to) : failed();
}
int unlink(const char* path) noexcept {
  return disk.step(path) ? next<int(const char*)>("unlink")(path) : failed();
}
ssize_t pwritev(int fd, const iovec* parts, int count, off_t at) {
  if (!disk.step(path_of(fd))) return failed();
  return next<ssize_t(int, const iovec*, int, off_t)>("pwritev")(fd, parts, count, at);
}
}

namespace {

struct Place {
  TemporaryFolder folder;
  std::string root = folder / "store";
  std::unique_ptr<PackStore> store = std::move(open_pack_store(root)).value();
  std::vector<Root> roots;
  std::map<std::string, Entry> acknowledged;
  std::vector<Name> tried;

  Place() {
    std::uint64_t seed = 0;
    for (std::string name : {"old", "gone", "mixed", "direct", "sent"})
      for (int i = 0; i < 3; ++i)
        write(folder / (name + "/" + std::to_string(i)), noise(60'000, ++seed));
    // Part of a pack that loses the rest: it is written anew.
    fs::copy(folder / "mixed/0", folder / "direct/3");
    disk.folder = root + "/packs";
    direct("old");
    direct("gone");
    direct("mixed");
    roots = {{acknowledged.at("old").node, "runs/1"}};
  }
  ~Place() {
    disk.folder.clear();
    disk.dead = false;
  }
  Roots ask() {
    return [this]() -> Result<std::vector<Root>> { return roots; };
  }
  SaveOptions options() {
    SaveOptions out;
    out.missing = [this](auto names) { return store->missing("ann", names); };
    return out;
  }
  void direct(const std::string& name) {
    auto writer = store->writer("ann");
    if (!writer) return;
    auto saved = save(folder / name, options(), **writer);
    if (!saved) return;
    tried.push_back(saved->root.node);
    if ((*writer)->finish()) acknowledged[name] = saved->root;
  }
  void send(const std::string& name) {
    PackInFile pack;
    auto saved = save(folder / name, options(), pack.writer);
    if (!saved) return;
    tried.push_back(saved->root.node);
    pack.finish();
    if (store->add_pack("ann", pack.fd.get(), pack.size)) acknowledged[name] = saved->root;
  }
  /// A day at the store. Returns whether all went well.
  bool work() {
    direct("direct");
    if (acknowledged.contains("direct"))
      roots.push_back({acknowledged.at("direct").node, "runs/2"});
    send("sent");
    if (acknowledged.contains("sent")) roots.push_back({acknowledged.at("sent").node, "runs/3"});
    auto collected = store->collect(ask(), {.spare = std::chrono::seconds(0)});
    return acknowledged.size() == 5 && collected.ok();
  }
  void lose_index() {
    for (std::string end : {"", "-wal", "-shm"}) fs::remove(root + "/index.db" + end);
  }
  /// All that a root names is there, and what counts as sent is whole.
  void check() {
    for (auto& root_ : roots) REQUIRE(store->owns("ann", root_.node).value());
    auto found = store->check(ask()).value();
    REQUIRE(found.hurt.empty());
    for (auto& name : tried)
      if (store->owns("ann", name).value())
        REQUIRE(store
                    ->check([&]() -> Result<std::vector<Root>> {
                      return std::vector<Root>{{name, "tried"}};
                    })
                    .value()
                    .hurt.empty());
  }
  void reopen() {
    store.reset();
    store = std::move(open_pack_store(root)).value();
  }
  bool has_temporaries() const {
    for (auto& entry : fs::directory_iterator(root + "/packs"))
      if (entry.path().extension() == ".tmp") return true;
    return false;
  }
};

}  // namespace

TEST_CASE("a call that fails once, at any step, loses nothing and leaves nothing") {
  int step = 1;
  for (bool through = false; !through; ++step) {
    Place p;
    disk.only_once = true;
    disk.steps = 0;
    disk.fail_at = step;
    p.work();
    through = disk.steps < step;
    disk.fail_at = 0;
    INFO("step " << step);
    p.check();
    p.reopen();
    p.check();
    REQUIRE_FALSE(p.has_temporaries());
    // It goes on as if nothing had been.
    REQUIRE(p.work());
    p.check();
    if (step == 1) REQUIRE(p.store->stored_bytes() < 10 * 61'000 + 20'000);
  }
  CHECK(step > 10);
}

TEST_CASE("power that goes at any step takes nothing that was acknowledged") {
  bool all_names = GENERATE(false, true), index_lost = GENERATE(false, true);
  int step = 1;
  for (bool through = false; !through; ++step) {
    Place p;
    disk.only_once = false;
    disk.steps = 0;
    disk.fail_at = step;
    p.work();
    through = disk.steps < step;
    INFO("step " << step);
    p.store.reset();
    disk.come_back(all_names);
    if (index_lost) p.lose_index();
    p.reopen();
    p.check();
    REQUIRE_FALSE(p.has_temporaries());
    REQUIRE(p.work());
    p.check();
  }
  CHECK(step > 10);
}
