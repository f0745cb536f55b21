// A disk that fails, and one that loses its power. A test's program puts its own fsync, rename and
// unlink before those of the C library and asks here.
#pragma once
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <map>
#include <mutex>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace fault {

/// What a folder's disk holds for sure, and when it fails. Contents of a file are durable once it
/// was synced, names once their folder was. Thread-safe.
struct Disk {
  std::recursive_mutex mutex;
  std::string folder;  ///< what is watched, with all below; "": nothing
  int steps = 0, fail_at = 0;
  bool dead = false, only_once = false;

  /// False: the call is to fail.
  bool step(const std::string& path) {
    std::lock_guard lock(mutex);
    if (!watches(path)) return true;
    if (dead) return false;
    if (++steps != fail_at) return true;
    dead = !only_once;
    return false;
  }

  void sync(const std::string& path) {
    std::lock_guard lock(mutex);
    struct stat st;
    if (!watches(path) || ::stat(path.c_str(), &st) != 0) return;
    if (!S_ISDIR(st.st_mode)) {
      synced_[st.st_ino] = read(path);
      return;
    }
    auto& names = names_[path];
    names.clear();
    for (auto& entry : std::filesystem::directory_iterator(path))
      if (::lstat(entry.path().c_str(), &st) == 0)
        names[entry.path().filename()] = {st.st_ino, S_ISDIR(st.st_mode) != 0};
  }

  /// A file that is about to lose a name: no other gets its inode as long as it may come back.
  void losing(const std::string& path) {
    std::lock_guard lock(mutex);
    if (!watches(path)) return;
    if (int fd = ::open(path.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC); fd >= 0)
      held_.push_back(fd);
  }

  /// Watches a folder all of which is durable by now.
  void watch(const std::string& path) {
    std::lock_guard lock(mutex);
    folder = path;
    sync(path);
    for (auto& entry : std::filesystem::recursive_directory_iterator(path)) sync(entry.path());
  }

  /// What is there after the power came back; nothing is watched any more. `all_names`: names had
  /// reached the disk before their folder was synced, as they may. `torn`: so had sectors of files,
  /// some of those that were written since the last sync; by this seed, 0: none.
  void come_back(bool all_names, unsigned torn = 0) {
    std::lock_guard lock(mutex);
    if (torn) tear(torn);
    if (all_names) {
      auto before = names_;
      sync(folder);
      for (auto& entry : std::filesystem::recursive_directory_iterator(folder))
        if (entry.is_directory()) sync(entry.path());
      for (auto& [path, names] : before) names_[path].insert(names.begin(), names.end());
    }
    std::string where = std::exchange(folder, "");
    std::filesystem::remove_all(where);
    make(where);
    dead = false;
    steps = fail_at = 0;
    synced_.clear();
    names_.clear();
    for (int fd : held_) ::close(fd);
    held_.clear();
  }

 private:
  struct Entry {
    ino_t inode = 0;
    bool folder = false;
  };
  std::map<ino_t, std::string> synced_;
  std::vector<int> held_;
  std::map<std::string, std::map<std::string, Entry>> names_;

  bool watches(const std::string& path) const {
    return !folder.empty() && (path == folder || path.starts_with(folder + "/"));
  }
  static std::string read(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  void tear(unsigned seed) {
    constexpr std::size_t sector = 512;
    std::mt19937 random(seed);
    for (auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
      struct stat st;
      if (::lstat(entry.path().c_str(), &st) != 0 || !S_ISREG(st.st_mode)) continue;
      auto written = read(entry.path());
      auto& there = synced_[st.st_ino];
      // A file grows before its bytes come, or when they do; one that was cut may be long still.
      if (random() % 2) there.resize(std::max(there.size(), written.size()));
      for (std::size_t at = 0; at < written.size() && at <= there.size(); at += sector)
        if (random() % 2) there.replace(at, sector, written, at, sector);
    }
  }
  void make(const std::string& where) {
    std::filesystem::create_directory(where);
    for (auto& [name, entry] : names_[where]) {
      std::string path = where + "/" + name;
      if (entry.folder)
        make(path);
      else
        std::ofstream(path, std::ios::binary)
            << (synced_.contains(entry.inode) ? synced_[entry.inode] : "");
    }
  }
};

inline std::string path_of(int fd) {
  std::error_code none;
  return std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(fd), none).string();
}

/// The C library's function that another of the same name stands before.
template <class Function>
Function* next(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

inline int failed() {
  errno = EIO;
  return -1;
}

}  // namespace fault
