#include "worker/code_cache.hpp"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/id.hpp"
#include "base/text.hpp"
#include "git/store.hpp"
#include "worker/aside.hpp"

namespace spell::worker {

namespace {

constexpr std::size_t commits_named = 16;  // of those that are here, to the service

Result<> take_commit(git::Store& store, const std::string& commit, const CodeCache::Fetch& fetch,
                     const std::vector<std::string>& have,
                     const std::function<Result<base::Fd>()>& pack) {
  auto file = pack();
  if (!file) return file.error();
  auto size = fetch(have, file->get());
  if (!size) return size.error();
  return store.add_pack(file->get(), *size, commit);
}

}  // namespace

std::shared_ptr<CodeCache::Repository> CodeCache::hold(const std::string& path) {
  std::lock_guard lock(mutex_);
  auto& known = held_[path];
  auto repository = known.lock();
  if (!repository) known = repository = std::make_shared<Repository>();
  return repository;
}

Result<CodeCache::Use> CodeCache::use(const std::string& owner, const std::string& workspace,
                                      const std::string& commit,
                                      const std::function<Result<base::Fd>()>& pack,
                                      const Fetch& fetch) {
  if (!base::valid_name(owner) || !base::valid_name(workspace))
    return base::error("invalid_path", "'" + base::to_utf8(owner + "/" + workspace) +
                                           "' is no owner and workspace");
  std::string path = folder_ + "/" + owner + "/" + workspace + ".git";
  auto repository = hold(path);
  bool fetched = false;
  {
    std::lock_guard fetching(repository->fetching);
    auto store = git::Store::open(path);
    if (!store) return store.error();
    auto here = store->has_commit(commit);
    if (!here) return here.error();
    if (!*here) {
      auto taken = take_commit(*store, commit, fetch, store->protectors(commits_named), pack);
      // Something that is named as being here is not: everything anew.
      if (!taken && taken.error().code() == "incomplete_pack")
        taken = take_commit(*store, commit, fetch, {}, pack);
      if (!taken) return taken.error();
      (void)store->repack();
      fetched = true;
    }
    // Remembers that it is here, and when it was wanted last.
    if (auto kept = store->protect(commit, commit); !kept) return kept.error();
  }
  ::utimensat(AT_FDCWD, path.c_str(), nullptr, 0);
  if (fetched) trim();
  return Use{path, repository};
}

void CodeCache::discard(const Use& use) {
  std::string aside;
  {
    // Who reads from it now finds that something is missing, and does the same.
    std::lock_guard fetching(std::static_pointer_cast<Repository>(use.held)->fetching);
    aside = move_aside(folder_, use.repository);
  }
  if (aside.empty()) return;
  (void)base::remove_tree(aside);
}

void CodeCache::trim() {
  namespace fs = std::filesystem;
  struct Old {
    std::int64_t used_ns, bytes;
    std::string path;
  };
  std::vector<Old> all;
  std::int64_t total = 0;
  std::error_code ignored;
  for (auto& owner : fs::directory_iterator(folder_, ignored))
    for (auto& repository : fs::directory_iterator(owner.path(), ignored)) {
      std::string path = repository.path();
      struct stat st;
      if (!path.ends_with(".git") || ::stat(path.c_str(), &st) != 0) continue;
      auto store = git::Store::open(path);
      std::int64_t bytes = store ? store->size() : 0;
      total += bytes;
      all.push_back(
          {st.st_mtim.tv_sec * std::int64_t{1'000'000'000} + st.st_mtim.tv_nsec, bytes, path});
    }
  std::sort(all.begin(), all.end(),
            [](const Old& a, const Old& b) { return a.used_ns < b.used_ns; });
  std::vector<std::string> gone;
  {
    std::lock_guard lock(mutex_);
    std::erase_if(held_, [](auto& entry) { return entry.second.expired(); });
    for (auto& old : all) {
      if (total <= limit_) break;
      if (held_.contains(old.path)) continue;
      std::string aside = move_aside(folder_, old.path);
      if (aside.empty()) continue;
      total -= old.bytes;
      gone.push_back(aside);
    }
  }
  for (auto& path : gone) (void)base::remove_tree(path);
}

void CodeCache::clean() {
  std::error_code ignored;
  for (auto& entry : std::filesystem::directory_iterator(folder_, ignored))
    if (is_aside(entry.path().filename().string())) (void)base::remove_tree(entry.path());
}

}  // namespace spell::worker
