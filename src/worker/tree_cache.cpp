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
#include "worker/aside.hpp"
#include "worker/tree_sum.hpp"

namespace spell::worker {

namespace {

constexpr std::int64_t block = 4096;
constexpr std::string_view use_suffix = ".use", sum_suffix = ".sum";

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
      std::string sum = path(name) + std::string(sum_suffix);
      if (auto known = base::read_file(sum, 64); known && ::stat(sum.c_str(), &st) == 0) {
        tree.sum = base::trim(*known);
        tree.checked_ns = st.st_mtim.tv_sec * 1'000'000'000 + st.st_mtim.tv_nsec;
      }
    }
  }
  for (auto& name : names) {
    std::string_view of = name;
    for (auto suffix : {use_suffix, sum_suffix})
      if (of.ends_with(suffix)) of.remove_suffix(suffix.size());
    if (trees_.contains(std::string(of))) continue;
    if (is_aside(name))
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
    if (discard(key, gone)) trees_.erase(key);
  }
  return gone;
}

void TreeCache::remove_notes(const std::string& key) {
  for (auto suffix : {use_suffix, sum_suffix}) ::unlink((path(key) + std::string(suffix)).c_str());
}

bool TreeCache::discard(const std::string& key, std::vector<std::string>& gone) {
  // The notes go first: a tree without them is half a tree.
  remove_notes(key);
  auto moved = move_aside(folder_, path(key));
  if (moved.empty() && base::exists(path(key))) return false;  // a disk so full that it cannot
  if (!moved.empty()) gone.push_back(moved);
  return true;
}

bool TreeCache::due(const Tree& tree, std::chrono::seconds every, std::int64_t now_ns) {
  if (!tree.whole || tree.busy || tree.damaged) return false;
  if (tree.made_here || (tree.sum.empty() && tree.runs.empty())) return true;
  // A clock that was set back makes it look again, not never.
  return !tree.sum.empty() && (now_ns < tree.checked_ns ||
                               now_ns - tree.checked_ns >= std::chrono::nanoseconds(every).count());
}

std::optional<std::int64_t> TreeCache::next_check_ns(std::chrono::seconds every) const {
  std::optional<std::int64_t> next;
  std::lock_guard lock(mutex_);
  for (auto& [key, tree] : trees_) {
    if (!tree.whole || tree.damaged || tree.sum.empty()) continue;
    std::int64_t at = tree.checked_ns + std::chrono::nanoseconds(every).count();
    if (!next || at < *next) next = at;
  }
  return next;
}

std::string TreeCache::check_one(const std::string& key, std::stop_token stop,
                                 std::vector<std::string>& gone) {
  std::unique_lock lock(mutex_);
  auto found = trees_.find(key);
  if (found == trees_.end() || !found->second.whole || found->second.busy) return {};
  std::int64_t making = found->second.making;
  bool unknown = found->second.sum.empty() && !found->second.made_here;
  lock.unlock();
  auto sum = unknown ? Result<std::string>("") : tree_sum(path(key), std::move(stop));
  lock.lock();
  found = trees_.find(key);
  // Gone meanwhile, by our own hand.
  if (found == trees_.end() || found->second.making != making || found->second.busy) return {};
  if (!sum && sum.error().code() == "canceled") return {};
  Tree& tree = found->second;
  std::string note = path(key) + std::string(sum_suffix);
  if (sum && tree.made_here) {
    tree.made_here = false;
    tree.sum = *sum;
    tree.checked_ns = now_ns_();
    // If not: it is made anew after a restart.
    (void)base::write_file(note, *sum + "\n", 0600, false);
    return {};
  }
  if (sum && !unknown && *sum == tree.sum) {
    tree.checked_ns = now_ns_();
    ::utimensat(AT_FDCWD, note.c_str(), nullptr, 0);
    return {};
  }
  std::string line = "the cached tree " + path(key) +
                     (sum ? " is not as it was made" : " cannot be read: " + sum.error().message());
  if (!tree.runs.empty()) {
    if (unknown) return {};
    tree.damaged = true;
    ::unlink(note.c_str());  // nobody takes it for sound after a restart
    return line + "; runs that go on use it (" +
           base::join({tree.runs.begin(), tree.runs.end()}, ", ") +
           "), and it is made anew when they have ended";
  }
  if (discard(key, gone)) trees_.erase(found);
  return unknown ? "" : line + "; it was removed, and is made anew when it is next mounted";
}

std::vector<std::string> TreeCache::check(std::chrono::seconds every, std::stop_token stop) {
  std::vector<std::string> keys, gone, wrong;
  {
    std::lock_guard lock(mutex_);
    std::int64_t now = now_ns_();
    for (auto& [key, tree] : trees_)
      if (due(tree, every, now)) keys.push_back(key);
  }
  for (auto& key : keys) {
    if (stop.stop_requested()) break;
    if (auto line = check_one(key, stop, gone); !line.empty()) wrong.push_back(line);
    remove_all(gone);
    gone.clear();
  }
  return wrong;
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
    remove_notes(key);
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
  std::vector<std::string> gone;
  if (tree.damaged) {
    if (tree.runs.size() > 1) {
      tree.runs.erase(run);
      return base::error("damaged",
                         "what this machine's cache has of it is damaged, and runs that "
                         "go on use it: run it again when they have ended");
    }
    if (!discard(key, gone)) return base::error("disk_full", "the disk is full");
    tree.whole = tree.damaged = false;
  }
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
  remove_all(gone);
  auto made = make_room_and_make(key, bytes, make, stop);
  lock.lock();
  tree.busy = false;
  tree.whole = tree.made_here = made.ok();
  tree.sum.clear();
  tree.making = ++makings_;
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
