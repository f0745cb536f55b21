// The cache of a save: what did not change is not read again, and what did is never missed.
#include <utime.h>

#include "base/clock.hpp"
#include "spellfs/save_cache.hpp"
#include "support.hpp"

using namespace spell;
using namespace spell::spellfs;
namespace fs = std::filesystem;

namespace {

struct CachedPlace {
  TemporaryFolder folder;
  std::string in = folder / "in", cache = folder / "cache";
  std::unique_ptr<ChunkStore> store = make_memory_store();
  std::int64_t bytes_read = 0;

  SaveResult save_in(ChunkStore& to) {
    PackInFile pack;
    SaveOptions options;
    options.cache = cache;
    options.missing = [&](auto names) { return to.missing("ann", names); };
    options.progress = [&](std::int64_t, std::int64_t bytes) { bytes_read = bytes; };
    auto saved = save(in, options, pack.writer).value();
    pack.finish();
    to.add_pack("ann", pack.fd.get(), pack.size).value();
    return saved;
  }
  SaveResult save_again() { return save_in(*store); }

  /// Until a file that is written now counts as settled: its time is in the past.
  static void wait_for_tick() {
    auto until = base::unix_us() + 25'000;
    while (base::unix_us() < until) {
    }
  }
};

}  // namespace

TEST_CASE("unchanged files are not read again; changed, new and renamed ones are") {
  CachedPlace p;
  for (int i = 0; i < 300; ++i) {
    std::string n = std::to_string(i);
    write(p.in + "/" + (i % 3 ? "sub/" : "") + (i % 7 ? "a/" : "a.b/") + n, noise(1000, 1) + n);
  }
  write(p.in + "/large", noise(300'000, 2));
  write(p.in + "/empty", "");
  fs::create_symlink("large", p.in + "/link");
  p.wait_for_tick();
  auto first = p.save_again();
  CHECK(p.bytes_read > 600'000);
  auto again = p.save_again();
  CHECK(p.bytes_read == 0);
  CHECK(again.tree == first.tree);
  CHECK(again.files == first.files);
  CHECK(again.bytes == first.bytes);
  CHECK(again.new_bytes < 50);

  SECTION("the same size and mtime, other bytes") {
    struct stat st;
    REQUIRE(::stat((p.in + "/large").c_str(), &st) == 0);
    write(p.in + "/large", noise(300'000, 3));
    timespec times[2] = {st.st_atim, st.st_mtim};
    REQUIRE(::utimensat(AT_FDCWD, (p.in + "/large").c_str(), times, 0) == 0);
    auto changed = p.save_again();
    CHECK(p.bytes_read == 300'000);
    CHECK(changed.tree != first.tree);
    CHECK(read(*p.store, find(*p.store, *changed.tree, "large").value().node, 300'000, 0, 300'000)
              .value() == noise(300'000, 3));
  }
  SECTION("new, gone, renamed, and another mode") {
    write(p.in + "/sub/aa", "new");
    fs::remove(p.in + "/sub/a/1");
    fs::rename(p.in + "/sub/a/2", p.in + "/z");
    ::chmod((p.in + "/sub/a/4").c_str(), 0755);
    auto changed = p.save_again();
    CHECK(p.bytes_read == 3 + 1001 + 1001);
    CHECK(find(*p.store, *changed.tree, "sub/a/4").value().mode == 0755);
    CHECK(find(*p.store, *changed.tree, "z"));
    CHECK_FALSE(find(*p.store, *changed.tree, "sub/a/1"));
  }
  SECTION("a store that does not have the last tree any more gets all") {
    auto other = make_memory_store();
    CHECK(p.save_in(*other).tree == first.tree);
    CHECK(other->owns("ann", *first.tree).value());
  }
  SECTION("a cache that is cut or wrong anywhere is none") {
    std::string bytes = slurp(p.cache);
    for (std::size_t at = 0; at < bytes.size(); at += 1 + bytes.size() / 20) {
      std::string wrong = bytes;
      wrong[at] = static_cast<char>(wrong[at] ^ 1);
      write(p.cache, at % 2 ? wrong : bytes.substr(0, at));
      CHECK(p.save_again().tree == first.tree);
      CHECK(p.bytes_read > 600'000);
    }
  }
  SECTION("another folder's cache is none") {
    fs::rename(p.in, p.folder / "moved");
    fs::create_directory(p.in);
    for (auto& entry : fs::directory_iterator(p.folder / "moved"))
      fs::rename(entry.path(), p.in + "/" + entry.path().filename().string());
    CHECK(p.save_again().tree == first.tree);
    CHECK(p.bytes_read > 600'000);
  }
}

TEST_CASE("a file of this very moment is not remembered: it may change within the clock's tick") {
  CachedPlace p;
  write(p.in + "/old", "old");
  p.wait_for_tick();
  write(p.in + "/young", "young");
  p.save_again();
  p.save_again();
  CHECK(p.bytes_read == 5);
}

TEST_CASE("the cache of a save is written as its format says") {
  TemporaryFolder folder;
  SaveCacheWriter writer(folder / "cache");
  writer.add("a/x", {{5, 1, -2, 3, 0644}, fake_name(1)});
  writer.add("a/xy", {{0, 1, 2, 4, 0600}, {}});
  writer.add("a.b", {{7, 1, 2, 5, 0755}, fake_name(2)});
  REQUIRE(writer.finish({11, 12, fake_name(3), 0}).ok());
  CHECK(base::hex(base::sha256(slurp(folder / "cache"))) ==
        base::hex(
            base::sha256(slurp(SPELL_SOURCE_DIR "/tests/unit/spellfs/golden/save-cache-v1.bin"))));
  auto reader = SaveCacheReader::open(base::open(folder / "cache", O_RDONLY).value()).value();
  CHECK(reader.head().device == 11);
  CHECK(reader.head().inode == 12);
  CHECK(reader.head().root == fake_name(3));
  CHECK(reader.head().count == 3);
  std::string path;
  auto first = reader.next(path).value();
  CHECK(path == "a/x");
  CHECK(first->state.ctime_ns == -2);
  CHECK(first->node == fake_name(1));
  REQUIRE(reader.next(path).value());
  CHECK(path == "a/xy");
  REQUIRE(reader.next(path).value());
  CHECK(path == "a.b");
  CHECK_FALSE(reader.next(path).value());
}

TEST_CASE("a cache of more than a piece is written and read by pieces") {
  constexpr int many = 60'000;  // some megabytes
  TemporaryFolder folder;
  SaveCacheWriter writer(folder / "cache");
  auto name = [](int i) { return "folder/" + std::to_string(1'000'000 + i); };
  for (int i = 0; i < many; ++i) writer.add(name(i), {{i, 1, 2, 3, 0644}, fake_name(i)});
  REQUIRE(writer.finish({11, 12, fake_name(3), 0}).ok());
  CHECK(fs::file_size(folder / "cache") > 3 << 20);
  CHECK(std::distance(fs::directory_iterator(folder.path), fs::directory_iterator()) == 1);
  auto open = [&] { return SaveCacheReader::open(base::open(folder / "cache", O_RDONLY).value()); };
  auto reader = open().value();
  std::string path;
  for (int i = 0; i < many; ++i) {
    auto file = reader.next(path).value();
    REQUIRE(file);
    REQUIRE(path == name(i));
    REQUIRE(file->state.size == i);
    REQUIRE(file->node == (i > 0 ? fake_name(i) : Name{}));
  }
  CHECK_FALSE(reader.next(path).value());
  // Cut anywhere, or with a wrong bit, it is none.
  auto whole = slurp(folder / "cache");
  for (std::size_t at : {std::size_t(0), std::size_t(50), whole.size() / 2, whole.size() - 1}) {
    auto bad = whole;
    bad[at] ^= 1;
    write(folder / "cache", bad);
    CHECK(open().error().code() == "bad_cache");
    write(folder / "cache", whole.substr(0, at));
    CHECK(open().error().code() == "bad_cache");
  }
}

TEST_CASE("the order of a walk compares components") {
  CHECK(walked_before("a/x", "a.b"));
  CHECK(walked_before("a", "a/x"));
  CHECK_FALSE(walked_before("a", "a"));
  CHECK(walked_before("a/\x01", "a/\xff"));
  CHECK_FALSE(walked_before("a/b/c", "a/b"));
}
