// A snapshot is the work tree as the user sees it, and the user's .git does not notice.
#include "repository.hpp"

using namespace git_test;
using spell::git::inspect;
using spell::git::snapshot;

TEST_CASE("a clean repository is its own commit") {
  TestRepository r;
  auto head = r.git("rev-parse HEAD");
  auto s = snapshot(r.options()).value();
  CHECK(s.commit() == head);
  CHECK(s.base_commit() == "");
  CHECK(s.notices().empty());
  CHECK(s.info().root == fs::canonical(r.root).string());
  CHECK(s.info().name == "project");
  CHECK(s.info().workspace == head);
  CHECK(s.info().message == "first commit");
  CHECK(s.info().folder == "");
  CHECK(s.info().changed.empty());
  CHECK(s.info().untracked.empty());
  CHECK(arrived(s, r.path) == work_tree(r));
}

TEST_CASE("every kind of uncommitted change arrives, and .git stays byte-identical") {
  TestRepository r;
  r.put("gone.txt", "x");
  r.put("dir/inside.txt", "x");
  r.put("was-file", "x");
  r.put("was-dir/x", "x");
  auto base = r.commit();
  r.put("readme.txt", "changed\n");  // modified
  r.put("staged.txt", "staged\n");   // staged, then changed again
  r.git("add staged.txt");
  r.put("staged.txt", "staged and changed\n");
  r.put("intent.txt", "intent\n");  // git add -N
  r.git("add -N intent.txt");
  ::unlink((r.root + "/gone.txt").c_str());  // deleted in the work tree
  r.git("rm -q dir/inside.txt");             // deleted in the index
  ::unlink((r.root + "/was-file").c_str());  // file -> link
  ::symlink("readme.txt", (r.root + "/was-file").c_str());
  fs::remove_all(r.root + "/was-dir");  // folder -> file, staged
  r.put("was-dir", "now a file\n");
  r.git("add -A was-dir");
  ::chmod((r.root + "/src/main.py").c_str(), 0755);  // mode only
  r.put("big", std::string(5 << 20, 'b'));           // larger than what is kept in memory
  r.git("add big");
  r.put("big", std::string(6 << 20, 'c'));
  auto before = fingerprint(r.root + "/.git");

  auto info = inspect(r.root, "HEAD", r.cache).value();
  CHECK(info.changed == std::vector<std::string>{"big", "dir/inside.txt", "gone.txt", "intent.txt",
                                                 "readme.txt", "src/main.py", "staged.txt",
                                                 "was-dir", "was-dir/x", "was-file"});
  CHECK(info.untracked.empty());
  auto s = snapshot(r.options()).value();
  CHECK(s.base_commit() == base);
  CHECK(s.commit() != base);
  CHECK(arrived(s, r.path) == work_tree(r));
  CHECK(fingerprint(r.root + "/.git") == before);
  REQUIRE(s.notices().size() == 1);
  CHECK(s.notices()[0] == "uncommitted changes of 10 files are included as snapshot commit " +
                              s.commit().substr(0, 8) + " (--require-clean refuses them)");
  // git itself agrees on which files differ.
  CHECK(spell::base::split(r.git("diff --name-only --no-renames HEAD"), '\n') == info.changed);
}

TEST_CASE("the same content on the same base has the same id") {
  TestRepository r;
  r.put("readme.txt", "one\n");
  auto first = snapshot(r.options()).value().commit();
  r.put("readme.txt", "two\n");
  CHECK(snapshot(r.options()).value().commit() != first);
  r.put("readme.txt", "one\n");
  CHECK(snapshot(r.options()).value().commit() == first);
  auto no_cache = r.options();
  no_cache.stat_cache = "";
  CHECK(snapshot(no_cache).value().commit() == first);
  r.git("add -A");
  CHECK(snapshot(r.options()).value().commit() == first);
  // The commit is what git would read: fixed author, the base's date and zone, the base as parent.
  TempFolder scratch;
  auto store = spell::git::Store::open(scratch.path + "/s.git").value();
  send(snapshot(r.options()).value(), store);
  CHECK(sh(scratch.path, "git -C s.git cat-file commit " + first + " | grep -v ^tree") ==
        "parent " + r.git("rev-parse HEAD") +
            "\nauthor Spell <snapshot@spell> 1700000000 +0130\ncommitter Spell <snapshot@spell> "
            "1700000000 +0130\n\n"
            "Uncommitted changes");
  sh(scratch.path, "git -C s.git fsck --connectivity-only || true");
}

