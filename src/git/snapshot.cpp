#include "git/snapshot.hpp"

#include <algorithm>
#include <queue>

#include "base/text.hpp"
#include "git/pack.hpp"
#include "git/tree.hpp"

namespace spell::git {

namespace {

/// A repository that lacks what its commit needs is a partial or damaged clone; nothing here can
/// bring it.
Error as_unsupported(const Error& e, const std::string& shown) {
  if (e.code() != "missing_object") return e;
  return base::error("unsupported_repository",
                     "repository " + shown + ": " + e.message() +
                         " (a partial clone?) -- run git fetch --refetch first");
}

/// First-parent walk to the first commit that has no parent here: the root, or a shallow clone's
/// boundary.
Result<Oid> find_root(git_odb* odb, const Oid& start, StatCache& cache) {
  Oid at = start;
  for (;;) {
    if (auto known = cache.find_root(at)) {
      at = *known;
      break;
    }
    auto commit = read_commit(odb, at);
    if (!commit) return commit.error();
    if (commit->parents.empty()) break;
    git_oid parent = to_git(commit->parents[0]);
    if (!git_odb_exists(odb, &parent)) break;
    at = commit->parents[0];
  }
  cache.put_root(start, at);
  return at;
}

}  // namespace

std::string short_list(const std::vector<std::string>& names) {
  constexpr std::size_t shown = 3;
  std::vector<std::string> few;
  for (std::size_t i = 0; i < std::min(shown, names.size()); ++i)
    few.push_back(base::to_utf8(names[i]));
  return base::join(few, ", ") + (names.size() > shown ? ", …" : "");
}

std::string last_part(std::string address) {
  while (address.size() > 1 && address.back() == '/') address.pop_back();
  if (address.ends_with("/.git")) address.resize(address.size() - 5);
  auto at = address.find_last_of("/:");
  std::string name = at == std::string::npos ? address : address.substr(at + 1);
  if (name.ends_with(".git") && name.size() > 4) name.resize(name.size() - 4);
  return base::to_utf8(name);
}

Result<Oid> resolve(git_repository* repository, const std::string& ref, const std::string& shown) {
  ObjectPtr object, commit;
  if (!ref.empty() && ref[0] != '-' && ref.find('\0') == std::string::npos &&
      make(object, git_revparse_single, repository, ref.c_str()) == 0 &&
      make(commit, git_object_peel, object.get(), GIT_OBJECT_COMMIT) == 0)
    return from_git(*git_object_id(commit.get()));
  if (git_repository_head_unborn(repository) == 1)
    return base::error("no_commit", "repository " + shown + " has no commit yet: git commit first");
  return base::error("bad_ref",
                     "'" + base::to_utf8(ref) + "' names no commit in repository " + shown);
}

Result<> load_commit(Snapshot::Impl& snapshot, git_repository* repository, const Oid& id,
                     StatCache& cache) {
  git_buf folder = GIT_BUF_INIT;
  if (git_repository_item_path(&folder, repository, GIT_REPOSITORY_ITEM_OBJECTS) != 0)
    return library_error("unsupported_repository",
                         "cannot find the objects of " + snapshot.info.root);
  std::string objects_folder = folder.ptr;
  git_buf_dispose(&folder);
  auto odb = snapshot.objects.open_over(objects_folder);
  if (!odb) return odb.error();
  snapshot.odb = std::move(*odb);
  auto commit = read_commit(snapshot.odb.get(), id);
  if (!commit) return as_unsupported(commit.error(), snapshot.info.root);
  auto root = find_root(snapshot.odb.get(), id, cache);
  if (!root) return as_unsupported(root.error(), snapshot.info.root);
  snapshot.id = snapshot.base = id;
  snapshot.tree = commit->tree;
  snapshot.commit = snapshot.info.commit = base::hex(id);
  snapshot.info.message = commit->subject;
  snapshot.info.workspace = base::hex(*root);
  return ok();
}

Result<> check_committed_tree(Snapshot::Impl& snapshot, const std::string& shown) {
  auto found = survey(snapshot.odb.get(), snapshot.tree);
  if (!found) return as_unsupported(found.error(), shown);
  if (!found->lfs_pointers.empty())
    return base::error("unsupported_repository",
                       "git LFS files cannot be sent from a commit that is not checked out: " +
                           short_list(found->lfs_pointers) +
                           " -- git checkout and git lfs pull, then run HEAD");
  if (!found->modules.empty())
    snapshot.notices.push_back("not sent: submodules " + short_list(found->modules) +
                               " (their folders arrive empty)");
  return ok();
}

Snapshot::Snapshot(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
const CodeInfo& Snapshot::info() const { return impl_->info; }
const std::string& Snapshot::commit() const { return impl_->commit; }
const std::string& Snapshot::base_commit() const { return impl_->base_commit; }
const std::vector<std::string>& Snapshot::notices() const { return impl_->notices; }

std::vector<std::string> Snapshot::recent_trees(int count) const {
  std::lock_guard lock(impl_->mutex);
  std::vector<std::string> trees;
  auto add = [&](const Oid& tree) {
    auto text = base::hex(tree);
    if (static_cast<int>(trees.size()) < count &&
        std::find(trees.begin(), trees.end(), text) == trees.end())
      trees.push_back(std::move(text));
  };
  add(impl_->tree);
  StatCache cache(impl_->stat_cache, impl_->info.root);
  for (auto& [tree, blobs] : cache.sent()) add(tree);
  // History by date, as far as it is here.
  std::priority_queue<std::pair<std::int64_t, Oid>> queue;
  OidSet seen{impl_->base};
  queue.push({INT64_MAX, impl_->base});
  while (!queue.empty() && static_cast<int>(trees.size()) < count) {
    auto id = queue.top().second;
    queue.pop();
    auto commit = read_commit(impl_->odb.get(), id);
    if (!commit) continue;
    add(commit->tree);
    for (auto& parent : commit->parents) {
      if (!seen.insert(parent).second) continue;
      auto data = read_commit(impl_->odb.get(), parent);
      if (data)
        queue.push(
            {base::parse_int(data->when.substr(0, data->when.find(' '))).value_or(0), parent});
    }
  }
  return trees;
}

Result<std::int64_t> Snapshot::write_pack(
    int fd, const std::vector<std::string>& known_trees,
    const std::function<void(std::int64_t, std::int64_t)>& progress) const {
  std::lock_guard lock(impl_->mutex);
  git_odb* odb = impl_->odb.get();
  StatCache cache(impl_->stat_cache, impl_->info.root);
  std::vector<Oid> known;
  OidSet sent;
  for (auto& text : known_trees) {
    auto tree = parse_oid(text);
    if (!tree) return base::error("bad_argument", "'" + base::to_utf8(text) + "' is no tree id");
    git_oid name = to_git(*tree);
    if (git_odb_exists(odb, &name)) known.push_back(*tree);
    if (auto at = cache.sent().find(*tree); at != cache.sent().end())
      sent.insert(at->second.begin(), at->second.end());
  }
  auto needed = missing_objects(odb, impl_->tree, known);
  if (!needed) return as_unsupported(needed.error(), impl_->info.root);
  std::erase_if(*needed, [&](const Oid& id) { return sent.contains(id); });
  needed->insert(needed->begin(), impl_->id);
  auto size = git::write_pack(odb, *needed, fd, progress);
  if (!size) return as_unsupported(size.error(), impl_->info.root);
  if (impl_->id != impl_->base) {
    cache.put_sent(impl_->tree, impl_->objects.blobs());
    cache.save();
  }
  return size;
}

}  // namespace spell::git
