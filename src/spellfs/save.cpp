#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/text.hpp"
#include "spellfs/save_file.hpp"

namespace spell::spellfs {

namespace {

/// The names in a folder, sorted by their bytes.
struct Found {
  std::string name;
  unsigned char type = DT_UNKNOWN;
};
Result<std::vector<Found>> names_in(int fd) {
  int copy = ::fcntl(fd, F_DUPFD_CLOEXEC, 0);
  DIR* folder = copy < 0 ? nullptr : ::fdopendir(copy);
  if (!folder) {
    Error e = base::errno_error("read the folder");
    if (copy >= 0) ::close(copy);
    return e;
  }
  std::vector<Found> out;
  for (;;) {
    errno = 0;
    dirent* entry = ::readdir(folder);
    if (!entry) break;
    std::string_view name = entry->d_name;
    if (name != "." && name != "..") out.push_back({std::string(name), entry->d_type});
  }
  int number = errno;
  ::closedir(folder);
  if (number != 0) return base::errno_error("read the folder", number);
  std::sort(out.begin(), out.end(), [](const Found& a, const Found& b) { return a.name < b.name; });
  return out;
}

/// What the last save remembered, asked in the order of the walk.
class Remembered {
 public:
  /// Opens the cache if it is of this folder and the store still has all of it.
  void open(const SaveOptions& options, const struct stat& folder) {
    if (options.cache.empty() || !options.missing) return;
    auto file = base::open(options.cache, O_RDONLY);
    if (!file) return;
    auto reader = SaveCacheReader::open(std::move(*file));
    if (!reader || reader->head().device != folder.st_dev || reader->head().inode != folder.st_ino)
      return;
    auto missing = options.missing({&reader->head().root, 1});
    if (!missing || !missing->empty()) return;
    reader_ = std::move(*reader);
    advance();
  }
  /// Whether a cache like this would say nothing new.
  bool same(const SaveCacheHead& head) const {
    return reader_ && reader_->head().root == head.root && head.count == hits_ &&
           reader_->head().count == hits_;
  }
  void hit() { ++hits_; }

  const CachedFile* find(const std::string& path) {
    while (next_ && walked_before(path_, path)) advance();
    return next_ && path_ == path ? &*next_ : nullptr;
  }

 private:
  void advance() {
    auto next = reader_->next(path_);
    next_ = next ? *next : std::nullopt;
  }
  std::optional<SaveCacheReader> reader_;
  std::optional<CachedFile> next_;
  std::string path_;
  std::uint64_t hits_ = 0;
};

bool is_as(const KnownFile& known, const struct stat& st) {
  return known.size == st.st_size && known.mtime_ns == mtime_of(st) &&
         known.ctime_ns == ctime_of(st) && known.inode == st.st_ino &&
         (known.mode & 07777) == (st.st_mode & 07777);
}

class Walker {
 public:
  Walker(const SaveOptions& options, Pipeline& pipeline, SaveResult& result, Remembered& remembered,
         SaveProgress& progress)
      : options_(options),
        pipeline_(pipeline),
        result_(result),
        remembered_(remembered),
        progress_(progress) {}

  Result<> walk(const std::string& path) {
    struct stat st;
    if (::stat(path.c_str(), &st) != 0) return base::errno_error("read " + path);
    Entry& root = result_.root;
    root = entry_of(last_component(path), S_ISDIR(st.st_mode) ? EntryType::folder : EntryType::file,
                    st);
    SPELL_TRY(root.type == EntryType::folder ? walk_folder(path) : walk_file(path, st));
    if (options_.stop.stop_requested())
      return base::error("canceled", "stopped before all was saved");
    return ok();
  }

 private:
  static std::string last_component(std::string path) {
    while (path.size() > 1 && path.back() == '/') path.pop_back();
    auto slash = path.rfind('/');
    return slash == std::string::npos || path.size() == 1 ? path : path.substr(slash + 1);
  }

  Result<> walk_folder(const std::string& path) {
    auto opened = base::open(path, O_RDONLY | O_DIRECTORY);
    if (!opened) return opened.error();
    auto root = std::make_shared<base::Fd>(std::move(*opened));
    auto names = names_in(root->get());
    if (!names) return base::error(names.error().code(), path + ": " + names.error().message());
    pipeline_.push(Enter{});
    visit_all(root, *names, "", 1);
    pipeline_.push(Leave{});
    return ok();
  }