TEST_CASE("strictness refuses uncommitted changes, not untracked files") {
  TestRepository r;
  auto strict = r.options();
  strict.require_clean = true;
  r.put("new.txt", "x");
  CHECK(snapshot(strict).ok());
  r.put("readme.txt", "changed");
  auto refused = snapshot(strict);
  REQUIRE(!refused);
  CHECK(refused.error().code() == "uncommitted_changes");
  CHECK(refused.error().message() == "Uncommitted changes to tracked files detected in repo " +
                                         fs::canonical(r.root).string() +
                                         " -- please commit first");
}

TEST_CASE("untracked files are named, and sent when asked for") {
  TestRepository r;
  r.put(".gitignore", "data/\n*.log\n");
  r.commit();
  r.put("data/huge.bin", "x");
  r.put("a.txt", "a");
  r.put("b.log", "ignored");
  r.put("new/x/y.txt", "y");
  r.put("new/z.log", "ignored");
  r.put("src/c.txt", "c");
  fs::create_directories(r.root + "/hollow/folder");
  r.put("only/ignored.log", "x");
  ::mkfifo((r.root + "/pipe").c_str(), 0600);
  fs::create_directories(r.root + "/other");
  sh(r.root + "/other", "git init -q . && echo 1 > f && git add f && git commit -q -m x");
  auto s = snapshot(r.options()).value();
  CHECK(s.info().untracked == std::vector<std::string>{"a.txt", "new/", "src/c.txt"});
  CHECK(s.info().ignored == std::vector<std::string>{"data/"});
  CHECK(s.base_commit() == "");
  REQUIRE(s.notices().size() == 3);
  CHECK(s.notices()[0] ==
        "not sent: 3 untracked files (--include-untracked sends them): a.txt, new/, src/c.txt");
  CHECK(s.notices()[1] == "not sent: data/ (ignored)");
  CHECK(s.notices()[2] == "not sent: other/ (a repository of its own)");

  auto with = r.options();
  with.include_untracked = true;
  auto all = snapshot(with).value();
  auto files = arrived(all, r.path);
  CHECK(files["a.txt"] == "644 a");
  CHECK(files["new/x/y.txt"] == "644 y");
  CHECK(files["src/c.txt"] == "644 c");
  for (auto name : {"b.log", "new/z.log", "data", "hollow", "only", "pipe", "other"}) {
    INFO(name);
    CHECK(!files.contains(name));
  }
  CHECK(all.notices()[0] ==
        "3 untracked files are included as snapshot commit " + all.commit().substr(0, 8));
}

TEST_CASE("many untracked files are cut after a few") {
  TestRepository r;
  for (auto name : {"1", "2", "3", "4", "5"}) r.put(name, "x");
  auto s = snapshot(r.options()).value();
  CHECK(s.notices().at(0) ==
        "not sent: 5 untracked files (--include-untracked sends them): 1, 2, 3, …");
}

TEST_CASE("other refs are commits as they are") {
  TestRepository r;
  auto first = r.git("rev-parse HEAD");
  r.git("tag -a v1 -m tag");
  r.put("readme.txt", "second\n");
  auto second = r.commit("second");
  r.put("readme.txt", "uncommitted\n");
  auto at = [&](const std::string& ref) {
    auto o = r.options();
    o.ref = ref;
    return snapshot(o);
  };
  CHECK(at("v1").value().commit() == first);
  CHECK(at("HEAD~1").value().commit() == first);
  CHECK(at(first.substr(0, 8)).value().commit() == first);
  CHECK(at("main").value().commit() == second);
  CHECK(at("main").value().info().changed.empty());
  CHECK(at("main").value().info().workspace == first);
  for (auto ref : {"nope", "", "-x", "HEAD~9", "a..b", "HEAD:readme.txt", "HEAD^{tree}",
                   "0000000000000000000000000000000000000000"}) {
    INFO(ref);
    auto bad = at(ref);
    REQUIRE(!bad);
    CHECK(bad.error().code() == "bad_ref");
    CHECK(bad.error().message().find('\n') == std::string::npos);
  }
}

