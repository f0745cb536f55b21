#include "git/scan.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <map>

#include "base/fd.hpp"
#include "base/file.hpp"
#include "base/text.hpp"

namespace spell::git {

namespace {

// Larger files are not kept in memory but read again when they are sent.
constexpr std::int64_t memory_limit = 4 << 20;

std::string listed(const std::vector<std::string>& paths) {
  std::vector<std::string> few(
      paths.begin(), paths.begin() + static_cast<long>(std::min<std::size_t>(3, paths.size())));
  return base::join(few, ", ") + (paths.size() > few.size() ? ", …" : "");
}

struct Folder {
  base::Fd fd{};
  std::vector<std::string> names{};  ///< sorted
};

Result<Folder> open_folder(int parent, const char* name, const std::string& shown) {
  int fd = ::openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return base::errno_error("read the folder " + shown);
  Folder folder;
  folder.fd = base::Fd(fd);
  std::unique_ptr<DIR, Freer<::closedir>> list(::fdopendir(::dup(fd)));
  if (!list) return base::errno_error("read the folder " + shown);
  while (dirent* entry = ::readdir(list.get())) {
    std::string_view child = entry->d_name;
    if (child != "." && child != "..") folder.names.emplace_back(child);
  }
  std::sort(folder.names.begin(), folder.names.end());
  return folder;
}

class Scanner {
 public:
  Scanner(git_repository* repository, StatCache& cache, NewObjects& objects, bool with_untracked,
          std::int64_t now_ns)
      : repository_(repository),
        cache_(cache),
        objects_(objects),
        with_untracked_(with_untracked),
        root_(git_repository_workdir(repository)),
        now_ns_(now_ns) {}

  Result<Scan> run() {
    if (make(index_, git_repository_index, repository_) != 0) return index_error();
    if (make(odb_, git_repository_odb, repository_) != 0)
      return library_error("io_error", "cannot open " + root_);
    read_settings();
    auto folder = open_folder(AT_FDCWD, root_.c_str(), root_);
    if (!folder) return folder.error();
    SPELL_TRY(walk(*folder, "", 0, git_index_entrycount(index_.get())));
    if (!changed_modules_.empty())
      return unsupported("submodules with changes of their own cannot be sent: " +
                         listed(changed_modules_) + " -- commit there and here first");
    if (!missing_lfs_.empty())
      return unsupported("git LFS files whose content is not here: " + listed(missing_lfs_) +
                         " -- run git lfs pull first");
    auto by_path = [](const Leaf& a, const Leaf& b) { return a.path < b.path; };
    std::sort(result_.tracked.begin(), result_.tracked.end(), by_path);
    std::sort(result_.untracked_files.begin(), result_.untracked_files.end(), by_path);
    std::sort(result_.untracked.begin(), result_.untracked.end());
    result_.content = result_.tracked;
    for (auto& leaf : result_.content)
      if (auto real = lfs_content_.find(leaf.path); real != lfs_content_.end())
        leaf.id = real->second;
    result_.lfs_files = static_cast<int>(lfs_content_.size());
    return std::move(result_);
  }

 private:
  Error unsupported(std::string message) const {
    return base::error("unsupported_repository", std::move(message));
  }

  Error index_error() const {
    Error e = library_error("unsupported_repository", "cannot read the index of " + root_);
    return {e.code(), e.message() +
                          " -- git update-index --no-split-index and git sparse-checkout disable "
                          "make it readable"};
  }

  void read_settings() {
    ConfigPtr config;
    if (make(config, git_repository_config_snapshot, repository_) == 0) {
      int on = 1;
      if (git_config_get_bool(&on, config.get(), "core.filemode") == 0) file_modes_ = on;
      if (git_config_get_bool(&on, config.get(), "core.symlinks") == 0) links_ = on;
    }
    struct stat st;
    if (const char* path = git_index_path(index_.get()); path && ::stat(path, &st) == 0)
      index_mtime_ns_ = file_state(st).mtime_ns;
    auto mentions_lfs = [](const std::string& file) {
      auto text = base::read_file(file);
      return text && text->find("filter=lfs") != std::string::npos;
    };
    uses_lfs_ =
        mentions_lfs(std::string(git_repository_commondir(repository_)) + "info/attributes");
    for (std::size_t i = 0; !uses_lfs_ && i < git_index_entrycount(index_.get()); ++i) {
      std::string_view path = git_index_get_byindex(index_.get(), i)->path;
      if (path == ".gitattributes" || path.ends_with("/.gitattributes"))
        uses_lfs_ = mentions_lfs(root_ + std::string(path));
    }
  }