  /// A file that was named is followed if it is a link, and must be readable.
  Result<> walk_file(const std::string& path, const struct stat& st) {
    if (!S_ISREG(st.st_mode))
      return base::error("not_a_file", path + " is neither a file nor a folder");
    auto file = base::open(path, O_RDONLY | O_NONBLOCK);
    if (!file) return file.error();
    char* real = ::realpath(path.c_str(), nullptr);
    std::string resolved = real ? real : path;
    std::free(real);
    Blocks blocks(pipeline_.room());
    std::string why;
    bool done = false;
    save_file(AT_FDCWD, resolved, result_.root.name, blocks, progress_, [&](Event event) {
      if (auto* skipped = std::get_if<Skip>(&event)) why = skipped->what;
      done |= std::holds_alternative<Done>(event);
      return pipeline_.push(std::move(event));
    });
    if (done || why.empty()) return ok();
    return base::error("io_error", "cannot save " + why);
  }

  bool skip(const std::string& path, const std::string& why) {
    return pipeline_.push(spellfs::skip(path, why));
  }
  bool skip_errno(const std::string& path, const char* what) {
    // What is gone by now is no output.
    return errno == ENOENT || skip(path, base::errno_error(what).message());
  }

  using Folder = std::shared_ptr<base::Fd>;
  bool visit_all(const Folder& folder, const std::vector<Found>& names, const std::string& path,
                 int depth) {
    for (auto& found : names) {
      if (options_.stop.stop_requested()) return false;
      std::string below = path.empty() ? found.name : path + "/" + found.name;
      if (!visit(folder, found, below, depth)) return false;
    }
    return true;
  }

