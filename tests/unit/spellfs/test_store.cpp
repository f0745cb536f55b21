// What every ChunkStore promises, tried on each of them.
#include <set>
#include <thread>

#include "faulty_store.hpp"

using namespace spell;
using namespace spell::spellfs;

namespace {

enum class Which { memory, packs, faulty };

struct Stores {
  TemporaryFolder folder;
  std::unique_ptr<ChunkStore> store;
  explicit Stores(Which which) {
    switch (which) {
      case Which::memory:
        store = make_memory_store();
        break;
      case Which::packs:
        store = std::move(open_pack_store(folder / "store")).value();
        break;
      case Which::faulty:
        store = std::make_unique<RepeatingStore>(std::make_unique<FaultyStore>(folder / "store"));
    }
  }
};

Entry entry_for(const std::string& name, std::int64_t size, const Name& node) {
  Entry entry;
  entry.name = name;
  entry.mode = 0644;
  entry.size = size;
  entry.node = node;
  return entry;
}

Entry folder_entry(const std::string& name, const Child& child) {
  Entry entry = entry_for(name, child.totals.size, child.node);
  entry.type = EntryType::folder;
  entry.files = child.totals.files;
  entry.depth = child.totals.depth;
  return entry;
}

Child add_folder(PackInFile& pack, const std::vector<Entry>& entries) {
  Emit emit = [&](Kind kind, const Name& name, std::string bytes) {
    return pack.writer.add(kind, name, bytes);
  };
  TreeBuilder builder(Kind::folder, emit);
  for (auto& entry : entries) builder.add(entry).value();
  return builder.finish().value();
}

Result<> send(ChunkStore& store, const std::string& owner, PackInFile& pack) {
  if (pack.size == 0) pack.finish();
  return store.add_pack(owner, pack.fd.get(), pack.size);
}

std::vector<Name> missing(const ChunkStore& store, const std::string& owner,
                          std::vector<Name> names) {
  return store.missing(owner, names).value();
}

}  // namespace

