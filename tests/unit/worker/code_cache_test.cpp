// Code that was fetched once is kept while there is room.
#include "worker/code_cache.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/error.hpp"
#include "base/hash.hpp"
#include "base/text.hpp"
#include "git/store.hpp"
#include "temporary_folder.hpp"

using namespace spell;
using namespace spell::worker;

namespace {

struct Cache {
  testing::TemporaryFolder top;
  CodeCache codes;
  int fetched = 0;
  std::vector<std::string> have;  ///< named in the last request

  explicit Cache(std::int64_t limit = 1 << 30) : codes(top.path + "/codes", limit) {
    sh("mkdir -p code && cd code && git init -q -b main .");
  }
  void sh(const std::string& command) const {
    REQUIRE(std::system(("cd " + top.path + " && export GIT_CONFIG_GLOBAL=/dev/null && " + command)
                            .c_str()) == 0);
  }
  /// Makes a commit of random content; the pack of it is in a file of its name.
  std::string commit() const {
    std::ofstream(top.path + "/code/data") << base::random_bytes(50'000);
    sh("cd code && git add . && git -c user.name=A -c user.email=a@b commit -qm more && "
       "git rev-parse HEAD >../id && git rev-list --objects --max-count=1 HEAD | cut -d' ' -f1 | "
       "git pack-objects -q --stdout --window=0 >../$(git rev-parse HEAD)");
    return std::string(base::trim(base::read_file(top.path + "/id").value()));
  }
  Result<CodeCache::Use> use(const std::string& workspace, const std::string& commit) {
    return codes.use(
        "ada", workspace, commit,
        [&] { return base::open(top.path + "/pack", O_RDWR | O_CREAT | O_TRUNC, 0600); },
        [&](const std::vector<std::string>& known, int fd) -> Result<std::int64_t> {
          ++fetched;
          have = known;
          auto pack = base::read_file(top.path + "/" + commit).value();
          SPELL_TRY(base::write_all(fd, pack));
          return static_cast<std::int64_t>(pack.size());
        });
  }
  bool has(const std::string& workspace) const {
    return base::exists(top.path + "/codes/ada/" + workspace + ".git");
  }
};

}  // namespace

TEST_CASE("a commit is fetched once, the next one as against it") {
  Cache cache;
  auto first = cache.commit(), second = cache.commit();
  REQUIRE(cache.use("w", first));
  REQUIRE(cache.use("w", first));
  CHECK(cache.fetched == 1);
  REQUIRE(cache.use("w", second));
  CHECK(cache.fetched == 2);
  CHECK(cache.have == std::vector<std::string>{first});
}

TEST_CASE("names that lead out of the folder are refused") {
  Cache cache;
  auto commit = cache.commit();
  for (auto* name : {"..", "a/b", "", ".hidden"}) CHECK_FALSE(cache.use(name, commit));
  CHECK(cache.fetched == 0);
}

TEST_CASE("where room is short, what nobody uses goes, the oldest first") {
  Cache cache(130'000);
  auto commit = cache.commit();
  auto used = cache.use("a", commit).value();
  REQUIRE(cache.use("b", commit));
  timespec old[2] = {{1000, 0}, {1000, 0}};
  for (auto* name : {"a", "b"})
    ::utimensat(AT_FDCWD, (cache.top.path + "/codes/ada/" + name + ".git").c_str(), old, 0);
  REQUIRE(cache.use("c", commit));
  CHECK(cache.has("a"));  // a run is being built from it
  CHECK_FALSE(cache.has("b"));
  CHECK(cache.has("c"));
}

TEST_CASE("code with a flipped bit is never checked out; discarded, it is fetched whole") {
  Cache cache;
  auto commit = cache.commit();
  auto use = cache.use("w", commit);
  REQUIRE(use);
  cache.sh("chmod u+w codes/ada/w.git/objects/pack/*.pack");
  auto packs = std::filesystem::directory_iterator(use->repository + "/objects/pack");
  for (auto& entry : packs) {
    if (entry.path().extension() != ".pack") continue;
    auto bytes = base::read_file(entry.path()).value();
    // In the middle: of the file, whose bytes do not compress.
    bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 16);
    REQUIRE(base::write_file(entry.path(), bytes, 0600, false));
  }
  std::vector<std::string> notices;
  cache.sh("mkdir out again");
  auto damaged = git::checkout(use->repository, commit, cache.top.path + "/out", notices);
  REQUIRE_FALSE(damaged);
  CHECK(damaged.error().code() == "bad_object");
  cache.codes.discard(*use);
  CHECK_FALSE(cache.has("w"));
  auto again = cache.use("w", commit);
  REQUIRE(again);
  CHECK(cache.fetched == 2);
  CHECK(cache.have.empty());
  REQUIRE(git::checkout(again->repository, commit, cache.top.path + "/again", notices));
  CHECK(base::read_file(cache.top.path + "/again/data").value() ==
        base::read_file(cache.top.path + "/code/data").value());
}