  bool visit(const Folder& folder, const Found& found, const std::string& path, int depth) {
    if (found.type == DT_DIR) return visit_folder(folder, found.name, path, depth);
    if (options_.ignore && found.type != DT_UNKNOWN && options_.ignore(path, false))
      return ++result_.left_out, true;
    struct stat st;
    if (::fstatat(folder->get(), found.name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0)
      return skip_errno(path, "read");
    if (S_ISDIR(st.st_mode)) return visit_folder(folder, found.name, path, depth);
    if (options_.ignore && found.type == DT_UNKNOWN && options_.ignore(path, false))
      return ++result_.left_out, true;
    if (S_ISREG(st.st_mode)) {
      if (unchanged(folder->get(), found.name, path, st)) return true;
      const CachedFile* cached = remembered_.find(path);
      if (cached && is_as(cached->state, st)) return push_cached(found.name, path, st, *cached);
      return read(folder, found.name, path, st);
    }
    if (S_ISLNK(st.st_mode))
      return unchanged(folder->get(), found.name, path, st) ||
             save_link(folder->get(), found.name, path, st);
    return skip(path, S_ISSOCK(st.st_mode)   ? "a socket"
                      : S_ISFIFO(st.st_mode) ? "a fifo"
                                             : "a device");
  }

  bool unchanged(int folder, const std::string& name, const std::string& path,
                 const struct stat& st) const {
    auto it = options_.known.find(path);
    if (it == options_.known.end()) return false;
    auto& known = it->second;
    return is_as(known, st) ||
           (options_.same && known.size == st.st_size &&
            (known.mode & 07777) == (st.st_mode & 07777) && options_.same(path, folder, name));
  }

  /// A file that the last save saw as it is now.
  bool push_cached(const std::string& name, const std::string& path, const struct stat& st,
                   const CachedFile& cached) {
    Done done{entry_of(name, EntryType::file, st), true, path, cached.state};
    done.entry.size = st.st_size;
    done.entry.node = cached.node;
    remembered_.hit();
    return progress_.add_file(), pipeline_.push(std::move(done));
  }

  bool visit_folder(const Folder& parent, const std::string& name, const std::string& path,
                    int depth) {
    auto& skipped = options_.skip_folders;
    auto folder = std::make_shared<base::Fd>(open_in(parent->get(), name, O_DIRECTORY));
    bool left_out = std::find(skipped.begin(), skipped.end(), name) != skipped.end() ||
                    (options_.ignore && options_.ignore(path, true));
    if (!*folder) return left_out ? true : skip_errno(path, "open");
    if (depth >= max_depth) return skip(path, "too many folders within each other");
    if (left_out) return result_.left_out += files_below(folder->get(), depth), true;
    auto names = names_in(folder->get());
    if (!names) return skip(path, names.error().message());
    if (!pipeline_.push(Enter{})) return false;
    if (!visit_all(folder, *names, path, depth + 1)) return false;
    struct stat st;
    if (::fstat(folder->get(), &st) != 0) st = {};
    Leave leave;
    leave.entry = entry_of(name, EntryType::folder, st);
    leave.keep_empty = names->empty() && !any_known_below(path);
    return pipeline_.push(std::move(leave));
  }

  bool any_known_below(const std::string& path) const {
    auto it = options_.known.lower_bound(path + "/");
    return it != options_.known.end() && it->first.starts_with(path + "/");
  }

  std::int64_t files_below(int folder, int depth) const {
    auto names = names_in(folder);
    std::int64_t count = 0;
    if (!names) return count;
    for (auto& found : *names) {
      base::Fd below;
      // Only a folder can be opened as one; where the type is not told, trying tells.
      if (depth < max_depth && (found.type == DT_DIR || found.type == DT_UNKNOWN))
        below = open_in(folder, found.name, O_DIRECTORY);
      if (below)
        count += files_below(below.get(), depth + 1);
      else if (found.type != DT_DIR)
        ++count;
    }
    return count;
  }

  bool save_link(int folder, const std::string& name, const std::string& path,
                 const struct stat& st) {
    char target[max_target + 2];
    ssize_t n = ::readlinkat(folder, name.c_str(), target, sizeof target);
    if (n < 0) return skip_errno(path, "read");
    if (n == 0 || n > static_cast<ssize_t>(max_target))
      return skip(path, "a link that is too long");
    Entry entry = entry_of(name, EntryType::link, st);
    entry.target.assign(target, static_cast<std::size_t>(n));
    return progress_.add_file(), pipeline_.push(Done{std::move(entry)});
  }

  bool read(const Folder& folder, const std::string& name, const std::string& path,
            const struct stat& st) {
    if (st.st_size <= crew_file) return pipeline_.push(Read{folder, name, path, st.st_size});
    Blocks blocks(pipeline_.room());
    return save_file(folder->get(), name, path, blocks, progress_,
                     [this](Event event) { return pipeline_.push(std::move(event)); });
  }

  const SaveOptions& options_;
  Pipeline& pipeline_;
  SaveResult& result_;
  Remembered& remembered_;
  SaveProgress& progress_;
};

/// If it cannot be written the next save reads everything again.
void remember(SaveCacheWriter& cache, const SaveCacheHead& head, const Remembered& before) {
  if (!before.same(head)) (void)cache.finish(head);
}

}  // namespace

Result<SaveResult> save(const std::string& path, const SaveOptions& options, PackWriter& pack) {
  SaveResult result;
  std::int64_t before = pack.bytes(), content_before = pack.content();
  struct stat folder {};
  bool is_folder = ::stat(path.c_str(), &folder) == 0 && S_ISDIR(folder.st_mode);
  Remembered remembered;
  SaveCacheWriter cache(options.cache);
  if (is_folder) remembered.open(options, folder);
  Builder builder(options, pack, options.cache.empty() || !is_folder ? nullptr : &cache);
  SaveProgress progress(options);
  Pipeline pipeline(builder, thread_count(options.threads), progress);
  SPELL_TRY(Walker(options, pipeline, result, remembered, progress).walk(path));
  SPELL_TRY(pipeline.finish());
  progress.end();
  if (builder.tree() && !options.cache.empty())
    remember(cache, {folder.st_dev, folder.st_ino, *builder.tree(), cache.count()}, remembered);
  if (result.root.type == EntryType::folder) {
    result.tree = builder.tree();
    builder.fill(result.root);
  } else {
    auto name = std::exchange(result.root.name, {});
    result.root = builder.single();
    result.root.name = std::move(name);
  }
  result.skipped = builder.skipped();
  result.files = builder.files();
  result.bytes = builder.bytes();
  result.fresh_bytes = pack.content() - content_before;
  result.new_bytes = pack.bytes() - before;
  return result;
}

Result<Entry> save_open_file(int fd, std::int64_t size, const SaveOptions& options,
                             PackWriter& pack) {
  struct stat st;
  if (::fstat(fd, &st) != 0) return base::errno_error("read the file");
  st.st_size = std::min<std::int64_t>(st.st_size, size);
  Builder builder(options, pack, nullptr);
  SaveProgress progress(options);
  Pipeline pipeline(builder, thread_count(options.threads), progress);
  Blocks blocks(pipeline.room());
  auto read = read_open_file(fd, st, blocks, progress, [&](Event event) {
    return !options.stop.stop_requested() && pipeline.push(std::move(event));
  });
  // The builder's error is the cause where there is one.
  SPELL_TRY(pipeline.finish());
  if (!read) return read.error();
  return builder.single();
}

}  // namespace spell::spellfs
