// What only the store on disk promises: it survives the loss of its index and finds damage.
#include "support.hpp"

using namespace spell;
using namespace spell::spellfs;
namespace fs = std::filesystem;

namespace {

std::unique_ptr<ChunkStore> open(const std::string& folder) {
  return std::move(open_pack_store(folder)).value();
}

std::vector<fs::path> packs_of(const std::string& folder) {
  std::vector<fs::path> out;
  for (auto& entry : fs::directory_iterator(folder + "/packs")) out.push_back(entry.path());
  std::sort(out.begin(), out.end());
  return out;
}

/// A store with two owners: ann sent `tree` and `shared`, bob `shared` and `own`.
struct Example {
  TemporaryFolder folder;
  std::string root = folder / "store", file_bytes = noise(700'000, 1);
  Name tree, shared, own;
  fs::path anns_pack, bobs_pack;
  Example() {
    auto store = open(root);
    fs::create_directories(folder / "data");
    write(folder / "data/sub/file", file_bytes);
    PackInFile anns, bobs;
    tree = save(folder / "data", {}, anns.writer).value().tree.value();
    shared = anns.add(Kind::chunk, "shared");
    shared = bobs.add(Kind::chunk, "shared");
    own = bobs.add(Kind::chunk, noise(50'000, 2));
    anns.finish();
    bobs.finish();
    store->add_pack("ann", anns.fd.get(), anns.size).value();
    anns_pack = packs_of(root).at(0);
    store->add_pack("bob", bobs.fd.get(), bobs.size).value();
    for (auto& path : packs_of(root))
      if (path != anns_pack) bobs_pack = path;
  }
  void check(const ChunkStore& store) const {
    Entry entry = find(store, tree, "sub/file").value();
    CHECK(read(store, entry.node, entry.size, 0, SIZE_MAX).value() == file_bytes);
    CHECK(store.get(Kind::chunk, shared).value() == "shared");
    CHECK(store.get(Kind::chunk, own).value() == noise(50'000, 2));
    CHECK(store.owns("ann", tree).value());
    CHECK(store.owns("ann", shared).value());
    CHECK(store.owns("bob", shared).value());
    CHECK(store.owns("bob", own).value());
    CHECK_FALSE(store.owns("bob", tree).value());
    CHECK_FALSE(store.owns("ann", own).value());
    CHECK_FALSE(store.owns("eve", shared).value());
  }
};

}  // namespace

TEST_CASE("a store is the same when it is opened again") {
  Example example;
  std::int64_t stored = open(example.root)->stored_bytes();
  CHECK(stored > 0);
  auto store = open(example.root);
  example.check(*store);
  CHECK(store->stored_bytes() == stored);
}

TEST_CASE("a lost or damaged index is rebuilt from the packs, owners included") {
  Example example;
  std::string index = example.root + "/index.db";
  std::int64_t stored = open(example.root)->stored_bytes();
  SECTION("lost") { fs::remove(index); }
  SECTION("empty") { write(index, ""); }
  SECTION("no database") { write(index, noise(100'000, 3)); }
  SECTION("of another version") {
    std::string bytes = slurp(index);
    bytes[63] = 77;  // user_version
    write(index, bytes);
  }
  SECTION("cut") { fs::resize_file(index, fs::file_size(index) / 2); }
  SECTION("overwritten pages") {
    std::string bytes = slurp(index);
    for (std::size_t at = 4096; at < bytes.size(); ++at) bytes[at] = static_cast<char>(at * 7);
    write(index, bytes);
  }
  auto store = open(example.root);
  example.check(*store);
  CHECK(store->stored_bytes() == stored);
}

TEST_CASE("an index that is damaged while the store is open is rebuilt at once") {
  Example example;
  auto store = open(example.root);
  std::string bytes = slurp(example.root + "/index.db");
  // In place: the store's own descriptors see it.
  auto fd = base::open(example.root + "/index.db", O_RDWR).value();
  base::pwrite_all(fd.get(), std::string(bytes.size(), '\x55'), 0).value();
  fs::remove(example.root + "/index.db-wal");
  example.check(*store);
  PackInFile pack;
  Name chunk = pack.add(Kind::chunk, "afterwards");
  pack.finish();
  CHECK(store->add_pack("ann", pack.fd.get(), pack.size));
  CHECK(store->owns("ann", chunk).value());
}

TEST_CASE("a pack that an earlier crash left out of the index is taken in, left-overs go") {
  Example example;
  // As after a crash between the renaming of the second pack and the index's commit.
  auto packs = packs_of(example.root);
  REQUIRE(packs.size() == 2);
  fs::rename(example.bobs_pack, example.folder / "kept");
  {
    auto store = open(example.root);
    CHECK_FALSE(store->owns("bob", example.own).value());
  }
  fs::rename(example.folder / "kept", example.bobs_pack);
  write(example.root + "/packs/0123.tmp", "half a pack");
  auto store = open(example.root);
  example.check(*store);
  CHECK(packs_of(example.root) == packs);
}

TEST_CASE("what a lost pack held is missing again, and can be sent again") {
  Example example;
  fs::remove(example.anns_pack);
  auto store = open(example.root);
  CHECK_FALSE(store->owns("ann", example.tree).value());
  CHECK(store->get(Kind::folder, example.tree).error().code() == "object_not_found");
  PackInFile again;
  REQUIRE(save(example.folder / "data", {}, again.writer).value().tree == example.tree);
  again.add(Kind::chunk, "shared");
  again.finish();
  REQUIRE(store->add_pack("ann", again.fd.get(), again.size));
  example.check(*store);
}

TEST_CASE("the packs of a store name their owner") {
  Example example;
  std::vector<std::string> owners;
  for (auto& path : {example.anns_pack, example.bobs_pack}) {
    auto fd = base::open(path, O_RDONLY).value();
    owners.push_back(PackFileReader::open(fd.get(), static_cast<std::int64_t>(fs::file_size(path)))
                         .value()
                         .owner());
  }
  CHECK(owners == std::vector<std::string>{"ann", "bob"});
}

TEST_CASE("what is refused or adds nothing leaves no file") {
  Example example;
  auto store = open(example.root);
  auto packs = packs_of(example.root);
  CHECK_FALSE(add_bytes(*store, "ann", noise(10'000, 4)));
  PackInFile known;
  known.add(Kind::chunk, "shared");
  known.finish();
  CHECK(store->add_pack("ann", known.fd.get(), known.size));
  CHECK(packs_of(example.root) == packs);
  CHECK(store->add_pack("", known.fd.get(), known.size).error().code() == "bad_owner");
  CHECK(store->add_pack(std::string(256, 'x'), known.fd.get(), known.size).error().code() ==
        "bad_owner");
}

TEST_CASE("a store of another version is left alone") {
  Example example;
  write(example.root + "/format", "spellfs 2\n");
  CHECK(open_pack_store(example.root).error().code() == "newer_data");
}
