// Collection, checking and use of space of the store on disk.
#include <thread>

#include "support.hpp"

using namespace spell;
using namespace spell::spellfs;
namespace fs = std::filesystem;

namespace {

struct Place {
  TemporaryFolder folder;
  std::string root = folder / "store";
  std::unique_ptr<PackStore> store = std::move(open_pack_store(root)).value();
  std::vector<Root> roots;

  /// Saves a folder through the store's own writer.
  Entry save_in(const std::string& owner, const std::string& path) {
    auto writer = store->writer(owner).value();
    SaveOptions options;
    options.missing = [&](auto names) { return store->missing(owner, names); };
    Entry entry = save(path, options, *writer).value().root;
    writer->finish().value();
    return entry;
  }
  Entry example(const std::string& name, std::uint64_t seed) {
    std::string path = folder / name;
    for (int i = 0; i < 20; ++i)
      write(path + "/" + std::to_string(i), noise(50'000, seed * 100 + static_cast<unsigned>(i)));
    write(path + "/large", noise(1 << 20, seed));
    return save_in("ann", path);
  }
  Roots ask() {
    return [this]() -> Result<std::vector<Root>> { return roots; };
  }
  Result<CollectResult> collect(CollectOptions options = {.spare = std::chrono::seconds(0)}) {
    return store->collect(ask(), options);
  }
  std::vector<fs::path> packs() const {
    std::vector<fs::path> out;
    for (auto& entry : fs::directory_iterator(root + "/packs")) out.push_back(entry.path());
    return out;
  }
  bool whole(const Entry& entry) {
    std::string out = folder / "restored";
    auto restored = restore(*store, entry, out);
    fs::remove_all(out);
    return restored.ok();
  }
  void reopen() {
    store.reset();
    store = std::move(open_pack_store(root)).value();
  }
  void lose_index() {
    store.reset();
    for (std::string end : {"", "-wal", "-shm"}) fs::remove(root + "/index.db" + end);
    store = std::move(open_pack_store(root)).value();
  }
};

}  // namespace

TEST_CASE("what is saved through the store's own writer is there, durable and indexed") {
  Place p;
  Entry entry = p.example("data", 1);
  CHECK(p.whole(entry));
  CHECK(p.store->owns("ann", entry.node).value());
  CHECK_FALSE(p.store->owns("bob", entry.node).value());
  CHECK(p.packs().size() == 1);
  p.lose_index();
  CHECK(p.whole(entry));
  CHECK(p.store->owns("ann", entry.node).value());
  // Again: nothing new.
  auto stored = p.store->stored_bytes();
  p.save_in("ann", p.folder / "data");
  CHECK(p.store->stored_bytes() == stored);
  CHECK(p.packs().size() == 1);
  // Another owner's copy is named, not stored.
  Entry bobs = p.save_in("bob", p.folder / "data");
  CHECK(bobs.node == entry.node);
  CHECK(p.store->owns("bob", entry.node).value());
  CHECK(p.store->stored_bytes() < stored + 20'000);
}

TEST_CASE("the store's own writer gives nobody what another has sent") {
  Place p;
  auto anns = p.store->writer("ann").value();
  Name secret = name_of(Kind::chunk, "secret");
  anns->add(Kind::chunk, secret, "secret").value();
  anns->finish().value();
  Entry loot;
  loot.mode = 0644;
  loot.size = 6;
  loot.node = secret;
  auto bobs = p.store->writer("bob").value();
  Entry root = edit(*p.store, std::nullopt, {{"loot", loot}}, *bobs).value();
  CHECK(bobs->finish().error().code() == "incomplete_pack");
  CHECK_FALSE(p.store->owns("bob", root.node).value());
  auto mine = p.store->writer("ann").value();
  loot.size = 5;
  edit(*p.store, std::nullopt, {{"lie", loot}}, *mine).value();
  CHECK(mine->finish().error().code() == "bad_pack");
}

TEST_CASE("a writer that is given up leaves nothing, and a living one's file is not cleaned away") {
  Place p;
  {
    auto writer = p.store->writer("ann").value();
    writer->add(Kind::chunk, name_of(Kind::chunk, "abc"), "abc").value();
    write(p.root + "/packs/0123.tmp", "left by a process that was killed");
    auto other = open_pack_store(p.root);
    REQUIRE(other);
    CHECK(p.packs().size() == 1);
    CHECK_FALSE(p.store->owns("ann", name_of(Kind::chunk, "abc")).value());
  }
  CHECK(p.packs().empty());
}

TEST_CASE("collection frees what no root reaches, and only that") {
  Place p;
  Entry kept = p.example("kept", 1), gone = p.example("gone", 2);
  p.roots = {{kept.node, "runs/1"}};
  // An object of the kept folder in the pack of the other: that pack is written anew.
  fs::create_directories(p.folder / "mixed");
  fs::copy(p.folder / "gone/3", p.folder / "mixed/3");
  Entry mixed = p.save_in("ann", p.folder / "mixed");
  p.roots.push_back({mixed.node, "runs/2"});
  std::int64_t before = p.store->stored_bytes();
  auto collected = p.collect();
  REQUIRE(collected);
  CHECK(collected->packs_rewritten == 1);
  CHECK(collected->packs_removed == 0);
  CHECK(collected->bytes > 1'800'000);
  CHECK(p.store->stored_bytes() == before - collected->bytes);
  CHECK_FALSE(p.store->owns("ann", gone.node).value());
  CHECK_FALSE(p.store->get(Kind::folder, gone.node));
  for (int again = 0; again < 3; ++again) {
    CHECK(p.whole(kept));
    CHECK(p.whole(mixed));
    CHECK(p.store->owns("ann", mixed.node).value());
    CHECK(p.store->check(p.ask()).value().fine());
    if (again == 0) p.reopen();
    if (again == 1) p.lose_index();
  }
  // It can be sent again.
  CHECK(p.save_in("ann", p.folder / "gone").node == gone.node);
  CHECK(p.whole(gone));
  p.roots.clear();
  REQUIRE(p.collect());
  CHECK(p.packs().empty());
  CHECK(p.store->stored_bytes() == 0);
}

TEST_CASE("what arrived recently, or is pinned, stays with all that it names") {
  Place p;
  Entry old = p.example("old", 1);
  {
    auto collected = p.collect({.spare = std::chrono::hours(24)});
    REQUIRE(collected);
    CHECK(collected->objects == 0);
    CHECK(p.whole(old));
  }
  {
    auto pin = p.store->pin({old.node, fake_name(1)});
    REQUIRE(p.collect());
    CHECK(p.whole(old));
    auto other = p.store->pin({old.node});
    auto moved = std::move(pin);
  }
  REQUIRE(p.collect());
  CHECK_FALSE(p.store->get(Kind::folder, old.node));
}

TEST_CASE("a root that appears while a collection runs is not hurt") {
  Place p;
  Entry other = p.example("other", 1), entry = p.example("data", 2);
  PackStore::Pin pin;
  int asked = 0;
  bool pinned = GENERATE(false, true);
  // At its first question there is no root yet; it comes before anything is condemned.
  auto roots = [&]() -> Result<std::vector<Root>> {
    if (asked++ == 0) return std::vector<Root>{};
    return std::vector<Root>{{entry.node, "runs/1"}};
  };
  auto none = [&]() -> Result<std::vector<Root>> { return std::vector<Root>{}; };
  if (pinned) pin = p.store->pin({entry.node});
  REQUIRE(
      p.store->collect(pinned ? Roots(none) : Roots(roots), {.spare = std::chrono::seconds(0)}));
  CHECK(p.whole(entry));
  CHECK_FALSE(p.store->get(Kind::folder, other.node));
}

TEST_CASE("a tree that arrives while a collection runs may build on what was about to go") {
  Place p;
  Entry old = p.example("data", 1);
  int asked = 0;
  Entry fresh;
  auto roots = [&]() -> Result<std::vector<Root>> {
    // Between marking and condemning. The writer asks, and is told that the old files are there.
    if (asked++ == 0) {
      write(p.folder / "data/new", "new");
      fresh = p.save_in("ann", p.folder / "data");
    }
    return std::vector<Root>{};
  };
  REQUIRE(p.store->collect(roots, {.spare = std::chrono::seconds(0)}));
  CHECK(p.store->owns("ann", fresh.node).value());
  CHECK(p.whole(fresh));
}

TEST_CASE("who relied on what was collected meanwhile is told, and can save again") {
  Place p;
  Entry old = p.example("data", 1);
  auto writer = p.store->writer("ann").value();
  SaveOptions options;
  options.missing = [&](auto names) { return p.store->missing("ann", names); };
  write(p.folder / "data/new", "new");
  REQUIRE(save(p.folder / "data", options, *writer));
  REQUIRE(p.collect());
  CHECK(writer->finish().error().code() == "incomplete_pack");
  writer.reset();
  Entry again = p.save_in("ann", p.folder / "data");
  CHECK(p.whole(again));
}

TEST_CASE(
    "collection may stop at any root's question, and nothing that counts as sent lacks a part") {
  for (int steps = 1; steps < 8; ++steps) {
    Place p;
    Entry kept = p.example("kept", 1), gone = p.example("gone", 2), more = p.example("more", 3);
    int asked = 0;
    auto roots = [&]() -> Result<std::vector<Root>> {
      if (asked++ == steps) return base::error("io_error", "killed");
      return std::vector<Root>{{kept.node, "runs/1"}};
    };
    auto collected = p.store->collect(roots, {.spare = std::chrono::seconds(0)});
    p.reopen();
    for (auto& entry : {kept, gone, more})
      if (p.store->owns("ann", entry.node).value()) CHECK(p.whole(entry));
    CHECK(p.whole(kept));
    if (collected) break;
    REQUIRE(steps < 7);
  }
}

TEST_CASE("nothing is collected while a root cannot be followed") {
  Place p;
  Entry kept = p.example("kept", 1), gone = p.example("gone", 2);
  std::string pack = p.packs()[0];
  p.roots = {{kept.node, "ada runs/1"}};
  for (auto& path : p.packs()) {
    std::string bytes = slurp(path);
    auto fd = base::open(path, O_RDWR).value();
    auto reader = PackFileReader::open(fd.get(), static_cast<std::int64_t>(bytes.size())).value();
    for (auto& frame : reader.frames())
      if (frame.name == kept.node) base::pwrite_all(fd.get(), "!", frame.offset + 60).value();
  }
  auto collected = p.collect();
  REQUIRE_FALSE(collected);
  CHECK(collected.error().code() == "damaged");
  CHECK(collected.error().message().starts_with("ada runs/1: "));
  CHECK(p.whole(gone));
}

TEST_CASE(
    "a check finds each wrong bit, names whom it hurts, and what is forgotten can be sent again") {
  Place p;
  Entry a = p.example("a", 1), b = p.example("b", 2);
  p.roots = {{a.node, "runs/1"}, {b.node, "runs/2"}};
  auto good = p.store->check(p.ask()).value();
  CHECK(good.fine());
  CHECK(good.packs == 2);
  auto packs = p.packs();
  std::sort(packs.begin(), packs.end());
  std::string bytes = slurp(packs[1]);
  auto fd = base::open(packs[1], O_RDWR).value();
  for (std::size_t at = 1; at < bytes.size(); at += bytes.size() / 97) {
    base::pwrite_all(fd.get(), std::string(1, static_cast<char>(bytes[at] ^ 8)),
                     static_cast<std::int64_t>(at))
        .value();
    auto found = p.store->check(p.ask()).value();
    REQUIRE(found.damaged.size() >= 1);
    REQUIRE(found.damaged[0].pack == packs[1].filename());
    REQUIRE(found.hurt.size() <= 1);
    if (!found.hurt.empty()) REQUIRE(found.hurt[0].label == "runs/2");
    if (found.damaged[0].name) REQUIRE(found.hurt.size() == 1);
    base::pwrite_all(fd.get(), bytes.substr(at, 1), static_cast<std::int64_t>(at)).value();
  }
  CHECK(p.store->check(p.ask()).value().fine());

  base::pwrite_all(fd.get(), "!", 100'000).value();
  auto found = p.store->check(p.ask(), {.forget_damaged = true}).value();
  REQUIRE(found.hurt.size() == 1);
  CHECK_FALSE(p.store->owns("ann", b.node).value());
  CHECK(p.store->owns("ann", a.node).value());
  CHECK(list(*p.store, b.node).value().size() == 21);  // what is whole can still be read
  p.save_in("ann", p.folder / "b");
  CHECK(p.store->owns("ann", b.node).value());
  CHECK(p.whole(b));
  CHECK(p.store->check(p.ask()).value().hurt.empty());
}

TEST_CASE("usage counts each root's bytes, and what is stored once") {
  Place p;
  Entry a = p.example("a", 1), same = p.save_in("ann", p.folder / "a");
  std::vector<Name> one{a.node}, two{a.node, same.node};
  auto first = p.store->usage(one).value(), both = p.store->usage(two).value();
  CHECK(first.bytes == 20 * 50'000 + (1 << 20));
  CHECK(first.files == 21);
  CHECK(both.bytes == 2 * first.bytes);
  CHECK(both.files == 42);
  CHECK(both.stored == first.stored);
  CHECK(first.stored > first.bytes);
  CHECK(first.stored < p.store->stored_bytes());
  std::vector<Name> none{fake_name(3)};
  CHECK(p.store->usage(none).error().code() == "object_not_found");
}

TEST_CASE("collections, saves and reads go on side by side") {
  Place p;
  std::atomic<bool> over = false;
  std::atomic<int> wrong = 0;
  std::mutex mutex;
  std::vector<Root> roots;
  std::thread collector([&] {
    auto ask = [&]() -> Result<std::vector<Root>> {
      std::lock_guard lock(mutex);
      return roots;
    };
    while (!over) wrong += !p.store->collect(ask, {.spare = std::chrono::seconds(0)});
  });
  for (std::uint64_t i = 0; i < 12; ++i) {
    std::string path = p.folder / "data";
    write(path + "/changing", noise(300'000, 50 + i % 3));
    write(path + "/constant", noise(200'000, 9));
    for (int attempt = 0;; ++attempt) {
      auto writer = p.store->writer("ann").value();
      SaveOptions options;
      options.missing = [&](auto names) { return p.store->missing("ann", names); };
      Entry entry = save(path, options, *writer).value().root;
      auto finished = writer->finish();
      auto pin = p.store->pin({entry.node});
      if (!finished || !p.store->owns("ann", entry.node).value()) {
        wrong += attempt > 20;
        if (attempt > 20) break;
        continue;
      }
      {
        std::lock_guard lock(mutex);
        roots = {{entry.node, "newest"}};
      }
      pin = {};
      std::string out = p.folder / ("out" + std::to_string(i));
      wrong += !restore(*p.store, entry, out);
      break;
    }
  }
  over = true;
  collector.join();
  CHECK(wrong == 0);
  p.lose_index();
  CHECK(p.store->check([&]() -> Result<std::vector<Root>> { return roots; }).value().fine());
}