TEST_CASE("the folder where the user stood") {
  TestRepository r;
  CHECK(inspect(r.root + "/src/deep", "HEAD", "").value().folder == "src/deep");
  CHECK(inspect(r.root + "/src/..", "HEAD", "").value().folder == "");
  CHECK(inspect(r.root + "/.git", "HEAD", "").value().folder == "");
  ::symlink((r.root + "/src").c_str(), (r.path + "/shortcut").c_str());
  CHECK(inspect(r.path + "/shortcut", "HEAD", "").value().folder == "src");
  r.git("remote add origin ssh://git@host/team/models.git");
  CHECK(inspect(r.root, "HEAD", "").value().name == "models");
}

TEST_CASE("what is no repository, or has no commit") {
  TempFolder t;
  CHECK(inspect(t.path, "HEAD", "").error().code() == "not_a_repository");
  CHECK(inspect(t.path + "/nowhere", "HEAD", "").error().code() == "not_a_repository");
  sh(t.path, "git init -q .");
  auto none = inspect(t.path, "HEAD", "");
  CHECK(none.error().code() == "no_commit");
  CHECK(none.error().message().find("git commit") != std::string::npos);
  write(t.path + "/.git/HEAD", "garbage");
  CHECK(!inspect(t.path, "HEAD", ""));
}

TEST_CASE("a linked worktree, a detached head and a shallow clone arrive") {
  TestRepository r;
  r.put("readme.txt", "second\n");
  r.commit("second");
  r.git("worktree add -q ../linked -b other");
  write(r.path + "/linked/readme.txt", "changed in the worktree\n");
  auto before = fingerprint(r.root + "/.git");
  auto o = r.options();
  o.path = r.path + "/linked";
  auto s = snapshot(o).value();
  CHECK(s.info().changed == std::vector<std::string>{"readme.txt"});
  CHECK(s.info().workspace == r.git("rev-list --max-parents=0 HEAD"));
  CHECK(arrived(s, r.path)["readme.txt"] == "644 changed in the worktree\n");
  CHECK(fingerprint(r.root + "/.git") == before);

  r.git("checkout -q --detach HEAD~1");
  CHECK(snapshot(r.options()).ok());

  sh(r.path, "git clone -q --depth 1 -b main file://" + r.root + " shallow");
  o.path = r.path + "/shallow";
  auto shallow = snapshot(o).value();
  CHECK(shallow.info().workspace == shallow.commit());
  CHECK(arrived(shallow, r.path)["readme.txt"] == "644 second\n");
  CHECK(shallow.recent_trees().size() == 1);
}

TEST_CASE("unusual index entries mean what git takes them for") {
  TestRepository r;
  r.git("update-index --skip-worktree src/main.py");
  ::unlink((r.root + "/src/main.py").c_str());
  r.git("update-index --assume-unchanged readme.txt");
  r.put("readme.txt", "not looked at");
  auto s = snapshot(r.options()).value();
  CHECK(s.base_commit() == "");
  r.git("update-index --no-assume-unchanged readme.txt");
  CHECK(snapshot(r.options()).value().info().changed == std::vector<std::string>{"readme.txt"});

  TestRepository merge;
  merge.git("checkout -q -b side");
  merge.put("readme.txt", "side\n");
  merge.commit("side");
  merge.git("checkout -q main");
  merge.put("readme.txt", "main\n");
  merge.commit("main");
  sh(merge.root, "git merge side || true");
  auto conflict = snapshot(merge.options()).value();
  CHECK(conflict.info().changed == std::vector<std::string>{"readme.txt"});
  CHECK(arrived(conflict, merge.path)["readme.txt"].find("<<<<<<<") != std::string::npos);
}

TEST_CASE("the user's settings change nothing that is sent") {
  TestRepository r;
  r.put("lines.txt", "one\ntwo\n");
  r.put(".gitattributes", "lines.txt text\nident.txt ident\n");
  r.put("ident.txt", "$Id$\n");
  auto head = r.commit();
  r.git("config core.autocrlf true");
  r.git("config diff.noprefix true");
  ::unlink((r.root + "/lines.txt").c_str());
  r.git("checkout -q lines.txt");
  REQUIRE(read(r.root + "/lines.txt") == "one\r\ntwo\r\n");
  sh(r.root, "touch lines.txt");  // the index no longer answers, the filters have to
  auto s = snapshot(r.options()).value();
  CHECK(s.commit() == head);
  CHECK(arrived(s, r.path)["lines.txt"] == "644 one\ntwo\n");
  r.put("lines.txt", "one\r\nthree\r\n");
  auto changed = snapshot(r.options()).value();
  CHECK(changed.info().changed == std::vector<std::string>{"lines.txt"});
  CHECK(arrived(changed, r.path)["lines.txt"] == "644 one\r\nthree\r\n");
}

