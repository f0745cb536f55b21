// Packs that are cut or changed on disk: what cannot be verified is never returned.
#include "../../unit/spellfs/support.hpp"

using namespace spell;
using namespace spell::spellfs;
namespace fs = std::filesystem;

namespace {

/// A store with one pack of `ann`: chunks, file nodes and folders. Its index is removed.
struct Example {
  TemporaryFolder folder;
  std::string root = folder / "store", pack;
  std::vector<std::pair<Frame, std::string>> objects;
  Name tree;
  Example() {
    write(folder / "data/a", noise(120'000, 1));
    write(folder / "data/sub/b", "small");
    write(folder / "data/sub/c", std::string(30'000, 'c'));
    auto store = std::move(open_pack_store(root)).value();
    PackInFile made;
    tree = save(folder / "data", {}, made.writer).value().tree.value();
    made.finish();
    store->add_pack("ann", made.fd.get(), made.size).value();
    for (auto& entry : fs::directory_iterator(root + "/packs")) pack = entry.path();
    auto fd = base::open(pack, O_RDONLY).value();
    auto reader =
        PackFileReader::open(fd.get(), static_cast<std::int64_t>(fs::file_size(pack))).value();
    for (auto& frame : reader.frames())
      objects.emplace_back(frame, store->get(frame.kind, frame.name).value());
  }
  void lose_index() {
    for (std::string end : {"", "-wal", "-shm"}) fs::remove(root + "/index.db" + end);
  }
};

}  // namespace

TEST_CASE("of a pack that is cut, what is whole can be read, and nothing else counts as sent") {
  Example example;
  std::string bytes = slurp(example.pack);
  std::vector<std::int64_t> cuts = {0, 5, 12};
  for (auto& [frame, content] : example.objects)
    for (std::int64_t at : {0, 1, 43, 44, 45}) cuts.push_back(frame.offset + at);
  for (std::size_t back : {1, 8, 9, 40, 57, 100, 400})
    cuts.push_back(static_cast<std::int64_t>(bytes.size() - back));
  for (std::int64_t cut : cuts) {
    example.lose_index();
    write(example.pack, bytes.substr(0, static_cast<std::size_t>(cut)));
    auto store = open_pack_store(example.root);
    REQUIRE(store);
    for (auto& [frame, content] : example.objects) {
      bool whole = frame.offset + 44 + frame.stored <= cut;
      auto found = (*store)->get(frame.kind, frame.name);
      REQUIRE(found.ok() == whole);
      if (whole) REQUIRE(*found == content);
      REQUIRE((*store)->owns("ann", frame.name).value() == whole);
    }
    // The client sends what is missing, and all is well.
    PackInFile again;
    SaveOptions options;
    options.missing = [&](std::span<const Name> names) { return (*store)->missing("ann", names); };
    REQUIRE(save(example.folder / "data", options, again.writer).value().tree == example.tree);
    again.finish();
    REQUIRE((*store)->add_pack("ann", again.fd.get(), again.size));
    for (auto& [frame, content] : example.objects)
      REQUIRE((*store)->get(frame.kind, frame.name).value() == content);
    for (auto& entry : fs::directory_iterator(example.root + "/packs"))
      if (entry.path() != example.pack) fs::remove(entry.path());
  }
}

TEST_CASE("a wrong bit in a pack is never returned as data") {
  Example example;
  std::string bytes = slurp(example.pack);
  auto fd = base::open(example.pack, O_RDWR).value();
  bool without_index = GENERATE(false, true);
  for (auto& [frame, content] : example.objects) {
    for (std::int64_t at :
         {std::int64_t{0}, std::int64_t{1}, std::int64_t{5}, std::int64_t{20}, std::int64_t{44},
          std::int64_t{43} + frame.stored / 2, std::int64_t{43} + frame.stored}) {
      auto where = static_cast<std::size_t>(frame.offset + at);
      base::pwrite_all(fd.get(), std::string(1, static_cast<char>(bytes[where] ^ 4)),
                       static_cast<std::int64_t>(where))
          .value();
      if (without_index) example.lose_index();
      {
        auto store = open_pack_store(example.root);
        REQUIRE(store);
        auto hit = (*store)->get(frame.kind, frame.name);
        REQUIRE_FALSE(hit);
        if (!without_index || frame.kind == Kind::chunk) REQUIRE(hit.error().code() == "damaged");
        if (frame.kind == Kind::chunk) {
          std::string room(content.size(), '?');
          ObjectSource::ChunkRead chunk{frame.name, room.data(), room.size()};
          REQUIRE((*store)->read_chunks({&chunk, 1}).error().code() == "damaged");
        }
        for (auto& [other, other_content] : example.objects) {
          if (other.name == frame.name) continue;
          auto found = (*store)->get(other.kind, other.name);
          REQUIRE(found);
          REQUIRE(*found == other_content);
        }
      }
      base::pwrite_all(fd.get(), bytes.substr(where, 1), static_cast<std::int64_t>(where)).value();
    }
  }
}

TEST_CASE("a wrong bit in header, index or trailer loses nothing") {
  Example example;
  std::string bytes = slurp(example.pack);
  auto& last = example.objects.back().first;
  for (std::size_t at = static_cast<std::size_t>(last.offset) + 44 + last.stored; at < bytes.size();
       at += 13) {
    std::string flipped = bytes;
    flipped[at] = static_cast<char>(flipped[at] ^ 16);
    write(example.pack, flipped);
    example.lose_index();
    auto store = open_pack_store(example.root);
    REQUIRE(store);
    for (auto& [frame, content] : example.objects)
      REQUIRE((*store)->get(frame.kind, frame.name).value() == content);
  }
}

TEST_CASE("a pack that cannot be stored is not acknowledged and leaves nothing") {
  Example example;
  auto store = std::move(open_pack_store(example.root)).value();
  PackInFile pack;
  Name chunk = pack.add(Kind::chunk, noise(100'000, 9));
  pack.finish();
  // The folder is gone: every later step would fail as well.
  fs::rename(example.root + "/packs", example.root + "/elsewhere");
  CHECK_FALSE(store->add_pack("ann", pack.fd.get(), pack.size));
  CHECK_FALSE(store->owns("ann", chunk).value());
  fs::rename(example.root + "/elsewhere", example.root + "/packs");
  CHECK(store->add_pack("ann", pack.fd.get(), pack.size));
  CHECK(store->owns("ann", chunk).value());
}
