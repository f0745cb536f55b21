// Repositories by URL.
#include "git/fetch.hpp"

#include "repository.hpp"

using namespace git_test;
using spell::git::fetch_url;

TEST_CASE("a local repository by path or file URL, without its uncommitted changes") {
  TestRepository r;
  auto first = r.git("rev-parse HEAD");
  r.git("tag v1");
  r.put("readme.txt", "second");
  auto second = r.commit("second");
  r.git("branch -q topic HEAD~1");
  r.put("readme.txt", "uncommitted");
  sh(r.path, "git clone -q --bare project 'with space.git'");
  auto before = fingerprint(r.root);
  for (auto& url : {r.root, "file://" + r.root, "file://localhost" + r.root, r.root + "/",
                    r.path + "/with space.git", "file://" + r.path + "/with%20space.git"}) {
    INFO(url);
    auto s = fetch_url(url, "HEAD", r.cache).value();
    CHECK(s.commit() == second);
    CHECK(s.base_commit() == "");
    CHECK(s.info().workspace == first);
    CHECK(s.info().name ==
          (url.ends_with(".git")
               ? (url.find('%') != std::string::npos ? "with%20space" : "with space")
               : "project"));
    CHECK(arrived(s, r.path)["readme.txt"] == "644 second");
  }
  CHECK(fetch_url(r.root, "v1", r.cache).value().commit() == first);
  CHECK(fetch_url(r.root, "topic", r.cache).value().commit() == first);
  CHECK(fetch_url(r.root, first, r.cache).value().commit() == first);
  CHECK(fetch_url(r.root, "nope", r.cache).error().code() == "bad_ref");
  CHECK(fingerprint(r.root) == before);
}

TEST_CASE("a fetched repository: branch, tag, commit, default branch, and what is new since") {
  TestRepository r;
  auto first = r.git("rev-parse HEAD");
  r.git("tag -a v1 -m tag");
  r.git("checkout -q -b trunk");
  r.put("readme.txt", "second");
  auto second = r.commit("second");
  auto get = [&](const std::string& ref) {
    return spell::git::fetch_remote("file://" + r.root, ref, r.cache);
  };
  CHECK(get("HEAD").value().commit() == second);
  CHECK(get("trunk").value().commit() == second);
  CHECK(get("main").value().commit() == first);
  CHECK(get("v1").value().commit() == first);
  CHECK(get(first).value().commit() == first);
  CHECK(get(first.substr(0, 10)).value().commit() == first);
  CHECK(get("nope").error().code() == "bad_ref");
  CHECK(get("HEAD").value().info().name == "project");
  CHECK(arrived(get("HEAD").value(), r.path)["readme.txt"] == "644 second");
  r.put("readme.txt", "third");
  auto third = r.commit("third");
  r.git("branch -q -D main");
  CHECK(get("trunk").value().commit() == third);
  CHECK(get("main").error().code() == "bad_ref");  // gone there, gone here
}

TEST_CASE("what cannot be fetched is one clear line without passwords") {
  TempFolder t;
  fs::create_directories(t.path + "/plain");
  for (auto& url :
       {std::string("https://user:secret@127.0.0.1:1/team/x.git"), t.path + "/plain",
        t.path + "/nowhere", "file://" + t.path + "/nowhere", std::string("file://host/x"),
        std::string("file://"), std::string(""), std::string("ssh://git@host/x"),
        std::string("http://user:secret@host/x"), std::string("git@host:x/y")}) {
    INFO(url);
    auto result = fetch_url(url, "HEAD", t.path + "/cache");
    REQUIRE(!result);
    CHECK(result.error().code() == "cannot_fetch");
    CHECK(result.error().message().find("secret") == std::string::npos);
    CHECK(result.error().message().find('\n') == std::string::npos);
  }
  CHECK(spell::git::without_credentials("https://u:p@h/a@b") == "https://h/a@b");
  CHECK(spell::git::without_credentials("https://h/a@b") == "https://h/a@b");
  CHECK(spell::git::without_credentials("git@h:a/b") == "git@h:a/b");
  sh(t.path, "git init -q empty");
  CHECK(fetch_url(t.path + "/empty", "HEAD", t.path + "/cache").error().code() == "no_commit");
  CHECK(spell::git::fetch_remote("file://" + t.path + "/empty", "HEAD", t.path + "/cache")
            .error()
            .code() == "no_commit");
}

TEST_CASE("LFS pointers in a fetched repository are refused") {
  TestRepository r;
  r.put(".gitattributes", "*.bin filter=lfs -text\n");
  r.put("w.bin", "version https://git-lfs.github.com/spec/v1\noid sha256:" + std::string(64, 'a') +
                     "\nsize 5\n");
  r.commit();
  auto result = fetch_url(r.root, "HEAD", r.cache);
  REQUIRE(!result);
  CHECK(result.error().code() == "unsupported_repository");
  CHECK(result.error().message().find("w.bin") != std::string::npos);
}