TEST_CASE("file modes that the file system does not keep are those of the index") {
  TestRepository r;
  r.git("config core.filemode false");
  ::chmod((r.root + "/bin/tool").c_str(), 0644);
  ::chmod((r.root + "/readme.txt").c_str(), 0755);
  CHECK(snapshot(r.options()).value().info().changed.empty());
}

TEST_CASE("submodules arrive as empty folders or are refused") {
  TestRepository inner, r;
  r.git("-c protocol.file.allow=always submodule --quiet add file://" + inner.root + " lib");
  r.commit("with module");
  auto s = snapshot(r.options()).value();
  CHECK(s.base_commit() == "");
  CHECK(s.notices() ==
        std::vector<std::string>{"not sent: submodules lib (their folders arrive empty)"});
  CHECK(arrived(s, r.path)["lib"] == "folder");
  auto o = r.options();
  o.ref = "main";
  CHECK(snapshot(o).value().notices() == s.notices());

  write(r.root + "/lib/readme.txt", "changed inside");
  auto refused = snapshot(r.options());
  REQUIRE(!refused);
  CHECK(refused.error().code() == "unsupported_repository");
  CHECK(refused.error().message().find("lib") != std::string::npos);
  sh(r.root + "/lib", "git checkout -q readme.txt && git commit -q --allow-empty -m moved");
  CHECK(snapshot(r.options()).error().code() == "unsupported_repository");

  fs::remove_all(r.root + "/lib");
  fs::create_directories(r.root + "/lib");  // as after a clone without --recurse-submodules
  CHECK(snapshot(r.options()).value().base_commit() == "");
}

TEST_CASE("git LFS files arrive with their content, never as silent pointers") {
  TestRepository r;
  std::string content(100'000, 'w');
  std::string pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:" +
                        spell::base::hex(spell::base::sha256(content)) + "\nsize 100000\n";
  r.put(".gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n");
  r.put("weights.bin", pointer);
  r.put("example.txt", pointer);  // a text about LFS, not handled by it
  auto head = r.commit();
  auto missing = snapshot(r.options());
  REQUIRE(!missing);
  CHECK(missing.error().code() == "unsupported_repository");
  CHECK(missing.error().message().find("weights.bin") != std::string::npos);
  CHECK(missing.error().message().find("git lfs pull") != std::string::npos);

  r.put("weights.bin", content);  // what git lfs would check out
  auto strict = r.options();
  strict.require_clean = true;
  auto s = snapshot(strict).value();
  CHECK(s.info().changed.empty());
  CHECK(s.base_commit() == head);
  auto files = arrived(s, r.path);
  CHECK(files["weights.bin"] == "644 " + content);
  CHECK(files["example.txt"] == "644 " + pointer);
  CHECK(s.notices().at(0).find("1 Git LFS file") != std::string::npos);

  r.put("weights.bin", "other content");
  auto changed = snapshot(r.options()).value();
  CHECK(changed.info().changed == std::vector<std::string>{"weights.bin"});
  CHECK(arrived(changed, r.path)["weights.bin"] == "644 other content");

  auto o = r.options();
  o.ref = "main";
  CHECK(snapshot(o).error().code() == "unsupported_repository");
}

TEST_CASE("a repository that lacks objects says so") {
  TestRepository r;
  auto blob = r.git("rev-parse HEAD:readme.txt");
  ::unlink((r.root + "/.git/objects/" + blob.substr(0, 2) + "/" + blob.substr(2)).c_str());
  auto s = snapshot(r.options()).value();
  auto pack = temp_file();
  auto written = s.write_pack(pack.get(), {});
  REQUIRE(!written);
  CHECK(written.error().code() == "unsupported_repository");
  CHECK(written.error().message().find(blob) != std::string::npos);
}

TEST_CASE("a large file that changes while it is sent is an error, not another file") {
  TestRepository r;
  r.put("big", std::string(5 << 20, 'b'));
  r.git("add big");
  auto s = snapshot([&] {
             auto o = r.options();
             r.put("big", std::string(5 << 20, 'c'));
             return o;
           }())
               .value();
  r.put("big", std::string(5 << 20, 'd'));
  auto pack = temp_file();
  auto written = s.write_pack(pack.get(), {});
  REQUIRE(!written);
  CHECK(written.error().message().find("big was changed") != std::string::npos);
}
