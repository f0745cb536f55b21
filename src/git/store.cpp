#include "git/store.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <mutex>

#include "base/fd.hpp"
#include "base/file.hpp"
#include "base/text.hpp"
#include "git/incoming.hpp"
#include "git/libgit2.hpp"
#include "git/pack.hpp"
#include "git/tree.hpp"

namespace spell::git {

namespace {

constexpr std::int64_t small_pack = 4 << 20;
constexpr char writer_lock[] = "spell-writer.lock", joiner_lock[] = "spell-joiner.lock";
constexpr char incoming_prefix[] = "spell-incoming-", joining_prefix[] = "spell-joining-";

/// Held as long as the descriptor is open; the kernel releases it when a process dies.
Result<base::Fd> lock_file(const std::string& path, bool wait) {
  auto file = base::open(path, O_RDWR | O_CREAT);
  if (!file) return file.error();
  while (::flock(file->get(), LOCK_EX | (wait ? 0 : LOCK_NB)) != 0)
    if (errno != EINTR) return base::errno_error("lock " + path);
  return file;
}

std::vector<std::string> names_in(const std::string& folder) {
  std::vector<std::string> names;
  std::unique_ptr<DIR, Freer<::closedir>> list(::opendir(folder.c_str()));
  while (dirent* entry = list ? ::readdir(list.get()) : nullptr) names.emplace_back(entry->d_name);
  return names;
}

/// What a killed process left behind; a living one holds the lock.
void remove_left_over(const std::string& path, const char* lock_name, const std::string& prefix) {
  auto lock = lock_file(path + "/" + lock_name, false);
  if (!lock) return;
  for (auto& name : names_in(path))
    if (name.starts_with(prefix)) (void)base::remove_tree(path + "/" + name);
}

/// A folder for one operation, gone at its end.
struct WorkFolder {
  std::string path;
  explicit WorkFolder(std::string p) : path(std::move(p)) {}
  WorkFolder(const WorkFolder&) = delete;
  ~WorkFolder() { (void)base::remove_tree(path); }
};

}  // namespace

struct Store::Impl {
  std::string path;
  std::mutex mutex;  ///< guards odb, which serves one thread at a time
  OdbPtr odb;

