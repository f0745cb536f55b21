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
#include "git/pack.hpp"
#include "git/store_files.hpp"
#include "git/tree.hpp"

namespace spell::git {

namespace {

constexpr std::int64_t small_pack = 4 << 20;

/// What a killed process left behind; a living one holds the lock.
void remove_left_over(const std::string& path, const char* lock_name, const std::string& prefix) {
  auto lock = lock_file(path + "/" + lock_name, LOCK_EX | LOCK_NB);
  if (!lock) return;
  for (auto& name : names_in(path))
    if (name.starts_with(prefix)) (void)base::remove_tree(path + "/" + name);
}

Result<> make_store(const std::string& path) {
  SPELL_TRY(base::make_folders(path));
  // The library does not wait for another that makes the same.
  auto lock = lock_file(path + "/" + writer_lock, LOCK_EX);
  if (!lock) return lock.error();
  if (Store::exists(path)) return ok();
  // Nor does it take away what one left that was killed.
  for (auto left : {"/HEAD.lock", "/config.lock"}) ::unlink((path + left).c_str());
  RepositoryPtr repository;
  git_repository_init_options init = GIT_REPOSITORY_INIT_OPTIONS_INIT;
  init.flags = GIT_REPOSITORY_INIT_BARE | GIT_REPOSITORY_INIT_MKPATH;
  if (make(repository, git_repository_init_ext, path.c_str(), &init) != 0)
    return library_error("io_error", "cannot make the code store " + path);
  for (auto folder : {"/objects/pack", "/objects", "/refs", "", "/.."})
    SPELL_TRY(base::sync_folder(path + folder));
  return ok();
}

Error no_run_id(const std::string& name) {
  return base::error("bad_argument", "'" + base::to_utf8(name) + "' is no run id");
}

}  // namespace

Result<base::Fd> lock_file(const std::string& path, int how) {
  auto file = base::open(path, O_RDWR | O_CREAT);
  if (!file) return file.error();
  while (::flock(file->get(), how) != 0)
    if (errno != EINTR) return base::errno_error("lock " + path);
  return file;
}

std::vector<std::string> names_in(const std::string& folder) {
  std::vector<std::string> names;
  std::unique_ptr<DIR, Freer<::closedir>> list(::opendir(folder.c_str()));
  while (dirent* entry = list ? ::readdir(list.get()) : nullptr) names.emplace_back(entry->d_name);
  return names;
}

Result<WorkFolder> WorkFolder::make(const std::string& store, const std::string& prefix) {
  WorkFolder made(store + "/" + prefix + base::hex(base::random_bytes(6)));
  SPELL_TRY(base::make_folders(made.path));
  return made;
}

WorkFolder::~WorkFolder() {
  if (!path.empty()) (void)base::remove_tree(path);
}

Result<bool> Store::Impl::find(const Oid& id, git_object_t type) {
  git_oid name = to_git(id);
  for (bool again : {false, true}) {
    if (again || !odb) {
      auto opened = open_objects(path + "/objects");
      if (!opened) return opened.error();
      odb = std::move(*opened);
    }
    if (!git_odb_exists(odb.get(), &name)) return false;
    std::size_t size = 0;
    git_object_t found = GIT_OBJECT_INVALID;
    if (git_odb_read_header(&size, &found, odb.get(), &name) == 0 && found == type) return true;
  }
  return false;
}

Result<> Store::Impl::publish(const IndexedPack& pack) {
  std::string to = pack_folder() + "/pack-" + pack.name;
  if (::rename(pack.pack_file().c_str(), (to + ".pack").c_str()) != 0)
    return base::errno_error("keep a pack in " + path);
  Result<> result = ok();
  if (::rename(pack.index_file().c_str(), (to + ".idx").c_str()) != 0)
    result = base::errno_error("keep a pack in " + path);
  if (result) result = base::sync_folder(pack_folder());
  if (!result) {
    ::unlink((to + ".idx").c_str());
    ::unlink((to + ".pack").c_str());
  }
  return result;
}

std::vector<std::string> Store::Impl::packs() const {
  std::vector<std::string> found;
  for (auto& name : names_in(pack_folder()))
    if (name.starts_with("pack-") && name.ends_with(".idx"))
      found.push_back(name.substr(0, name.size() - 4));
  std::sort(found.begin(), found.end());
  return found;
}

Result<std::int64_t> Store::Impl::remove_packs(const std::vector<std::string>& names) {
  std::int64_t bytes = 0;
  for (auto& name : names)
    for (auto ending : {".idx", ".pack"}) {
      std::string file = pack_folder() + "/" + name + ending;
      struct stat st;
      if (::stat(file.c_str(), &st) != 0) continue;
      if (::unlink(file.c_str()) != 0) return base::errno_error("remove " + file);
      bytes += st.st_size;
    }
  SPELL_TRY(base::sync_folder(pack_folder()));
  return bytes;
}

Result<> Store::Impl::remove_condemned() {
  std::string list = path + "/" + condemned_file;
  if (!base::exists(list)) return ok();
  auto lock = lock_file(path + "/" + writer_lock, LOCK_EX);
  if (!lock) return lock.error();
  auto text = base::read_file(list);
  // Whoever held the lock has ended it.
  if (!text) return text.error().code() == "not_found" ? ok() : Result<>(text.error());
  std::vector<std::string> names;
  for (auto& name : base::split(*text, '\n'))
    if (name.starts_with("pack-") && base::valid_name(name)) names.emplace_back(name);
  if (auto removed = remove_packs(names); !removed) return removed.error();
  return end_removal();
}

Result<> Store::Impl::end_removal() {
  std::string list = path + "/" + condemned_file;
  if (::unlink(list.c_str()) != 0) return base::errno_error("remove " + list);
  // Durably: a list that came back would take away a pack of that name that has come again since.
  return base::sync_folder(path);
}

Result<std::vector<IndexedPack>> Store::Impl::write_packs(git_odb* from,
                                                          const std::vector<Oid>& ids,
                                                          const std::string& work) {
  std::vector<Oid> trees, files;
  for (auto& id : ids) {
    git_oid name = to_git(id);
    std::size_t size = 0;
    git_object_t type = GIT_OBJECT_INVALID;
    if (git_odb_read_header(&size, &type, from, &name) != 0)
      return library_error("bad_object", "cannot read object " + base::hex(id));
    (type == GIT_OBJECT_BLOB ? files : trees).push_back(id);
  }
  std::vector<IndexedPack> packs;
  for (auto* list : {&trees, &files}) {
    if (list->empty()) continue;
    auto joined = base::open(work + "/joined", O_RDWR | O_CREAT | O_EXCL);
    if (!joined) return joined.error();
    ::unlink((work + "/joined").c_str());
    auto size = write_pack(from, *list, joined->get());
    if (!size) return size.error();
    auto pack = index_pack(joined->get(), *size, work);
    if (!pack) return pack.error();
    packs.push_back(std::move(*pack));
  }
  return packs;
}

bool Store::exists(const std::string& path) {
  return base::exists(path + "/objects/pack") && base::exists(path + "/HEAD");
}

Result<Store> Store::open(const std::string& path) {
  start_library();
  if (!exists(path)) SPELL_TRY(make_store(path));
  remove_left_over(path, writer_lock, incoming_prefix);
  remove_left_over(path, joiner_lock, joining_prefix);
  Store store;
  store.impl_ = std::make_shared<Impl>();
  store.impl_->path = path;
  SPELL_TRY(store.impl_->remove_condemned());
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
  for (auto& tree : trees) {
    auto id = parse_oid(tree);
    auto found = id ? impl_->find(*id, GIT_OBJECT_TREE) : Result<bool>(false);
    if (!found) return found.error();
    if (*found) known.push_back(tree);
  }
  return known;
}

Result<> Store::add_pack(int fd, std::int64_t size, const std::string& commit) {
  auto id = parse_oid(commit);
  if (!id) return base::error("bad_pack", "'" + base::to_utf8(commit) + "' is no commit id");
  auto lock = lock_file(impl_->path + "/" + writer_lock, LOCK_EX);
  if (!lock) return lock.error();
  impl_->forget();
  auto here = has_commit(commit);
  if (!here) return here.error();
  if (*here) return protect(commit, commit);
  auto work = WorkFolder::make(impl_->path, incoming_prefix);
  if (!work) return work.error();
  auto pack = index_pack(fd, size, work->path);
  if (!pack) return pack.error();
  SPELL_TRY(check_complete(*pack, impl_->path + "/objects", *id));
  SPELL_TRY(impl_->publish(*pack));
  auto kept = protect(commit, commit);
  if (!kept) (void)impl_->remove_packs({"pack-" + pack->name});
  return kept;
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

Result<> Store::protect(const std::string& name, const std::string& commit) {
  if (!base::valid_name(name)) return no_run_id(name);
  auto here = has_commit(commit);
  if (!here) return here.error();
  if (!*here)
    return base::error("commit_not_found",
                       "commit " + base::to_utf8(commit) + " is not in " + impl_->path);
  SPELL_TRY(base::make_folders(impl_->path + "/refs/spell"));
  return base::write_file(impl_->ref(name), commit + "\n", 0600, false);
}

Result<> Store::unprotect(const std::string& name) {
  if (!base::valid_name(name)) return no_run_id(name);
  std::string path = impl_->ref(name);
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return base::errno_error("remove " + path);
  return ok();
}

Result<std::shared_ptr<void>> Store::hold(const std::string& commit) {
  // No collection is between asking and taking away.
  auto lock = lock_file(impl_->path + "/" + keeper_lock, LOCK_SH);
  if (!lock) return lock.error();
  impl_->forget();
  std::string name = hold_prefix + base::hex(base::random_bytes(12));
  SPELL_TRY(protect(name, commit));
  (void)unprotect(commit);
  struct Hold {
    Store store;
    std::string name;
    Hold(Store s, std::string n) : store(std::move(s)), name(std::move(n)) {}
    Hold(const Hold&) = delete;
    ~Hold() { (void)store.unprotect(name); }
  };
  return std::make_shared<Hold>(*this, name);
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
  auto lock = lock_file(impl_->path + "/" + joiner_lock, LOCK_EX);
  if (!lock) return lock.error();
  std::vector<std::string> small, all = impl_->packs();
  OidSet ids;
  for (auto& name : all) {
    struct stat st;
    std::string file = impl_->pack_folder() + "/" + name;
    if (::stat((file + ".pack").c_str(), &st) == 0 && st.st_size <= small_pack)
      small.push_back(name);
  }
  // What is joined comes as two.
  if (static_cast<int>(all.size()) <= limit || small.size() < 3) return ok();
  for (auto& name : small) SPELL_TRY(list_pack(impl_->pack_folder() + "/" + name + ".idx", ids));
  auto work = WorkFolder::make(impl_->path, joining_prefix);
  if (!work) return work.error();
  auto odb = open_objects(impl_->path + "/objects");
  if (!odb) return odb.error();
  auto joined = impl_->write_packs(odb->get(), {ids.begin(), ids.end()}, work->path);
  if (!joined) return joined.error();
  // Readers find every object at any moment: the joined packs are there before the others go.
  for (auto& pack : *joined) {
    SPELL_TRY(impl_->publish(pack));
    std::erase(small, "pack-" + pack.name);
  }
  auto removed = impl_->remove_packs(small);
  impl_->forget();
  return removed ? ok() : Result<>(removed.error());
}

}  // namespace spell::git