TEST_CASE("a store gives back what it was sent") {
  Stores s(GENERATE(Which::memory, Which::packs, Which::faulty));
  PackInFile pack;
  std::string large = noise(300'000, 1), dull(100'000, 'x');
  Name a = pack.add(Kind::chunk, large), b = pack.add(Kind::chunk, dull);
  Child root = add_folder(pack, {entry_for("small", 5, pack.add(Kind::chunk, "small"))});
  CHECK(missing(*s.store, "ann", {a, b, root.node}) == std::vector<Name>{a, b, root.node});
  REQUIRE(send(*s.store, "ann", pack));
  CHECK(s.store->get(Kind::chunk, a).value() == large);
  CHECK(s.store->get(Kind::chunk, b).value() == dull);
  CHECK(s.store->get(Kind::folder, root.node));
  CHECK(s.store->get(Kind::chunk, root.node).error().code() == "object_not_found");
  CHECK(s.store->get(Kind::chunk, fake_name(9)).error().code() == "object_not_found");
  CHECK(missing(*s.store, "ann", {a, fake_name(9), root.node}) == std::vector<Name>{fake_name(9)});
  CHECK(s.store->owns("ann", root.node).value());
  CHECK(s.store->stored_bytes() > 300'000);
}

TEST_CASE("several chunks are read as each is by itself") {
  Stores s(GENERATE(Which::memory, Which::packs, Which::faulty));
  PackInFile pack;
  std::vector<std::string> contents;
  std::vector<Name> names;
  for (std::size_t size : {70'000, 1, 5'000, 512 << 10, 64, 63, 20'000}) {
    contents.push_back(noise(size, size));
    contents.push_back(std::string(size, static_cast<char>('a' + size % 26)));
  }
  for (auto& content : contents) names.push_back(pack.add(Kind::chunk, content));
  Child root = add_folder(pack, {entry_for("small", 1, names[2])});
  REQUIRE(send(*s.store, "ann", pack));
  std::string room;
  auto read = [&](std::vector<std::size_t> which) {
    std::vector<ObjectSource::ChunkRead> chunks;
    std::size_t size = 0;
    for (auto i : which) size += contents[i].size();
    room.assign(size, '?');
    size = 0;
    for (auto i : which) {
      chunks.push_back({names[i], room.data() + size, contents[i].size()});
      size += contents[i].size();
    }
    return chunks;
  };
  for (auto& which : std::vector<std::vector<std::size_t>>{
           {}, {0}, {3}, {13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0}, {6, 6, 0, 6}}) {
    std::string expected;
    for (auto i : which) expected += contents[i];
    REQUIRE(s.store->read_chunks(read(which)));
    CHECK(room == expected);
  }
  auto chunks = read({0, 1, 2});
  chunks[1].name = fake_name(9);
  CHECK(s.store->read_chunks(chunks).error().code() == "object_not_found");
  chunks[1].name = root.node;
  CHECK(s.store->read_chunks(chunks).error().code() == "object_not_found");
  chunks = read({0, 1, 2});
  --chunks[0].size;
  CHECK(s.store->read_chunks(chunks).error().code() == "damaged");
}

TEST_CASE("what an owner sent is nobody else's, and is stored once") {
  Stores s(GENERATE(Which::memory, Which::packs, Which::faulty));
  PackInFile pack;
  std::string bytes = noise(400'000, 2);
  Name chunk = pack.add(Kind::chunk, bytes);
  REQUIRE(send(*s.store, "ann", pack));
  std::int64_t stored = s.store->stored_bytes();
  CHECK_FALSE(s.store->owns("bob", chunk).value());
  CHECK(missing(*s.store, "bob", {chunk}) == std::vector<Name>{chunk});

  // Naming another's chunk in a tree does not give it away.
  PackInFile thief;
  add_folder(thief, {entry_for("loot", 400'000, chunk)});
  CHECK_FALSE(send(*s.store, "bob", thief));
  PackInFile small;
  REQUIRE(send(*s.store, "ann", small));
  PackInFile thief_of_small;
  Name secret = name_of(Kind::chunk, "secret");
  PackInFile with_secret;
  with_secret.add(Kind::chunk, "secret");
  REQUIRE(send(*s.store, "ann", with_secret));
  add_folder(thief_of_small, {entry_for("loot", 6, secret)});
  CHECK(send(*s.store, "bob", thief_of_small).error().code() == "incomplete_pack");

  // Who has the bytes may send them; they are not stored again.
  REQUIRE(send(*s.store, "bob", pack));
  CHECK(s.store->owns("bob", chunk).value());
  CHECK(missing(*s.store, "bob", {chunk}).empty());
  CHECK(s.store->stored_bytes() < stored + 1000);
  REQUIRE(send(*s.store, "bob", pack));
  CHECK(s.store->get(Kind::chunk, chunk).value() == bytes);
}

TEST_CASE("a second pack may build on what the same owner sent before") {
  Stores s(GENERATE(Which::memory, Which::packs, Which::faulty));
  PackInFile first;
  Name chunk = first.add(Kind::chunk, "before");
  Child inner = add_folder(first, {entry_for("f", 6, chunk)});
  REQUIRE(send(*s.store, "ann", first));
  PackInFile second;
  Child root = add_folder(second, {folder_entry("again", inner), entry_for("g", 6, chunk)});
  REQUIRE(send(*s.store, "ann", second));
  CHECK(s.store->owns("ann", root.node).value());
  CHECK(find(*s.store, root.node, "again/f").value().node == chunk);
}

TEST_CASE("a pack that lacks what it names changes nothing") {
  Stores s(GENERATE(Which::memory, Which::packs, Which::faulty));
  PackInFile pack;
  Name there = pack.add(Kind::chunk, "there");
  Child root = add_folder(pack, {entry_for("a", 5, there), entry_for("b", 5, fake_name(1))});
  CHECK(send(*s.store, "ann", pack).error().code() == "incomplete_pack");
  CHECK(missing(*s.store, "ann", {there, root.node}).size() == 2);
  CHECK_FALSE(s.store->get(Kind::chunk, there));
  CHECK(s.store->stored_bytes() == 0);
}

TEST_CASE("a tree that lies about sizes, numbers, depth or kinds is refused") {
  Stores s(GENERATE(Which::memory, Which::packs, Which::faulty));
  PackInFile pack;
  Name chunk = pack.add(Kind::chunk, "12345");
  Child inner = add_folder(pack, {entry_for("f", 5, chunk)});
  Entry honest = folder_entry("inner", inner), lie = honest;
  bool fine = false;
  SECTION("the truth") { fine = true; }
  SECTION("a folder's size") { lie.size = 6; }
  SECTION("a folder's number of files") { lie.files = 2; }
  SECTION("a folder's depth") { lie.depth = 2; }
  SECTION("a file's size") { lie = entry_for("f", 4, chunk); }
  SECTION("a chunk that is a folder") { lie.node = chunk; }
  SECTION("a file that is a folder") { lie = entry_for("f", 5, inner.node); }
  SECTION("a large file that is a chunk") { lie = entry_for("f", small_file + 1, chunk); }
  add_folder(pack, {lie});
  auto sent = send(*s.store, "ann", pack);
  CHECK(sent.ok() == fine);
  if (!fine) CHECK(sent.error().code() == "bad_pack");
}

TEST_CASE("an object must come after what it names") {
  Stores s(GENERATE(Which::memory, Which::packs, Which::faulty));
  PackInFile scratch, pack;
  Name chunk = name_of(Kind::chunk, "late");
  Child root = add_folder(scratch, {entry_for("f", 4, chunk)});
  add_folder(pack, {entry_for("f", 4, chunk)});
  pack.add(Kind::chunk, "late");
  CHECK(send(*s.store, "ann", pack).error().code() == "incomplete_pack");
  CHECK_FALSE(s.store->owns("ann", root.node).value());
}

TEST_CASE("content that does not match its name, and things that are no node, are refused") {
  Stores s(GENERATE(Which::memory, Which::packs, Which::faulty));
  PackInFile wrong;
  wrong.writer.add(Kind::chunk, fake_name(1), "not what the name says").value();
  CHECK(send(*s.store, "ann", wrong).error().code() == "bad_pack");
  PackInFile no_node;
  no_node.add(Kind::folder, "this is no folder");
  CHECK(send(*s.store, "ann", no_node).error().code() == "bad_pack");
  CHECK(add_bytes(*s.store, "ann", "").error().code() == "bad_pack");
  CHECK(add_bytes(*s.store, "ann", noise(5000, 3)).error().code() == "bad_pack");
  // A store's own pack, with an owner and without bytes, is no way in.
  std::string owned = slurp(SPELL_SOURCE_DIR "/tests/unit/spellfs/golden/owned-pack-v1.bin");
  CHECK(add_bytes(*s.store, "ann", owned).error().code() == "bad_pack");
  CHECK(s.store->stored_bytes() == 0);
}

TEST_CASE("a pack with any wrong bit is refused and leaves nothing") {
  Stores s(GENERATE(Which::memory, Which::packs, Which::faulty));
  std::string bytes = slurp(SPELL_SOURCE_DIR "/tests/unit/spellfs/golden/pack-v1.bin");
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    std::string flipped = bytes;
    flipped[i] = static_cast<char>(flipped[i] ^ (1 << i % 8));
    REQUIRE_FALSE(add_bytes(*s.store, "ann", flipped));
  }
  CHECK(s.store->stored_bytes() == 0);
  CHECK(add_bytes(*s.store, "ann", bytes));
}

TEST_CASE("several threads may send and read at once") {
  Stores s(GENERATE(Which::memory, Which::packs, Which::faulty));
  std::atomic<int> good = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      std::string owner = "owner" + std::to_string(t);
      for (int i = 0; i < 5; ++i) {
        PackInFile pack;
        std::string own = noise(2000, static_cast<std::uint64_t>(100 * t + i)),
                    shared = noise(2000, 7);
        Name a = pack.add(Kind::chunk, own), b = pack.add(Kind::chunk, shared);
        if (!send(*s.store, owner, pack)) continue;
        auto x = s.store->get(Kind::chunk, a), y = s.store->get(Kind::chunk, b);
        good += x && y && *x == own && *y == shared && *s.store->owns(owner, b);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(good == 20);
}

TEST_CASE("the faulty store does fail") {
  TemporaryFolder folder;
  FaultyStore store(folder / "store");
  PackInFile pack;
  pack.add(Kind::chunk, noise(1000, 1));
  pack.finish();
  std::set<std::string> seen;
  for (int i = 0; i < 12; ++i) {
    auto added = store.add_pack("ann", pack.fd.get(), pack.size);
    if (!added) seen.insert(added.error().message());
  }
  CHECK(seen == std::set<std::string>{"not carried out", "the answer is lost", "the power went"});
  CHECK(store.faults() >= 8);
}