  Result<> reopen() {
    auto opened = open_objects(path + "/objects");
    if (!opened) return opened.error();
    odb = std::move(*opened);
    return ok();
  }
  bool has(const Oid& id, git_object_t type) {
    git_oid name = to_git(id);
    std::size_t size = 0;
    git_object_t found = GIT_OBJECT_INVALID;
    return git_odb_exists(odb.get(), &name) &&
           git_odb_read_header(&size, &found, odb.get(), &name) == 0 && found == type;
  }
  /// Looks again with fresh eyes where another process may have joined the packs that were known.
  bool find(const Oid& id, git_object_t type) {
    if (has(id, type)) return true;
    git_oid name = to_git(id);
    return git_odb_exists(odb.get(), &name) && reopen() && has(id, type);
  }
  /// Moves an indexed pack from a work folder to where readers find it. Durable on return.
  Result<> publish(const IndexedPack& pack) {
    std::string to = path + "/objects/pack/pack-" + pack.name;
    if (::rename(pack.pack_file().c_str(), (to + ".pack").c_str()) != 0)
      return base::errno_error("keep a pack in " + path);
    Result<> result = ok();
    if (::rename(pack.index_file().c_str(), (to + ".idx").c_str()) != 0)
      result = base::errno_error("keep a pack in " + path);
    if (result) result = base::sync_folder(path + "/objects/pack");
    if (!result) {
      ::unlink((to + ".idx").c_str());
      ::unlink((to + ".pack").c_str());
    }
    return result;
  }
};

Result<Store> Store::open(const std::string& path) {
  start_library();
  if (!base::exists(path + "/objects/pack") || !base::exists(path + "/HEAD")) {
    RepositoryPtr repository;
    git_repository_init_options init = GIT_REPOSITORY_INIT_OPTIONS_INIT;
    init.flags = GIT_REPOSITORY_INIT_BARE | GIT_REPOSITORY_INIT_MKPATH;
    SPELL_TRY(base::make_folders(path));
    if (make(repository, git_repository_init_ext, path.c_str(), &init) != 0)
      return library_error("io_error", "cannot make the code store " + path);
    for (auto folder : {"/objects/pack", "/objects", "/refs", "", "/.."})
      SPELL_TRY(base::sync_folder(path + folder));
  }
  remove_left_over(path, writer_lock, incoming_prefix);
  remove_left_over(path, joiner_lock, joining_prefix);
  Store store;
  store.impl_ = std::make_shared<Impl>();
  store.impl_->path = path;
  SPELL_TRY(store.impl_->reopen());
  return store;
}

Result<bool> Store::has_commit(const std::string& commit) const {
  auto id = parse_oid(commit);
  if (!id) return false;
  std::lock_guard lock(impl_->mutex);
  return impl_->find(*id, GIT_OBJECT_COMMIT);
}

Result<std::vector<std::string>> Store::known_trees(const std::vector<std::string>& trees) const {
  std::vector<std::string> known;
  std::lock_guard lock(impl_->mutex);
  for (auto& tree : trees)
    if (auto id = parse_oid(tree); id && impl_->find(*id, GIT_OBJECT_TREE)) known.push_back(tree);
  return known;
}

Result<> Store::add_pack(int fd, std::int64_t size, const std::string& commit) {
  auto id = parse_oid(commit);
  if (!id) return base::error("bad_pack", "'" + base::to_utf8(commit) + "' is no commit id");
  auto lock = lock_file(impl_->path + "/" + writer_lock, true);
  if (!lock) return lock.error();
  auto here = has_commit(commit);
  if (!here || *here) return here ? ok() : Result<>(here.error());
  WorkFolder work(impl_->path + "/" + incoming_prefix + base::hex(base::random_bytes(6)));
  SPELL_TRY(base::make_folders(work.path));
  auto pack = index_pack(fd, size, work.path);
  if (!pack) return pack.error();
  SPELL_TRY(check_complete(*pack, impl_->path + "/objects", *id));
  return impl_->publish(*pack);
}

Result<std::int64_t> Store::pack_commit(const std::string& commit,
                                        const std::vector<std::string>& have, int fd) const {
  auto id = parse_oid(commit);
  auto odb = open_objects(impl_->path + "/objects");
  if (!odb) return odb.error();
  auto data = id ? read_commit(odb->get(), *id)
                 : Result<CommitData>(base::error("missing_object", "no commit id"));
  if (!data && data.error().code() == "missing_object")
    return base::error("commit_not_found",
                       "commit " + base::to_utf8(commit) + " is not in " + impl_->path);
  if (!data) return data.error();
  std::vector<Oid> known;
  for (auto& text : have)
    if (auto other = parse_oid(text))
      if (auto found = read_commit(odb->get(), *other)) known.push_back(found->tree);
  auto needed = missing_objects(odb->get(), data->tree, known);
  if (!needed) return needed.error();
  needed->insert(needed->begin(), *id);
  return write_pack(odb->get(), *needed, fd);
}

Result<> Store::protect(const std::string& run, const std::string& commit) {
  if (!base::valid_name(run))
    return base::error("bad_argument", "'" + base::to_utf8(run) + "' is no run id");
  auto here = has_commit(commit);
  if (!here) return here.error();
  if (!*here)
    return base::error("commit_not_found",
                       "commit " + base::to_utf8(commit) + " is not in " + impl_->path);
  std::string folder = impl_->path + "/refs/spell";
  SPELL_TRY(base::make_folders(folder));
  return base::write_file(folder + "/" + run, commit + "\n", 0600, false);
}

Result<> Store::unprotect(const std::string& run) {
  if (!base::valid_name(run))
    return base::error("bad_argument", "'" + base::to_utf8(run) + "' is no run id");
  std::string path = impl_->path + "/refs/spell/" + run;
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return base::errno_error("remove " + path);
  return ok();
}

std::vector<std::string> Store::protectors(std::size_t limit) const {
  std::string folder = impl_->path + "/refs/spell";
  std::vector<std::pair<std::int64_t, std::string>> found;
  for (auto& name : names_in(folder)) {
    struct stat st;
    if (base::valid_name(name) && ::stat((folder + "/" + name).c_str(), &st) == 0)
      found.emplace_back(-(st.st_mtim.tv_sec * std::int64_t{1'000'000'000} + st.st_mtim.tv_nsec),
                         name);
  }
  std::sort(found.begin(), found.end());
  std::vector<std::string> names;
  for (auto& [age, name] : found)
    if (names.size() < limit) names.push_back(name);
  return names;
}

std::int64_t Store::size() const {
  namespace fs = std::filesystem;
  std::int64_t total = 0;
  std::error_code error;
  fs::recursive_directory_iterator at(impl_->path, fs::directory_options::skip_permission_denied,
                                      error),
      end;
  for (; !error && at != end; at.increment(error)) {
    struct stat st;
    if (::lstat(at->path().c_str(), &st) == 0 && S_ISREG(st.st_mode)) total += st.st_size;
  }
  return total;
}

Result<> Store::repack(int limit) {
  auto lock = lock_file(impl_->path + "/" + joiner_lock, true);
  if (!lock) return lock.error();
  std::string folder = impl_->path + "/objects/pack/";
  std::vector<std::string> small;
  int packs = 0;
  for (auto& name : names_in(folder)) {
    struct stat st;
    if (!name.ends_with(".idx")) continue;
    std::string base_name = folder + name.substr(0, name.size() - 4);
    if (::stat((base_name + ".pack").c_str(), &st) != 0) continue;
    ++packs;
    if (st.st_size <= small_pack) small.push_back(base_name);
  }
  if (packs <= limit || small.size() < 2) return ok();
  OidSet ids;
  for (auto& pack : small) SPELL_TRY(list_pack(pack + ".idx", ids));
  WorkFolder work(impl_->path + "/" + joining_prefix + base::hex(base::random_bytes(6)));
  SPELL_TRY(base::make_folders(work.path));
  auto joined = base::open(work.path + "/joined", O_RDWR | O_CREAT | O_EXCL);
  if (!joined) return joined.error();
  auto odb = open_objects(impl_->path + "/objects");
  if (!odb) return odb.error();
  auto size = write_pack(odb->get(), {ids.begin(), ids.end()}, joined->get());
  if (!size) return size.error();
  auto pack = index_pack(joined->get(), *size, work.path);
  if (!pack) return pack.error();
  // Readers find every object at any moment: the joined pack is there before the others go.
  SPELL_TRY(impl_->publish(*pack));
  for (auto& old : small) {
    if (old.ends_with("/pack-" + pack->name)) continue;
    ::unlink((old + ".idx").c_str());
    ::unlink((old + ".pack").c_str());
  }
  std::lock_guard guard(impl_->mutex);
  return impl_->reopen();
}

}  // namespace spell::git
