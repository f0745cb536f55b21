#include "git/work_tree.hpp"

#include <climits>
#include <cstdlib>

#include <algorithm>

#include "base/clock.hpp"
#include "base/text.hpp"
#include "git/scan.hpp"
#include "git/snapshot.hpp"
#include "git/tree.hpp"

namespace spell::git {

namespace {

std::string counted(std::size_t n, const std::string& what) {
  return std::to_string(n) + " " + what + (n == 1 ? "" : "s");
}

Result<RepositoryPtr> open_around(const std::string& path) {
  start_library();
  RepositoryPtr repository;
  int rc = make(repository, git_repository_open_ext, path.c_str(), 0, nullptr);
  if (rc == 0) return repository;
  std::string shown = base::to_utf8(path);
  if (rc == GIT_ENOTFOUND)
    return base::error("not_a_repository",
                       shown + " is not in a Git repository (git init makes one)");
  if (rc == GIT_EOWNER)
    return base::error("unsupported_repository",
                       "the repository around " + shown + " belongs to somebody else: " +
                           "git config --global --add safe.directory FOLDER allows it");
  return library_error("unsupported_repository", "cannot open the repository around " + shown);
}

/// `path` relative to the work tree, "" if it is the top or not below it.
std::string folder_below(const std::string& root, const std::string& path) {
  char resolved[PATH_MAX];
  if (!::realpath(path.c_str(), resolved)) return {};
  std::string real = resolved;
  if (!::realpath(root.c_str(), resolved)) return {};
  std::string top = std::string(resolved) + "/";
  if (!real.starts_with(top)) return {};
  auto folder = real.substr(top.size());
  return folder == ".git" || folder.starts_with(".git/") ? "" : folder;
}

std::string repository_name(git_repository* repository, const std::string& root) {
  RemotePtr origin;
  if (make(origin, git_remote_lookup, repository, "origin") == 0)
    if (const char* url = git_remote_url(origin.get()); url && *url) return last_part(url);
  return last_part(root);
}

/// Everything that inspect and snapshot have in common.
struct Look {
  RepositoryPtr repository{};
  std::shared_ptr<Snapshot::Impl> impl = std::make_shared<Snapshot::Impl>();
  Scan state{};
  bool scanned = false;
};

Result<Look> look(const SnapshotOptions& options) {
  auto opened = open_around(options.path);
  if (!opened) return opened.error();
  Look result;
  result.repository = std::move(*opened);
  git_repository* repository = result.repository.get();
  auto& impl = *result.impl;
  const char* work_tree = git_repository_workdir(repository);
  impl.info.root = work_tree ? work_tree : git_repository_path(repository);
  while (impl.info.root.size() > 1 && impl.info.root.back() == '/') impl.info.root.pop_back();
  impl.info.name = repository_name(repository, impl.info.root);
  if (work_tree) impl.info.folder = folder_below(impl.info.root, options.path);
  if (!base::valid_text(impl.info.folder))  // it could not be told to anybody in JSON
    return base::error("unsupported_repository",
                       "the name of the folder " + base::to_utf8(impl.info.folder) +
                           " is not valid UTF-8; run from another folder of the repository");
  impl.stat_cache = options.stat_cache;

  auto commit = resolve(repository, options.ref, impl.info.root);
  if (!commit) return commit.error();
  StatCache cache(options.stat_cache, impl.info.root);
  SPELL_TRY(load_commit(impl, repository, *commit, cache));
  result.scanned = work_tree && options.ref == "HEAD";
  if (result.scanned) {
    auto state =
        scan(repository, cache, impl.objects, options.include_untracked, base::unix_us() * 1000);
    if (!state) return state.error();
    result.state = std::move(*state);
    auto changed =
        changed_paths(impl.odb.get(), impl.tree, build_tree(result.state.tracked, impl.objects));
    if (!changed) return changed.error();
    impl.info.changed = std::move(*changed);
    impl.info.untracked = result.state.untracked;
    impl.info.ignored = result.state.ignored;
  }
  cache.save();
  return result;
}

/// The commit that takes the work tree's content on top of the base: a function of both and nothing
/// else.
Result<> add_snapshot_commit(Snapshot::Impl& impl, const std::vector<Leaf>& leaves) {
  Oid tree = build_tree(leaves, impl.objects);
  if (tree == impl.tree) return ok();
  auto base_data = read_commit(impl.odb.get(), impl.base);
  if (!base_data) return base_data.error();
  std::string who = "Spell <snapshot@spell> " + base_data->when;
  impl.tree = tree;
  impl.id =
      impl.objects.add("tree " + base::hex(tree) + "\nparent " + base::hex(impl.base) +
                           "\nauthor " + who + "\ncommitter " + who + "\n\nUncommitted changes\n",
                       GIT_OBJECT_COMMIT);
  impl.base_commit = base::hex(impl.base);
  impl.commit = base::hex(impl.id);
  return ok();
}

void add_notices(Snapshot::Impl& impl, const Scan& state, bool untracked_sent) {
  std::vector<std::string> included;
  if (!impl.info.changed.empty())
    included.push_back("uncommitted changes of " + counted(impl.info.changed.size(), "file"));
  if (!state.untracked_files.empty())
    included.push_back(counted(state.untracked_files.size(), "untracked file"));
  if (state.lfs_files > 0)
    included.push_back("the content of " +
                       counted(static_cast<std::size_t>(state.lfs_files), "Git LFS file"));
  bool one = included.size() == 1 && impl.info.changed.empty() &&
             (state.lfs_files > 0 || state.untracked_files.size() == 1);
  if (!included.empty() && !impl.base_commit.empty())
    impl.notices.push_back(base::join(included, " and ") + (one ? " is" : " are") +
                           " included as snapshot commit " + impl.commit.substr(0, 8) +
                           (impl.info.changed.empty() ? "" : " (--require-clean refuses them)"));
  if (!impl.info.untracked.empty() && !untracked_sent)
    impl.notices.push_back("not sent: " + counted(impl.info.untracked.size(), "untracked file") +
                           " (--include-untracked sends them): " + short_list(impl.info.untracked));
  if (!impl.info.ignored.empty())
    impl.notices.push_back("not sent: " + short_list(impl.info.ignored) + " (ignored)");
  if (!state.nested.empty())
    impl.notices.push_back("not sent: " + short_list(state.nested) + " (a repository of its own)");
  if (!state.modules.empty())
    impl.notices.push_back("not sent: submodules " + short_list(state.modules) +
                           " (their folders arrive empty)");
}

}  // namespace

Result<CodeInfo> inspect(const std::string& path, const std::string& ref,
                         const std::string& stat_cache) {
  SnapshotOptions options;
  options.path = path;
  options.ref = ref;
  options.stat_cache = stat_cache;
  auto seen = look(options);
  if (!seen) return seen.error();
  return std::move(seen->impl->info);
}

Result<Snapshot> snapshot(const SnapshotOptions& options) {
  auto seen = look(options);
  if (!seen) return seen.error();
  auto& impl = *seen->impl;
  if (!seen->scanned) {
    SPELL_TRY(check_committed_tree(impl, impl.info.root));
    return Snapshot(seen->impl);
  }
  if (options.require_clean && !impl.info.changed.empty())
    return base::error("uncommitted_changes",
                       "Uncommitted changes to tracked files detected in repo " + impl.info.root +
                           " -- please commit first");
  auto leaves = seen->state.content;
  auto& untracked = seen->state.untracked_files;
  leaves.insert(leaves.end(), untracked.begin(), untracked.end());
  std::sort(leaves.begin(), leaves.end(),
            [](const Leaf& a, const Leaf& b) { return a.path < b.path; });
  SPELL_TRY(add_snapshot_commit(impl, leaves));
  add_notices(impl, seen->state, options.include_untracked);
  return Snapshot(seen->impl);
}

}  // namespace spell::git
