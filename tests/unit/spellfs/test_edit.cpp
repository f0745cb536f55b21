// A changed tree is the tree that building it anew would give, for a few new nodes.
#include "support.hpp"

using namespace spell;
using namespace spell::spellfs;

namespace {

Entry file(int number, std::int64_t size = 5) {
  Entry entry;
  entry.mode = 0644;
  entry.mtime_ns = number;
  entry.size = size;
  entry.node = fake_name(number);
  return entry;
}

/// Nodes only: what the entries name is never asked for.
struct Nodes final : ChunkStore {
  std::map<Name, std::string> objects;
  mutable int gets = 0;
  Result<std::string> get(Kind, const Name& name) const override {
    ++gets;
    auto it = objects.find(name);
    if (it == objects.end()) return base::error("object_not_found", "no " + name.text());
    return it->second;
  }
  Result<std::vector<Name>> missing(const std::string&, std::span<const Name>) const override {
    return std::vector<Name>{};
  }
  Result<> add_pack(const std::string&, int, std::int64_t) override { return ok(); }
  Result<bool> owns(const std::string&, const Name&) const override { return true; }
  std::int64_t stored_bytes() const override { return 0; }

  Name build(const std::map<std::string, Entry>& entries) {
    Emit emit = [&](Kind, const Name& name, std::string bytes) {
      objects.emplace(name, std::move(bytes));
      return ok();
    };
    TreeBuilder builder(Kind::folder, emit);
    for (auto& [name, entry] : entries) {
      Entry named = entry;
      named.name = name;
      builder.add(named).value();
    }
    return builder.finish().value().node;
  }
  /// Takes the nodes of a pack; returns how many.
  int take(PackInFile& pack) {
    pack.finish();
    auto reader = PackFileReader::open(pack.fd.get(), pack.size).value();
    Decompressor decompressor;
    for (auto& frame : reader.frames()) {
      auto stored = reader.stored(frame).value();
      objects.emplace(frame.name, std::string(decompressor.unpack(frame, stored).value()));
    }
    return static_cast<int>(reader.frames().size());
  }
};

}  // namespace

TEST_CASE("an edited folder is the one that is built anew, whatever changes where") {
  std::uint64_t seed = 1;
  auto random = [&](std::uint64_t below) {
    seed = seed * 6364136223846793005 + 1442695040888963407;
    return (seed >> 33) % below;
  };
  for (int round = 0; round < 24; ++round) {
    Nodes store;
    std::map<std::string, Entry> entries;
    // Also long names: nodes that end because they are full.
    std::size_t length = round % 3 == 2 ? 230 : 0;
    auto name = [&](std::uint64_t i) {
      std::string number = std::to_string(1'000'000 + i);
      return number + std::string(length, 'x');
    };
    auto size = random(round % 2 ? 3000 : 100);
    for (std::uint64_t i = 0; i < size; ++i)
      entries[name(random(20'000))] = file(static_cast<int>(i));
    if (round % 3 == 2)
      for (auto& [key, entry] : entries)
        if (random(3) == 0) {
          entry = {};
          entry.type = EntryType::link;
          entry.target = std::string(1 + random(4000), 't');
        }
    Name tree = store.build(entries);
    for (int step = 0; step < 8; ++step) {
      Changes changes;
      auto count = 1 + random(step == 7 ? 400 : 4);
      for (std::uint64_t i = 0; i < count; ++i) {
        std::string key = name(random(20'002));
        if (random(2) && !entries.empty()) {
          auto it = entries.lower_bound(key);
          key = it == entries.end() ? entries.rbegin()->first : it->first;
        }
        if (random(3) == 0) {
          changes[key] = std::nullopt;
          entries.erase(key);
        } else {
          Entry entry = file(static_cast<int>(random(1'000'000)));
          changes[key] = entry;
          entries[key] = entry;
        }
      }
      PackInFile pack;
      auto edited = edit(store, tree, changes, pack.writer);
      REQUIRE(edited);
      store.take(pack);
      REQUIRE(edited->node == store.build(entries));
      REQUIRE(edited->files == static_cast<std::int64_t>(entries.size()));
      tree = edited->node;
    }
  }
}

TEST_CASE("a file more in a folder of 100,000 reads and writes a few nodes") {
  Nodes store;
  std::map<std::string, Entry> entries;
  for (int i = 0; i < 100'000; ++i) entries["file-" + std::to_string(i)] = file(i);
  Name tree = store.build(entries);
  for (const char* name : {"file-5000x", "a", "z"}) {
    PackInFile pack;
    store.gets = 0;
    auto edited = edit(store, tree, {{name, file(1)}}, pack.writer).value();
    CHECK(store.gets < 12);
    CHECK(pack.writer.bytes() < 100'000);
    entries[name] = file(1);
    store.take(pack);
    CHECK(edited.node == store.build(entries));
    entries.erase(name);
  }
}

TEST_CASE("changes reach into folders, make them, replace and remove them") {
  Nodes store;
  Entry sub;
  sub.type = EntryType::folder;
  sub.mode = 0700;
  sub.node = store.build({{"a", file(1)}, {"b", file(2)}});
  sub.size = 10, sub.files = 2, sub.depth = 1;
  Name tree = store.build({{"sub", sub}, {"x", file(3)}});
  auto edited = [&](const Changes& changes) {
    PackInFile pack;
    auto entry = edit(store, tree, changes, pack.writer).value();
    store.take(pack);
    return entry.node;
  };
  Name inside = edited({{"sub/a", std::nullopt}, {"sub/c", file(4)}});
  CHECK(find(store, inside, "sub/c").value().node == fake_name(4));
  CHECK_FALSE(find(store, inside, "sub/a"));
  CHECK(find(store, inside, "sub").value().mode == 0700);
  CHECK(find(store, inside, "sub").value().files == 2);
  Name fresh = edited({{"new/er/f", file(5)}});
  CHECK(find(store, fresh, "new/er/f"));
  CHECK(find(store, fresh, "new").value().mode == 0755);
  CHECK(find(store, fresh, "new").value().mtime_ns == 5);
  CHECK(find(store, fresh, "").value().depth == 3);
  CHECK(edited({{"sub", std::nullopt}}) == store.build({{"x", file(3)}}));
  CHECK(edited({{"sub/a", std::nullopt}, {"sub/b", std::nullopt}}) ==
        store.build({{"x", file(3)}}));
  Name replaced = edited({{"sub", std::nullopt}, {"sub/d", file(6)}});
  CHECK(list(store, find(store, replaced, "sub").value().node).value().size() == 1);
  // A file takes the place of a folder.
  Name file_now = edited({{"sub", file(7)}, {"sub/a", std::nullopt}, {"sub/b", std::nullopt}});
  CHECK(find(store, file_now, "sub").value().node == fake_name(7));
  CHECK(edited({{"none/at/all", std::nullopt}}) == tree);
  CHECK(edited({}) == tree);
  PackInFile pack;
  CHECK(edit(store, std::nullopt, {{"x", file(3)}}, pack.writer).value().node ==
        store.build({{"x", file(3)}}));
  for (std::string bad : {"", "/x", "../x", "a//b", "x/below"})
    CHECK(edit(store, tree, {{bad, file(1)}}, pack.writer).error().code() == "invalid_path");
}
