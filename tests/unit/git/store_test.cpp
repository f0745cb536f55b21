// The store believes nothing, takes a pack as a whole or not at all, and sends nothing twice.
#include <atomic>
#include <thread>

#include "repository.hpp"

using namespace git_test;
using spell::git::snapshot;
using spell::git::Store;

namespace {

struct Pack {
  std::string bytes, commit;
};

Pack pack_of(const spell::git::Snapshot& s, const std::vector<std::string>& known = {}) {
  auto file = temp_file();
  auto size = s.write_pack(file.get(), known).value();
  std::string bytes(static_cast<std::size_t>(size), '\0');
  REQUIRE(spell::base::pread_full(file.get(), bytes.data(), bytes.size(), 0).value() ==
          bytes.size());
  return {bytes, s.commit()};
}

/// A pack that the git program makes of a list of object ids.
std::string git_pack(const std::string& root, const std::string& ids,
                     const std::string& options = "--window=0") {
  write(root + "/../ids", ids);
  sh(root, "git pack-objects -q --stdout " + options + " <../ids >../made.pack");
  return read(root + "/../made.pack");
}

spell::Result<> add(Store& store, std::string_view bytes, const std::string& commit) {
  auto file = temp_file();
  spell::base::write_all(file.get(), bytes).value();
  return store.add_pack(file.get(), static_cast<std::int64_t>(bytes.size()), commit);
}

std::vector<std::string> all_files(const std::string& folder) {
  std::vector<std::string> names;
  for (auto& entry : fs::recursive_directory_iterator(folder))
    if (!entry.path().string().ends_with(".lock")) names.push_back(entry.path());
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace

TEST_CASE("a second run of an unchanged repository sends nothing, a small change little") {
  TestRepository r;
  for (int i = 0; i < 50; ++i)
    r.put("data/" + std::to_string(i % 7) + "/" + std::to_string(i),
          spell::base::random_bytes(20'000));
  r.commit();
  auto store = Store::open(r.path + "/store.git").value();
  CHECK(send(snapshot(r.options()).value(), store) > 1'000'000);
  CHECK(send(snapshot(r.options()).value(), store) == 0);
  r.put("readme.txt", "changed");
  CHECK(send(snapshot(r.options()).value(), store) < 2'000);  // uncommitted
  r.commit();
  CHECK(send(snapshot(r.options()).value(), store) <
        2'000);  // committed: another commit, the same tree
  r.git("mv data/1 data/8");
  CHECK(send(snapshot(r.options()).value(), store) < 4'000);  // a folder's new name
  fs::remove_all(r.root + "/data");
  auto s = snapshot(r.options()).value();
  CHECK(send(s, store) < 2'000);
  CHECK(store.has_commit(s.commit()).value());
  CHECK(Store::open(r.path + "/store.git")
            .value()
            .has_commit(s.commit())
            .value());  // as another process sees it
}

TEST_CASE("content that was sent with one snapshot is not sent with the next") {
  TestRepository r;
  auto o = r.options();
  o.include_untracked = true;
  r.put("large.bin", spell::base::random_bytes(300'000));
  auto store = Store::open(r.path + "/store.git").value();
  CHECK(send(snapshot(o).value(), store) > 300'000);
  r.put("readme.txt", "changed");
  auto next = snapshot(o).value();
  CHECK(send(next, store) < 3'000);
  fs::create_directories(r.path + "/out");
  std::vector<std::string> notices;
  spell::git::checkout(r.path + "/store.git", next.commit(), r.path + "/out", notices).value();
  CHECK(files_of(r.path + "/out") == work_tree(r));
}

TEST_CASE("known trees are those that are complete here") {
  TestRepository r;
  auto store = Store::open(r.path + "/store.git").value();
  auto s = snapshot(r.options()).value();
  auto tree = r.git("rev-parse HEAD^{tree}"), blob = r.git("rev-parse HEAD:readme.txt");
  CHECK(s.recent_trees() == std::vector<std::string>{tree});
  CHECK(store.known_trees({tree}).value().empty());
  CHECK(!store.has_commit(s.commit()).value());
  send(s, store);
  CHECK(store.known_trees({"junk", tree, blob, std::string(40, '0'), ""}).value() ==
        std::vector<std::string>{tree});
  CHECK(!store.has_commit(tree).value());  // a tree is no commit
  CHECK(!store.has_commit("junk").value());
}

TEST_CASE("recent trees come newest first, over merges, at most as many as asked for") {
  TestRepository r;
  r.git("checkout -q -b side");
  r.put("side.txt", "1");
  r.commit();
  r.git("checkout -q main");
  r.put("main.txt", "1");
  r.commit();
  r.git("merge -q --no-edit side");
  auto s = snapshot(r.options()).value();
  auto trees = s.recent_trees();
  CHECK(trees.size() == 4);
  CHECK(trees[0] == r.git("rev-parse HEAD^{tree}"));
  CHECK(s.recent_trees(2).size() == 2);
}

TEST_CASE("a damaged pack is refused whole: cut anywhere, any byte flipped") {
  TestRepository r;
  auto s = snapshot(r.options()).value();
  auto pack = pack_of(s);
  auto store = Store::open(r.path + "/store.git").value();
  auto before = all_files(r.path + "/store.git");
  auto refused = [&](std::string_view bytes) {
    auto result = add(store, bytes, pack.commit);
    REQUIRE(!result);
    CHECK((result.error().code() == "bad_pack" || result.error().code() == "incomplete_pack"));
    CHECK(result.error().message().find('\n') == std::string::npos);
  };
  for (std::size_t size = 0; size < pack.bytes.size(); size += 16)
    refused(std::string_view(pack.bytes).substr(0, size));
  refused(std::string_view(pack.bytes).substr(0, pack.bytes.size() - 1));
  for (std::size_t at = 0; at < pack.bytes.size(); at += 3) {
    auto flipped = pack.bytes;
    flipped[at] = static_cast<char>(flipped[at] ^ (1 << (at % 8)));
    refused(flipped);
  }
  refused(pack.bytes + "x");
  refused(pack.bytes + pack.bytes);
  refused(std::string("PACK\0\0\0\2\xff\xff\xff\xff", 12) +
          pack.bytes.substr(12));  // four thousand million objects
  refused(std::string(100, '\0'));
  CHECK(all_files(r.path + "/store.git") == before);
  CHECK(!store.has_commit(pack.commit).value());
  // A file that is shorter than it was said to be.
  auto file = temp_file();
  spell::base::write_all(file.get(), pack.bytes).value();
  CHECK(store.add_pack(file.get(), static_cast<std::int64_t>(pack.bytes.size()) + 50, pack.commit)
            .error()
            .code() == "bad_pack");
  CHECK(add(store, pack.bytes, pack.commit).ok());
  CHECK(add(store, pack.bytes, pack.commit).ok());  // again: nothing to do
}

TEST_CASE("a pack must have all that its commit needs") {
  TestRepository r;
  auto commit = r.git("rev-parse HEAD"), tree = r.git("rev-parse HEAD^{tree}");
  auto store = Store::open(r.path + "/store.git").value();
  auto objects = spell::base::split(r.git("rev-list --objects --no-object-names HEAD"), '\n');
  for (auto& left_out : objects) {
    std::string ids;
    for (auto& id : objects)
      if (id != left_out) ids += id + "\n";
    auto result = add(store, git_pack(r.root, ids), commit);
    INFO(left_out);
    REQUIRE(!result);
    // Without a folder its files are needed by nothing, but what is missing is said first.
    CHECK(result.error().code() == "incomplete_pack");
    CHECK(result.error().message().find(left_out) != std::string::npos);
  }
  CHECK(store.known_trees({tree}).value().empty());
  auto readme = r.git("rev-parse HEAD:readme.txt");
  auto named = add(store, git_pack(r.root, commit + "\n" + tree), commit);
  CHECK(named.error().message().find("is missing") != std::string::npos);
  std::string all = spell::base::join(objects, "\n") + "\n";
  CHECK(add(store, git_pack(r.root, all), std::string(40, '1')).error().code() ==
        "incomplete_pack");
  CHECK(add(store, git_pack(r.root, all), "../../x").error().code() == "bad_pack");
  CHECK(add(store, git_pack(r.root, all), readme).error().code() ==
        "bad_pack");  // a blob is no commit
  CHECK(add(store, git_pack(r.root, all), commit).ok());
}

TEST_CASE("a pack must have nothing that its commit does not need") {
  // Else an incomplete tree could be slipped in, and the store would call it known.
  TestRepository r;
  auto commit = r.git("rev-parse HEAD");
  r.put("secret.txt", "content that is never sent");
  r.commit();
  auto stray = r.git("rev-parse HEAD^{tree}");
  auto store = Store::open(r.path + "/store.git").value();
  auto ids = r.git("rev-list --objects --no-object-names " + commit) + "\n" + stray + "\n";
  auto result = add(store, git_pack(r.root, ids), commit);
  REQUIRE(!result);
  CHECK(result.error().code() == "bad_pack");
  CHECK(store.known_trees({stray}).value().empty());
}

TEST_CASE("deltas are refused") {
  TestRepository r;
  std::string text;
  for (int i = 0; i < 3000; ++i) text += "line " + std::to_string(i) + "\n";
  r.put("one.txt", text);
  r.put("two.txt", text + "and one more\n");
  auto commit = r.commit();
  auto ids = r.git("rev-list --objects --no-object-names HEAD~1..HEAD") + "\n" +
             r.git("rev-list --objects --no-object-names HEAD~1") + "\n";
  auto store = Store::open(r.path + "/store.git").value();
  CHECK(add(store, git_pack(r.root, ids, "--window=10 --depth=10"), commit).error().message() ==
        "bad pack: it has deltas");
  CHECK(send(snapshot(r.options()).value(), store) > 0);  // our own has none
}

TEST_CASE("history that comes with a commit is complete too") {
  TestRepository r;
  auto first = r.git("rev-parse HEAD");
  r.put("readme.txt", "second");
  auto second = r.commit();
  auto store = Store::open(r.path + "/store.git").value();
  CHECK(add(store, git_pack(r.root, r.git("rev-list --objects --no-object-names HEAD") + "\n"),
            second)
            .ok());
  CHECK(store.has_commit(first).value());
}

TEST_CASE("names that could leave the folder are refused, in a pack and in a checkout") {
  TempFolder t;
  sh(t.path, "git init -q repo");
  auto root = t.path + "/repo";
  auto blob = sh(root, "echo evil | git hash-object -w --stdin");
  auto sub = sh(root, "printf '100644 blob " + blob + "\\thooks\\n' | git mktree");
  struct Case {
    std::string mode, id, name;
  };
  int number = 0;
  for (auto& c :
       {Case{"100644", blob, ".."}, Case{"100644", blob, "."}, Case{"40000", sub, ".git"},
        Case{"40000", sub, ".GiT"}, Case{"100644", blob, "a/b"}, Case{"100644", blob, "/etc"},
        Case{"100644", blob, ""}, Case{"40000", sub, ".."}}) {
    INFO(c.mode << " '" << c.name << "'");
    std::string raw(20, '\0');
    REQUIRE(spell::base::unhex(c.id, reinterpret_cast<std::uint8_t*>(raw.data()), 20));
    write(t.path + "/tree", c.mode + " " + c.name + std::string(1, '\0') + raw);
    auto tree = sh(root, "git hash-object -t tree -w --literally ../tree");
    auto commit = sh(root, "git commit-tree -m x " + tree);
    std::string ids = commit + "\n" + tree + "\n" + blob + "\n" + (c.id == sub ? sub + "\n" : "");
    auto store = Store::open(t.path + "/store" + std::to_string(++number) + ".git").value();
    CHECK(add(store, git_pack(root, ids), commit).error().code() == "bad_pack");
    // The checkout does not rely on the store.
    auto out = t.path + "/out" + std::to_string(number);
    fs::create_directories(out + "/inside");
    std::vector<std::string> notices;
    auto result = spell::git::checkout(root + "/.git", commit, out + "/inside", notices);
    REQUIRE(!result);
    CHECK(result.error().code() == "bad_tree");
    CHECK(files_of(out) == std::map<std::string, std::string>{{"inside", "folder"}});
  }
}

TEST_CASE("a link cannot lead a checkout out of its folder") {
  TempFolder t;
  sh(t.path, "git init -q repo && mkdir out outside");
  auto root = t.path + "/repo";
  auto blob = sh(root, "echo evil | git hash-object -w --stdin");
  auto target = sh(root, "printf ../outside | git hash-object -w --stdin");
  auto sub = sh(root, "printf '100644 blob " + blob + "\\tx\\n' | git mktree");
  std::string link(20, '\0'), tree_id(20, '\0');
  REQUIRE(spell::base::unhex(target, reinterpret_cast<std::uint8_t*>(link.data()), 20));
  REQUIRE(spell::base::unhex(sub, reinterpret_cast<std::uint8_t*>(tree_id.data()), 20));
  // The same name twice: first a link that leads out, then a folder with a file.
  std::string bytes = std::string("120000 a") + '\0' + link + "40000 a" + '\0' + tree_id;
  write(t.path + "/tree", bytes);
  auto commit = sh(root, "git commit-tree -m x $(git hash-object -t tree -w --literally ../tree)");
  std::vector<std::string> notices;
  CHECK(!spell::git::checkout(root + "/.git", commit, t.path + "/out", notices));
  CHECK(fs::is_empty(t.path + "/outside"));
}

TEST_CASE("a tree that is too deep is refused, not unpacked") {
  TempFolder t;
  sh(t.path, "git init -q repo && mkdir out");
  auto root = t.path + "/repo";
  auto tree = sh(root, "git mktree </dev/null");
  for (int level = 0; level < 30; ++level) {
    std::string raw(20, '\0');
    REQUIRE(spell::base::unhex(tree, reinterpret_cast<std::uint8_t*>(raw.data()), 20));
    write(t.path + "/tree", "40000 " + std::string(200, 'd') + std::string(1, '\0') + raw);
    tree = sh(root, "git hash-object -t tree -w ../tree");
  }
  auto commit = sh(root, "git commit-tree -m x " + tree);
  std::vector<std::string> notices;
  auto result = spell::git::checkout(root + "/.git", commit, t.path + "/out", notices);
  REQUIRE(!result);
  CHECK(result.error().code() == "bad_tree");
}

TEST_CASE("a checkout is the commit, whatever the umask, and its manifest says what was made") {
  TestRepository r;
  auto s = snapshot(r.options()).value();
  auto store = Store::open(r.path + "/store.git").value();
  send(s, store);
  fs::create_directories(r.path + "/out");
  std::vector<std::string> notices;
  auto old = ::umask(0077);
  auto manifest = spell::git::checkout(r.path + "/store.git", s.commit(), r.path + "/out", notices);
  ::umask(old);
  REQUIRE(manifest);
  CHECK(files_of(r.path + "/out") == work_tree(r));
  CHECK(manifest->size() == 7);
  for (auto& [name, state] : *manifest) {
    struct stat st;
    REQUIRE(::lstat((r.path + "/out/" + name).c_str(), &st) == 0);
    INFO(name);
    CHECK(state.size == st.st_size);
    CHECK(state.mode == st.st_mode);
    CHECK(state.inode == st.st_ino);
    CHECK(state.mtime_ns == st.st_mtim.tv_sec * 1'000'000'000LL + st.st_mtim.tv_nsec);
    CHECK(state.ctime_ns == st.st_ctim.tv_sec * 1'000'000'000LL + st.st_ctim.tv_nsec);
  }
  CHECK(((*manifest)["bin/tool"].mode & 0777) == 0755);
  CHECK(((*manifest)["readme.txt"].mode & 0777) == 0644);
  CHECK(spell::git::checkout(r.path + "/store.git", std::string(40, 'a'), r.path + "/out", notices)
            .error()
            .code() == "commit_not_found");
  CHECK(!spell::git::checkout(r.path + "/store.git", s.commit(), r.path + "/out",
                              notices));  // never over files
}

TEST_CASE("an empty commit is an empty folder") {
  TempFolder t;
  sh(t.path, "git init -q repo && cd repo && git commit -q --allow-empty -m empty");
  spell::git::SnapshotOptions o;
  o.path = t.path + "/repo";
  CHECK(arrived(snapshot(o).value(), t.path).empty());
}

TEST_CASE("many small packs become one, under readers and writers") {
  TestRepository r;
  auto store = Store::open(r.path + "/store.git").value();
  auto other = Store::open(r.path + "/store.git").value();  // another process' view
  std::vector<std::string> commits;
  for (int i = 0; i < 12; ++i) {
    r.put("readme.txt", "version " + std::to_string(i));
    auto s = snapshot(r.options()).value();
    send(s, store);
    commits.push_back(s.commit());
  }
  auto packs = [&] {
    int n = 0;
    for (auto& e : fs::directory_iterator(r.path + "/store.git/objects/pack"))
      n += e.path().extension() == ".pack";
    return n;
  };
  CHECK(packs() == 12);
  REQUIRE(store.repack(20).ok());
  CHECK(packs() == 12);
  std::atomic<int> lost = 0;
  std::thread reader([&] {
    for (int i = 0; i < 200; ++i)
      for (auto& commit : commits) lost += !other.has_commit(commit).value_or(false);
  });
  auto repacked = store.repack(5);
  reader.join();
  CHECK(lost == 0);
  INFO((repacked ? "" : repacked.error().message()));
  REQUIRE(repacked.ok());
  CHECK(packs() == 2);  // files apart from the rest
  for (auto& commit : commits) {
    CHECK(store.has_commit(commit).value());
    CHECK(other.has_commit(commit).value());
    TempFolder out;
    std::vector<std::string> notices;
    CHECK(spell::git::checkout(r.path + "/store.git", commit, out.path, notices).ok());
  }
  CHECK(other.known_trees(snapshot(r.options()).value().recent_trees()).value().size() >= 1);
  CHECK(sh(r.path, "git -C store.git count-objects -v | grep ^garbage:") == "garbage: 0");
}

TEST_CASE("refs protect commits of runs") {
  TestRepository r;
  auto store = Store::open(r.path + "/store.git").value();
  auto s = snapshot(r.options()).value();
  CHECK(store.protect("0190aa", s.commit()).error().code() == "commit_not_found");
  send(s, store);
  REQUIRE(store.protect("0190aa", s.commit()).ok());
  CHECK(sh(r.path, "git -C store.git rev-parse refs/spell/0190aa") == s.commit());
  CHECK(!store.protect("../../HEAD", s.commit()));
  CHECK(!store.unprotect("../../HEAD"));
  CHECK(store.unprotect("0190aa").ok());
  CHECK(store.unprotect("0190aa").ok());
  CHECK(store.size() > 500);
}

TEST_CASE("what a killed writer left is removed, a living one's is not") {
  TestRepository r;
  { auto store = Store::open(r.path + "/store.git").value(); }
  write(r.path + "/store.git/spell-incoming-0123/pack_git2_x", "half");
  auto store = Store::open(r.path + "/store.git").value();
  CHECK(!fs::exists(r.path + "/store.git/spell-incoming-0123"));
  CHECK(sh(r.path, "git -C store.git fsck") ==
        "notice: HEAD points to an unborn branch (master)\nnotice: No default references");
}

TEST_CASE("writers of one store wait for each other") {
  TestRepository r;
  std::vector<Pack> packs;
  for (int i = 0; i < 8; ++i) {
    r.put("readme.txt", "version " + std::to_string(i));
    packs.push_back(pack_of(snapshot(r.options()).value()));
  }
  auto store = Store::open(r.path + "/store.git").value();
  std::vector<std::thread> threads;
  std::atomic<int> good = 0;
  for (auto& pack : packs)
    threads.emplace_back([&] {
      auto mine = Store::open(r.path + "/store.git").value();
      good += add(mine, pack.bytes, pack.commit).ok();
    });
  for (auto& t : threads) t.join();
  CHECK(good == 8);
  for (auto& pack : packs) CHECK(store.has_commit(pack.commit).value());
}

TEST_CASE("another store gets of a commit what it lacks") {
  TestRepository r;
  r.put("large.bin", spell::base::random_bytes(200'000));
  auto first = r.commit();
  r.put("src/deep/a.txt", "changed\n");
  auto second = r.commit();
  auto here = Store::open(r.path + "/here.git").value();
  auto there = Store::open(r.path + "/there.git").value();
  auto hand_over = [&](const std::string& commit, const std::vector<std::string>& have) {
    auto file = temp_file();
    auto size = here.pack_commit(commit, have, file.get()).value();
    there.add_pack(file.get(), size, commit).value();
    there.protect(commit, commit).value();
    return size;
  };
  for (auto& commit : {first, second}) {
    auto at = r.options();
    at.ref = commit;
    send(snapshot(at).value(), here);
  }
  CHECK(hand_over(first, {}) > 200'000);
  CHECK(there.protectors(10) == std::vector<std::string>{first});
  CHECK(hand_over(second, there.protectors(10)) < 2'000);
  auto again = Store::open(r.path + "/again.git").value();
  auto file = temp_file();
  // What is not here counts for nothing, whatever it is.
  auto size = here.pack_commit(second, {"junk", std::string(40, '0')}, file.get()).value();
  CHECK(size > 200'000);
  again.add_pack(file.get(), size, second).value();
  for (auto store : {"there", "again"}) {
    fs::create_directories(r.path + "/" + store);
    std::vector<std::string> notices;
    spell::git::checkout(r.path + "/" + store + ".git", second, r.path + "/" + store, notices)
        .value();
    CHECK(files_of(r.path + "/" + store) == work_tree(r));
  }
  CHECK(here.pack_commit(std::string(40, '1'), {}, file.get()).error().code() ==
        "commit_not_found");
}

TEST_CASE("many who make the same store at once all have it") {
  TestRepository r;
  for (int round = 0; round < 20; ++round) {
    std::string path = r.path + "/new-" + std::to_string(round) + ".git";
    std::vector<std::thread> threads;
    std::atomic<int> made = 0;
    for (int i = 0; i < 8; ++i) threads.emplace_back([&] { made += Store::open(path).ok(); });
    for (auto& thread : threads) thread.join();
    REQUIRE(made == 8);
  }
}

TEST_CASE("a store whose making was cut off is made all the same") {
  TestRepository r;
  std::string path = r.path + "/new.git";
  sh(r.path, "mkdir -p new.git/objects new.git/refs; touch new.git/HEAD.lock new.git/config.lock");
  CHECK(Store::open(path));
  CHECK(Store::exists(path));
  CHECK_FALSE(fs::exists(path + "/HEAD.lock"));
}
