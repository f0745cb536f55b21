// The stat cache makes a stale index cheap, and can be lost or damaged without harm.
#include "git/stat_cache.hpp"

#include "git/scan.hpp"
#include "repository.hpp"

using namespace git_test;
using spell::git::FileState;
using spell::git::Oid;
using spell::git::snapshot;
using spell::git::StatCache;

namespace {
FileState state(std::int64_t time_ns, std::int64_t size = 5) {
  return {size, time_ns, time_ns, 7, 0100644};
}
constexpr std::int64_t now = 1'700'000'000'000'000'000, old = now - 10'000'000'000;
}  // namespace

TEST_CASE("entries come back until the file's state differs") {
  TempFolder t;
  fs::create_directories(t.path + "/tree");
  write(t.path + "/tree/a", "x");
  StatCache::Ids ids{Oid{1}, Oid{2}};
  {
    StatCache cache(t.path + "/c", t.path + "/tree");
    cache.put("a", state(old), ids, now);
    cache.put("racy", state(now - 1'000'000'000), ids, now);
    cache.put("gone", state(old), ids, now);
    cache.put_root(Oid{8}, Oid{9});
    cache.put_sent(Oid{3}, {Oid{4}, Oid{5}});
    cache.save();
  }
  StatCache cache(t.path + "/c", t.path + "/tree");
  CHECK(cache.find("a", state(old)) == ids);
  CHECK(!cache.find("a", state(old + 1)));
  CHECK(!cache.find("a", state(old, 6)));
  auto moved = state(old);
  moved.inode = 8;
  CHECK(!cache.find("a", moved));
  CHECK(!cache.find("racy", state(now - 1'000'000'000)));
  CHECK(!cache.find("gone", state(old)));
  CHECK(cache.find_root(Oid{8}) == Oid{9});
  CHECK(cache.sent().at(Oid{3}) == std::vector<Oid>{Oid{4}, Oid{5}});
  CHECK(!StatCache(t.path + "/c", t.path + "/other").find("a", state(old)));
  CHECK(!StatCache("", t.path + "/tree").find("a", state(old)));
}

TEST_CASE("a damaged cache is as none: cut anywhere, any byte flipped") {
  TempFolder t;
  write(t.path + "/tree/a", "x");
  {
    StatCache cache(t.path + "/c", t.path + "/tree");
    cache.put("a", state(old), {Oid{1}, Oid{1}}, now);
    cache.save();
  }
  std::string file = fs::directory_iterator(t.path + "/c")->path();
  auto bytes = read(file);
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    write(file, bytes.substr(0, i));
    CHECK(!StatCache(t.path + "/c", t.path + "/tree").find("a", state(old)));
    auto flipped = bytes;
    flipped[i] = static_cast<char>(flipped[i] ^ 4);
    write(file, flipped);
    CHECK(!StatCache(t.path + "/c", t.path + "/tree").find("a", state(old)));
  }
  write(file, bytes);
  CHECK(StatCache(t.path + "/c", t.path + "/tree").find("a", state(old)));
}

TEST_CASE("a file that the index does not know is read once, then remembered") {
  TestRepository r;
  r.put("big.bin", std::string(5 << 20, 'b'));
  r.commit();
  sh(r.root, "touch -d 2020-01-01 big.bin");
  auto root = snapshot(r.options()).value().info().root;
  struct stat st;
  REQUIRE(::stat((r.root + "/big.bin").c_str(), &st) == 0);
  auto seen = spell::git::file_state(st);
  Oid in_git{};
  REQUIRE(spell::base::unhex(r.git("rev-parse HEAD:big.bin"), in_git.data(), in_git.size()));

  spell::git::RepositoryPtr repository;
  spell::git::start_library();
  REQUIRE(make(repository, git_repository_open, r.root.c_str()) == 0);
  spell::git::NewObjects objects;
  StatCache cache(r.cache, root);
  REQUIRE(scan(repository.get(), cache, objects, false, seen.ctime_ns + 1'000'000'000).ok());
  CHECK(!cache.find("big.bin", seen));  // may still change under the same time stamp
  REQUIRE(scan(repository.get(), cache, objects, false, seen.ctime_ns + 3'000'000'000).ok());
  CHECK(cache.find("big.bin", seen) == StatCache::Ids{in_git, in_git});

  // That it is believed shows when it lies.
  StatCache::Ids wrong{Oid{1}, Oid{1}};
  cache.put("big.bin", seen, wrong, seen.ctime_ns + 3'000'000'000);
  cache.save();
  CHECK(spell::git::inspect(r.root, "HEAD", r.cache).value().changed ==
        std::vector<std::string>{"big.bin"});
  CHECK(spell::git::inspect(r.root, "HEAD", "").value().changed.empty());
  sh(r.root, "touch -d 2021-01-01 big.bin");
  CHECK(spell::git::inspect(r.root, "HEAD", r.cache).value().changed.empty());
}
