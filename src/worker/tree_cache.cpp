#include "worker/tree_cache.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <memory>

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/id.hpp"
#include "base/text.hpp"

namespace spell::worker {

namespace {

constexpr std::int64_t block = 4096;
constexpr std::string_view use_suffix = ".use", gone_prefix = ".gone-";

/// Removing `path` may take long; the name is free at once. "": there was nothing.
std::string move_aside(const std::string& folder, const std::string& path) {
  std::string gone = folder + "/" + std::string(gone_prefix) + base::Id::make().text();
  return ::rename(path.c_str(), gone.c_str()) == 0 ? gone : "";
}

void remove_all(const std::vector<std::string>& paths) {
  // What cannot be removed now is found again at the next start.
  for (auto& path : paths) (void)base::remove_tree(path);
}

}  // namespace

std::int64_t reckoned_size(std::int64_t bytes, std::int64_t files) {
  return bytes + (files + 1) * block;
}

std::vector<std::string> choose_to_evict(std::vector<CachedTree> trees, std::int64_t limit,
                                         std::int64_t more) {
  std::sort(trees.begin(), trees.end(), [](const CachedTree& a, const CachedTree& b) {
    return std::tie(a.used_ns, a.key) < std::tie(b.used_ns, b.key);
  });
  std::int64_t total = more;
  for (auto& tree : trees) total += tree.bytes;
  std::vector<std::string> out;
  for (auto& tree : trees) {
    if (total <= limit) break;
    if (tree.held) continue;
    total -= tree.bytes;
    out.push_back(tree.key);
  }
  return out;
}

Result<> TreeCache::open() {
  SPELL_TRY(base::make_folders(folder_));
  std::unique_ptr<DIR, int (*)(DIR*)> folder(::opendir(folder_.c_str()), ::closedir);
  if (!folder) return base::errno_error("read " + folder_);
  std::set<std::string> names;
  while (dirent* entry = ::readdir(folder.get()))
    if (std::string name = entry->d_name; name != "." && name != "..") names.insert(name);

  std::lock_guard lock(mutex_);
  for (auto& name : names) {
    std::string use = path(name) + std::string(use_suffix);
    struct stat st;
    auto text = names.contains(name + std::string(use_suffix)) ? base::read_file(use, 64)
                                                               : Result<std::string>("");
    auto bytes = text ? base::parse_int(base::trim(*text)) : std::nullopt;
    if (bytes && *bytes >= 0 && ::stat(use.c_str(), &st) == 0) {
      Tree& tree = trees_[name];
      tree.bytes = *bytes;
      tree.used_ns = st.st_mtim.tv_sec * 1'000'000'000 + st.st_mtim.tv_nsec;
      tree.whole = true;
    }
  }
  for (auto& name : names) {
    std::string_view of = name;
    if (of.ends_with(use_suffix)) of.remove_suffix(use_suffix.size());
    if (trees_.contains(std::string(of))) continue;
    if (name.starts_with(gone_prefix))
      gone_.push_back(path(name));
    else if (auto gone = move_aside(folder_, path(name)); !gone.empty())
      gone_.push_back(gone);
  }
  return ok();
}

void TreeCache::clean() {
  std::vector<std::string> gone;
  {
    std::lock_guard lock(mutex_);
    gone.swap(gone_);
  }
  remove_all(gone);
}

void TreeCache::hold(const std::string& run, const std::string& key) {
  std::lock_guard lock(mutex_);
  if (auto tree = trees_.find(key); tree != trees_.end()) tree->second.runs.insert(run);
}

void TreeCache::release(const std::string& run) {
  std::lock_guard lock(mutex_);
  for (auto& [key, tree] : trees_) tree.runs.erase(run);
}

std::int64_t TreeCache::bytes() const {
  std::lock_guard lock(mutex_);
  std::int64_t total = 0;
  for (auto& [key, tree] : trees_) total += tree.whole ? tree.bytes : 0;
  return total;
}

std::vector<CachedTree> TreeCache::trees() const {
  std::vector<CachedTree> out;
  for (auto& [key, tree] : trees_)
    if (tree.whole || tree.busy)
      out.push_back({key, tree.bytes, tree.used_ns, tree.busy || !tree.runs.empty()});
  return out;
}

std::vector<std::string> TreeCache::evict(std::int64_t limit, std::int64_t more) {
  std::vector<std::string> gone;
  std::lock_guard lock(mutex_);
  for (auto& key : choose_to_evict(trees(), limit, more)) {
    // The note goes first: a tree without one is half a tree.
    ::unlink((path(key) + std::string(use_suffix)).c_str());
    auto moved = move_aside(folder_, path(key));
    if (moved.empty() && base::exists(path(key))) continue;  // a disk so full that it cannot
    if (!moved.empty()) gone.push_back(moved);
    trees_.erase(key);
  }
  return gone;
}

Result<std::int64_t> TreeCache::make_room_and_make(const std::string& key, std::int64_t bytes,
                                                   const Make& make, std::stop_token stop) {
  // This tree counts already.
  remove_all(evict(limit_, 0));
  std::string use = path(key) + std::string(use_suffix);
  auto note = [&] { return base::write_file(use, std::to_string(bytes) + "\n", 0600, false); };
  for (bool again = false;; again = true) {
    auto made = note();
    if (made) made = make(path(key), stop);
    struct stat st;
    if (made && ::stat(path(key).c_str(), &st) == 0 && S_ISREG(st.st_mode) &&
        bytes != reckoned_size(st.st_size, 1)) {
      bytes = reckoned_size(st.st_size, 1);
      (void)note();  // if not: after a restart it is reckoned as before
    }
    if (made) return bytes;
    ::unlink(use.c_str());
    if (made.error().code() != "disk_full" || again || !make_room()) return made.error();
  }
}

bool TreeCache::make_room() {
  auto gone = evict(0, 0);
  remove_all(gone);
  return !gone.empty();
}

Result<TreeCache::Use> TreeCache::use(const std::string& run, const std::string& key,
                                      std::int64_t bytes, const Make& make, std::stop_token stop) {
  Use out{path(key), true};
  std::string use = path(key) + std::string(use_suffix);
  std::unique_lock lock(mutex_);
  trees_[key].runs.insert(run);
  bool waited = changed_.wait(lock, stop, [&] { return !trees_[key].busy; });
  Tree& tree = trees_[key];  // held, so it stays where it is
  if (!waited) {
    tree.runs.erase(run);
    return base::error("canceled", "the mount was given up");
  }
  tree.used_ns = now_ns_();
  if (tree.whole) {
    lock.unlock();
    // Only what goes first depends on it.
    ::utimensat(AT_FDCWD, use.c_str(), nullptr, 0);
    return out;
  }
  out.was_there = false;
  tree.busy = true;
  tree.bytes = bytes;
  lock.unlock();
  auto made = make_room_and_make(key, bytes, make, stop);
  lock.lock();
  tree.busy = false;
  tree.whole = made.ok();
  tree.bytes = made.value_or(0);
  if (!made) {
    tree.runs.erase(run);
    if (tree.runs.empty()) trees_.erase(key);
  }
  lock.unlock();
  changed_.notify_all();
  if (!made) return made.error();
  return out;
}

}  // namespace spell::worker
