// Repositories for the tests, made by the `git` program in temporary folders with nobody's
// settings.
#pragma once
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "base/file.hpp"
#include "base/hash.hpp"
#include "base/text.hpp"
#include "catch.hpp"
#include "git/store.hpp"
#include "git/work_tree.hpp"

namespace git_test {

namespace fs = std::filesystem;

class TempFolder {
 public:
  TempFolder() {
    char pattern[] = "/tmp/spell-git-XXXXXX";
    path = ::mkdtemp(pattern);
  }
  TempFolder(const TempFolder&) = delete;
  ~TempFolder() { (void)spell::base::remove_tree(path); }
  std::string path;
};

inline void write(const std::string& path, std::string_view bytes) {
  fs::create_directories(fs::path(path).parent_path());
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}
inline std::string read(const std::string& path) { return spell::base::read_file(path).value(); }

/// Runs a shell command in a folder; its output. Nobody's Git settings but those in `home` are
/// seen.
inline std::string sh(const std::string& folder, const std::string& command,
                      const std::string& home = "/nonexistent") {
  std::string line =
      "cd " + spell::base::shell_quote(folder) + " && env HOME=" + home +
      " XDG_CONFIG_HOME=" + home +
      "/.config GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=A GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=A "
      "GIT_COMMITTER_EMAIL=a@b GIT_AUTHOR_DATE='1700000000 +0130' GIT_COMMITTER_DATE='1700000000 "
      "+0130' "
      "sh -ec " +
      spell::base::shell_quote(command) + " 2>&1";
  std::string output;
  FILE* pipe = ::popen(line.c_str(), "r");
  char buffer[4096];
  while (std::size_t n = std::fread(buffer, 1, sizeof buffer, pipe)) output.append(buffer, n);
  int status = ::pclose(pipe);
  INFO(command << ": " << output);
  REQUIRE(status == 0);
  while (!output.empty() && output.back() == '\n') output.pop_back();
  return output;
}

/// A repository with a few files and one commit.
class TestRepository : public TempFolder {
 public:
  TestRepository() : root(path + "/project"), cache(path + "/cache") {
    fs::create_directories(root);
    git("init -q -b main .");
    put("readme.txt", "hello\n");
    put("src/main.py", "print(1)\n");
    put("src/deep/a.txt", "a\n");
    put("bin/tool", "#!/bin/sh\n");
    ::chmod((root + "/bin/tool").c_str(), 0755);
    put("empty", "");
    put("binary", std::string("\0\1\r\n\xff\0", 6));
    ::symlink("src/main.py", (root + "/link").c_str());
    commit("first commit\n\nbody");
  }
  void put(const std::string& name, std::string_view bytes) const {
    write(root + "/" + name, bytes);
  }
  std::string git(const std::string& arguments) const { return sh(root, "git " + arguments); }
  std::string commit(const std::string& message = "more") const {
    git("add -A");
    git("commit -q -m " + spell::base::shell_quote(message));
    return git("rev-parse HEAD");
  }
  spell::git::SnapshotOptions options() const {
    spell::git::SnapshotOptions o;
    o.path = root;
    o.stat_cache = cache;
    return o;
  }
  std::string root, cache;
};

/// Path, size, mode, times, and content of everything below a folder.
inline std::map<std::string, std::string> fingerprint(const std::string& folder) {
  std::map<std::string, std::string> all;
  auto add = [&](const fs::path& path) {
    struct stat st;
    REQUIRE(::lstat(path.c_str(), &st) == 0);
    std::string state = std::to_string(st.st_size) + " " + std::to_string(st.st_mode) + " " +
                        std::to_string(st.st_ino) + " " + std::to_string(st.st_mtim.tv_sec) + "." +
                        std::to_string(st.st_mtim.tv_nsec) + " " +
                        std::to_string(st.st_ctim.tv_sec) + "." +
                        std::to_string(st.st_ctim.tv_nsec);
    if (S_ISREG(st.st_mode)) state += " " + spell::base::hex(spell::base::sha256(read(path)));
    all[path] = state;
  };
  add(folder);
  for (auto& entry : fs::recursive_directory_iterator(folder)) add(entry.path());
  return all;
}

inline spell::base::Fd temp_file() {
  char pattern[] = "/tmp/spell-git-pack-XXXXXX";
  spell::base::Fd fd(::mkstemp(pattern));
  ::unlink(pattern);
  return fd;
}

/// Sends a snapshot the way the client does: what is missing, as one pack. Returns the pack's size.
inline std::int64_t send(const spell::git::Snapshot& snapshot, spell::git::Store& store) {
  if (store.has_commit(snapshot.commit()).value()) return 0;
  auto pack = temp_file();
  auto known = store.known_trees(snapshot.recent_trees()).value();
  auto size = snapshot.write_pack(pack.get(), known).value();
  store.add_pack(pack.get(), size, snapshot.commit()).value();
  return size;
}

/// What a run of the snapshot would find: path -> "mode content".
inline std::map<std::string, std::string> files_of(const std::string& folder) {
  std::map<std::string, std::string> files;
  for (auto& entry : fs::recursive_directory_iterator(folder)) {
    auto name = fs::relative(entry.path(), folder).string();
    if (entry.is_symlink())
      files[name] = "link " + fs::read_symlink(entry.path()).string();
    else if (entry.is_directory())
      files[name] = "folder";
    else
      files[name] =
          (::access(entry.path().c_str(), X_OK) == 0 ? "755 " : "644 ") + read(entry.path());
  }
  return files;
}
inline std::map<std::string, std::string> arrived(const spell::git::Snapshot& snapshot,
                                                  const std::string& scratch) {
  static int number = 0;
  std::string base = scratch + "/arrived" + std::to_string(++number);
  auto store = spell::git::Store::open(base + ".git").value();
  send(snapshot, store);
  fs::create_directories(base);
  std::vector<std::string> notices;
  spell::git::checkout(base + ".git", snapshot.commit(), base, notices).value();
  return files_of(base);
}
/// The work tree without .git.
inline std::map<std::string, std::string> work_tree(const TestRepository& repository) {
  auto files = files_of(repository.root);
  std::erase_if(files, [](auto& f) { return f.first == ".git" || f.first.starts_with(".git/"); });
  return files;
}

}  // namespace git_test