  /// Walks one folder; index entries [from, to) are those below it.
  Result<> walk(const Folder& folder, const std::string& prefix, std::size_t from, std::size_t to) {
    struct Tracked {
      const git_index_entry* file = nullptr;
      bool conflict = false;
      std::size_t from = 0, to = 0;  ///< entries below a folder of this name
    };
    std::map<std::string, Tracked, std::less<>> tracked;
    for (std::size_t i = from; i < to; ++i) {
      const git_index_entry* entry = git_index_get_byindex(index_.get(), i);
      std::string_view rest = std::string_view(entry->path).substr(prefix.size());
      auto slash = rest.find('/');
      auto& at = tracked[std::string(rest.substr(0, slash))];
      if (slash == std::string_view::npos) {
        at.conflict = at.conflict || git_index_entry_stage(entry) != 0;
        at.file = entry;
        continue;
      }
      std::string below = prefix + std::string(rest.substr(0, slash + 1));
      at.from = i;
      while (i < to &&
             std::string_view(git_index_get_byindex(index_.get(), i)->path).starts_with(below))
        ++i;
      at.to = i--;
    }
    for (auto& name : folder.names) {
      std::string path = prefix + name;
      auto at = tracked.find(name);
      if (at == tracked.end()) {
        SPELL_TRY(visit_untracked(folder.fd.get(), name, path));
        continue;
      }
      struct stat st;
      if (::fstatat(folder.fd.get(), name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
        if (errno == ENOENT) continue;  // gone since the folder was listed: as good as deleted
        return base::errno_error("look at " + path);
      }
      Tracked seen = at->second;
      tracked.erase(at);
      if (S_ISDIR(st.st_mode) && seen.to > seen.from) {
        auto below = open_folder(folder.fd.get(), name.c_str(), path);
        if (!below) return below.error();
        SPELL_TRY(walk(*below, path + '/', seen.from, seen.to));
      } else if (S_ISDIR(st.st_mode) && seen.file && seen.file->mode == GIT_FILEMODE_COMMIT) {
        visit_module(*seen.file, path);
      } else if (!S_ISDIR(st.st_mode) && seen.file && !seen.conflict && hidden(*seen.file)) {
        result_.tracked.push_back({path, seen.file->mode, from_git(seen.file->id)});
      } else if ((S_ISREG(st.st_mode) || S_ISLNK(st.st_mode)) && seen.file) {
        SPELL_TRY(visit_tracked(folder.fd.get(), name, path, *seen.file, seen.conflict, st));
      } else {
        SPELL_TRY(visit_untracked(folder.fd.get(), name, path));
      }
    }
    // What is left is not in the folder: deleted, unless it was never checked out.
    for (auto& [name, gone] : tracked) {
      if (gone.file) keep_if_hidden(*gone.file);
      for (std::size_t i = gone.from; i < gone.to; ++i)
        keep_if_hidden(*git_index_get_byindex(index_.get(), i));
    }
    return ok();
  }

  /// Files that the user told Git not to look at (sparse checkout, assume-unchanged) are what the
  /// index says.
  static bool hidden(const git_index_entry& entry) {
    return (entry.flags & GIT_INDEX_ENTRY_VALID) ||
           (entry.flags_extended & GIT_INDEX_ENTRY_SKIP_WORKTREE);
  }
  void keep_if_hidden(const git_index_entry& entry) {
    bool module = entry.mode == GIT_FILEMODE_COMMIT;
    if (module) result_.modules.emplace_back(entry.path);
    if (module || hidden(entry))
      result_.tracked.push_back({entry.path, entry.mode, from_git(entry.id)});
  }

  bool index_is_fresh(const git_index_entry& entry, const FileState& state) const {
    constexpr std::int64_t second = 1'000'000'000;
    auto same_time = [&](const git_index_time& t, std::int64_t ns) {
      return t.seconds == static_cast<std::int32_t>(ns / second) &&
             t.nanoseconds == static_cast<std::uint32_t>(ns % second);
    };
    return git_index_entry_stage(&entry) == 0 &&
           !(entry.flags_extended & GIT_INDEX_ENTRY_INTENT_TO_ADD) &&
           entry.file_size == static_cast<std::uint32_t>(state.size) &&
           entry.ino == static_cast<std::uint32_t>(state.inode) &&
           same_time(entry.mtime, state.mtime_ns) && same_time(entry.ctime, state.ctime_ns) &&
           state.mtime_ns < index_mtime_ns_ &&
           (entry.mode == mode_link) == static_cast<bool>(S_ISLNK(state.mode));
  }

  Result<> visit_tracked(int folder, const std::string& name, const std::string& path,
                         const git_index_entry& entry, bool conflict, const struct stat& st) {
    FileState state = file_state(st);
    Leaf leaf{path, mode_link, from_git(entry.id)};
    if (S_ISREG(st.st_mode)) {
      leaf.mode = st.st_mode & S_IXUSR ? mode_program : mode_file;
      if (!file_modes_ && (entry.mode == mode_file || entry.mode == mode_program))
        leaf.mode = entry.mode;
      if (!links_ && entry.mode == mode_link) leaf.mode = mode_link;
    }
    auto pointer = conflict || !S_ISREG(st.st_mode) ? std::nullopt : lfs_pointer(entry);
    if (!pointer && !conflict && index_is_fresh(entry, state)) {
      result_.tracked.push_back(std::move(leaf));
      return ok();
    }
    Oid in_git = leaf.id;
    auto ids = identify(folder, name, path, state, conflict ? nullptr : &entry, pointer);
    if (!ids) return ids.error();
    if (pointer && ids->raw == in_git) missing_lfs_.push_back(path);
    bool unchanged = !conflict && (ids->raw == in_git || ids->clean == in_git);
    if (!unchanged) leaf.id = ids->raw;
    if (pointer && unchanged) lfs_content_[path] = ids->raw;
    if (!unchanged || pointer) SPELL_TRY(keep(folder, name, path, state, ids->raw));
    result_.tracked.push_back(std::move(leaf));
    return ok();
  }

  /// The blob ids of a file, from the cache or by reading it.
  Result<StatCache::Ids> identify(int folder, const std::string& name, const std::string& path,
                                  const FileState& state, const git_index_entry* entry,
                                  const std::optional<LfsPointer>& pointer) {
    auto known = cache_.find(path, state);
    StatCache::Ids ids;
    if (known) {
      ids = *known;
    } else {
      auto raw = hash(folder, name, path, state);
      if (!raw) return raw.error();
      ids = {*raw, *raw};
    }
    // Without a cached answer for this very blob of the index, ask whether the file is what Git
    // would write for it.
    if (entry && S_ISREG(state.mode) && ids.raw != from_git(entry->id) &&
        ids.clean != from_git(entry->id)) {
      auto clean = clean_id(path, *entry, pointer, state);
      if (!clean) return clean.error();
      ids.clean = clean->value_or(ids.clean);
    }
    if (known != ids && !S_ISLNK(state.mode)) cache_.put(path, state, ids, now_ns_);
    return ids;
  }

  Result<Oid> hash(int folder, const std::string& name, const std::string& path,
                   const FileState& state) {
    if (S_ISLNK(state.mode)) {
      auto target = read_link(folder, name, path);
      if (!target) return target.error();
      return hash_object(*target, GIT_OBJECT_BLOB);
    }
    auto file = open_file(folder, name, path);
    if (!file) return file.error();
    return hash_file(file->get(), state.size, path);
  }

  /// The blob that Git has for this file where that is another than its bytes. Nothing if it would
  /// be no other.
  Result<std::optional<Oid>> clean_id(const std::string& path, const git_index_entry& entry,
                                      const std::optional<LfsPointer>& pointer,
                                      const FileState& state) {
    std::optional<Oid> none;
    if (pointer) {
      if (pointer->size != state.size) return none;
      auto file = base::open(root_ + path, O_RDONLY | O_NOFOLLOW);
      if (!file) return file.error();
      base::Sha256 hash;
      std::string buffer(1 << 20, '\0');
      for (std::int64_t at = 0; at < state.size;) {
        auto got = base::pread_full(file->get(), buffer.data(), buffer.size(), at);
        if (!got) return got.error();
        if (*got == 0) return none;
        hash.update({buffer.data(), *got});
        at += static_cast<std::int64_t>(*got);
      }
      return base::hex(hash.finish()) == pointer->sha256 ? std::optional(from_git(entry.id)) : none;
    }
    FiltersPtr filters;
    if (make(filters, git_filter_list_load, repository_, nullptr, path.c_str(), GIT_FILTER_TO_ODB,
             GIT_FILTER_ALLOW_UNSAFE) != 0 ||
        !filters)
      return none;
    git_oid id;
    if (git_repository_hashfile(&id, repository_, path.c_str(), GIT_OBJECT_BLOB, nullptr) != 0)
      return none;
    return std::optional(from_git(id));
  }

  std::optional<LfsPointer> lfs_pointer(const git_index_entry& entry) {
    if (!uses_lfs_) return std::nullopt;
    std::size_t size = 0;
    git_object_t type;
    if (git_odb_read_header(&size, &type, odb_.get(), &entry.id) != 0 || size > lfs_pointer_limit)
      return std::nullopt;
    auto blob = read_object(odb_.get(), from_git(entry.id), GIT_OBJECT_BLOB);
    auto pointer = blob ? parse_lfs_pointer(blob->bytes) : std::nullopt;
    const char* filter = nullptr;
    if (pointer &&
        git_attr_get(&filter, repository_, GIT_ATTR_CHECK_FILE_THEN_INDEX, entry.path, "filter") ==
            0 &&
        filter && std::string_view(filter) == "lfs")
      return pointer;
    return std::nullopt;
  }

  /// Makes a file's bytes readable as the blob `id`.
  Result<> keep(int folder, const std::string& name, const std::string& path,
                const FileState& state, const Oid& id) {
    if (state.size > memory_limit && !S_ISLNK(state.mode)) {
      objects_.add_file(id, root_ + path, state.size);
      return ok();
    }
    std::string bytes;
    if (S_ISLNK(state.mode)) {
      auto target = read_link(folder, name, path);
      if (!target) return target.error();
      bytes = std::move(*target);
    } else {
      auto file = open_file(folder, name, path);
      if (!file) return file.error();
      bytes.resize(static_cast<std::size_t>(state.size));
      auto got = base::pread_full(file->get(), bytes.data(), bytes.size(), 0);
      if (!got) return got.error();
      bytes.resize(*got);
    }
    if (objects_.add(std::move(bytes), GIT_OBJECT_BLOB) != id)
      return base::error("file_changed", path + " was changed while it was read: try again");
    return ok();
  }

  static Result<base::Fd> open_file(int folder, const std::string& name, const std::string& path) {
    // Non-blocking, so that a file that became a pipe meanwhile cannot hold us.
    int fd = ::openat(folder, name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return base::errno_error("read " + path);
    return base::Fd(fd);
  }

  static Result<std::string> read_link(int folder, const std::string& name,
                                       const std::string& path) {
    std::string target(4096, '\0');
    ssize_t n = ::readlinkat(folder, name.c_str(), target.data(), target.size());
    if (n < 0) return base::errno_error("read the link " + path);
    target.resize(static_cast<std::size_t>(n));
    return target;
  }

  void visit_module(const git_index_entry& entry, const std::string& path) {
    result_.tracked.push_back({path, mode_module, from_git(entry.id)});
    result_.modules.push_back(path);
    if (base::exists(root_ + path + "/.git") && !module_is_clean(entry, root_ + path))
      changed_modules_.push_back(path);
  }

  bool module_is_clean(const git_index_entry& entry, const std::string& path) const {
    RepositoryPtr module;
    git_oid head;
    if (make(module, git_repository_open_ext, path.c_str(), GIT_REPOSITORY_OPEN_NO_SEARCH,
             nullptr) != 0 ||
        git_reference_name_to_id(&head, module.get(), "HEAD") != 0 ||
        from_git(head) != from_git(entry.id))
      return false;
    StatCache no_cache("", path);
    NewObjects objects;
    auto state = scan(module.get(), no_cache, objects, false, now_ns_);
    OdbPtr odb;
    if (!state || make(odb, git_repository_odb, module.get()) != 0) return false;
    auto commit = read_commit(odb.get(), from_git(head));
    return commit && commit->tree == build_tree(state->tracked, objects);
  }

  bool is_ignored(const std::string& path) const {
    int ignored = 0;
    return git_ignore_path_is_ignored(&ignored, repository_, path.c_str()) == 0 && ignored != 0;
  }

  Result<> visit_untracked(int folder, const std::string& name, const std::string& path) {
    struct stat st;
    if (name == ".git" || ::fstatat(folder, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0)
      return ok();
    if (S_ISDIR(st.st_mode)) {
      if (is_ignored(path + '/')) {
        if (path == name) result_.ignored.push_back(path + '/');
        return ok();
      }
      auto found = look_below(folder, name, path);
      if (!found) return found.error();
      if (*found) result_.untracked.push_back(path + '/');
      return ok();
    }
    if ((!S_ISREG(st.st_mode) && !S_ISLNK(st.st_mode)) || is_ignored(path)) return ok();
    result_.untracked.push_back(path);
    return with_untracked_ ? take_untracked(folder, name, path, st) : ok();
  }

  /// Whether there is any file in an untracked folder that is not ignored; with `with_untracked`
  /// all are taken.
  Result<bool> look_below(int parent, const std::string& name, const std::string& path) {
    auto folder = open_folder(parent, name.c_str(), path);
    if (!folder) return with_untracked_ ? Result<bool>(folder.error()) : Result<bool>(true);
    if (std::binary_search(folder->names.begin(), folder->names.end(), ".git")) {
      result_.nested.push_back(path + '/');
      return false;
    }
    bool found = false;
    for (auto& child : folder->names) {
      std::string child_path = path + '/' + child;
      struct stat st;
      if (::fstatat(folder->fd.get(), child.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) continue;
      if (S_ISDIR(st.st_mode)) {
        if (is_ignored(child_path + '/')) continue;
        auto below = look_below(folder->fd.get(), child, child_path);
        if (!below) return below.error();
        found = found || *below;
      } else if ((S_ISREG(st.st_mode) || S_ISLNK(st.st_mode)) && !is_ignored(child_path)) {
        found = true;
        if (with_untracked_) SPELL_TRY(take_untracked(folder->fd.get(), child, child_path, st));
      }
      if (found && !with_untracked_) return true;
    }
    return found;
  }

  Result<> take_untracked(int folder, const std::string& name, const std::string& path,
                          const struct stat& st) {
    FileState state = file_state(st);
    auto ids = identify(folder, name, path, state, nullptr, std::nullopt);
    if (!ids) return ids.error();
    SPELL_TRY(keep(folder, name, path, state, ids->raw));
    std::uint32_t mode = S_ISLNK(st.st_mode)    ? mode_link
                         : st.st_mode & S_IXUSR ? mode_program
                                                : mode_file;
    result_.untracked_files.push_back({path, mode, ids->raw});
    return ok();
  }

  git_repository* repository_;
  StatCache& cache_;
  NewObjects& objects_;
  bool with_untracked_;
  std::string root_;
  std::int64_t now_ns_, index_mtime_ns_ = 0;
  bool file_modes_ = true, links_ = true, uses_lfs_ = false;
  IndexPtr index_;
  OdbPtr odb_;
  Scan result_;
  std::vector<std::string> changed_modules_, missing_lfs_;
  std::map<std::string, Oid> lfs_content_;
};

}  // namespace

Result<Scan> scan(git_repository* repository, StatCache& cache, NewObjects& objects,
                  bool with_untracked, std::int64_t now_ns) {
  return Scanner(repository, cache, objects, with_untracked, now_ns).run();
}

}  // namespace spell::git
