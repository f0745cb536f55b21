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
#include "base/file.hpp"
#include "base/text.hpp"
#include "spellfs/chunker.hpp"
#include "spellfs/save_pipeline.hpp"

namespace spell::spellfs {

namespace {

std::int64_t ns(const timespec& t) {
  return static_cast<std::int64_t>(t.tv_sec) * 1'000'000'000 + t.tv_nsec;
}
#ifdef __APPLE__
std::int64_t mtime_of(const struct stat& st) { return ns(st.st_mtimespec); }
std::int64_t ctime_of(const struct stat& st) { return ns(st.st_ctimespec); }
#else
std::int64_t mtime_of(const struct stat& st) { return ns(st.st_mtim); }
std::int64_t ctime_of(const struct stat& st) { return ns(st.st_ctim); }
#endif

bool same_state(const struct stat& a, const struct stat& b) {
  return a.st_size == b.st_size && mtime_of(a) == mtime_of(b) && ctime_of(a) == ctime_of(b) &&
         a.st_ino == b.st_ino;
}

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

base::Fd open_in(int folder, const std::string& name, int flags) {
  int fd;
  // O_NONBLOCK: a fifo that took a file's place must not hold us up.
  do fd = ::openat(folder, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | flags);
  while (fd < 0 && errno == EINTR);
  return base::Fd(fd);
}

struct Segment {
  std::int64_t from = 0, to = 0;
  bool hole = false;
};

/// Data and holes of a file. Holes that are shorter than a usual chunk are read as data.
std::vector<Segment> segments_of(int fd, const struct stat& st) {
  constexpr auto min_hole = static_cast<std::int64_t>(Chunking::normal);
  std::vector<Segment> out;
  std::int64_t size = st.st_size, from = 0, at = 0;
  bool sparse = static_cast<std::int64_t>(st.st_blocks) * 512 + min_hole <= size;
  while (sparse && at < size) {
    std::int64_t data = ::lseek(fd, at, SEEK_DATA);
    if (data < 0 && errno == ENXIO) data = size;
    if (data < 0) break;
    if (data - at >= min_hole) {
      if (from < at) out.push_back({from, at});
      out.push_back({at, data, true});
      from = data;
    }
    if (data >= size) break;
    at = ::lseek(fd, data, SEEK_HOLE);
    if (at < 0) break;
  }
  if (from < size) out.push_back({from, size});
  return out;
}

/// Room to read into. Small files share a block, and blocks come back: fresh memory costs as much
/// as reading into it.
class Blocks {
 public:
  static constexpr std::size_t block_size = 2 << 20;
  /// Room for so many bytes, on its own or in the block that is open.
  std::shared_ptr<char[]> take(std::size_t size) {
    if (size > block_size) return std::shared_ptr<char[]>(new char[size]);
    if (!open_ || used_ + size > block_size) {
      open_ = fresh();
      used_ = 0;
    }
    char* at = open_.get() + used_;
    used_ += size;
    return {open_, at};
  }

 private:
  struct Spare {
    std::mutex mutex;
    std::vector<std::unique_ptr<char[]>> blocks;
  };
  std::shared_ptr<char[]> fresh() {
    std::unique_ptr<char[]> block;
    {
      std::lock_guard lock(spare_->mutex);
      if (!spare_->blocks.empty()) {
        block = std::move(spare_->blocks.back());
        spare_->blocks.pop_back();
      }
    }
    if (!block) block.reset(new char[block_size]);
    return {block.release(), [spare = spare_](char* bytes) {
              std::lock_guard lock(spare->mutex);
              spare->blocks.emplace_back(bytes);
            }};
  }
  std::shared_ptr<Spare> spare_ = std::make_shared<Spare>();
  std::shared_ptr<char[]> open_;
  std::size_t used_ = 0;
};

/// What the last save remembered, asked in the order of the walk.
class Remembered {
 public:
  /// Opens the cache if it is of this folder and the store still has all of it.
  void open(const SaveOptions& options, const struct stat& folder) {
    if (options.cache.empty() || !options.missing) return;
    auto bytes = base::read_file(options.cache, SaveCacheWriter::limit + (1 << 20));
    if (!bytes) return;
    auto reader = SaveCacheReader::open(std::move(*bytes));
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

KnownFile state_of(const struct stat& st) {
  return {st.st_size, mtime_of(st), ctime_of(st), st.st_ino,
          static_cast<std::uint32_t>(st.st_mode & 07777)};
}

bool is_as(const KnownFile& known, const struct stat& st) {
  return known.size == st.st_size && known.mtime_ns == mtime_of(st) &&
         known.ctime_ns == ctime_of(st) && known.inode == st.st_ino &&
         (known.mode & 07777) == (st.st_mode & 07777);
}

/// Whether a later change is sure to show in the file's ctime: it must be older than the kernel's
/// tick, or than two seconds where times are that coarse.
bool settled(const struct stat& st) {
  constexpr std::int64_t tick = 20'000'000, coarse = 2'000'000'000;
  std::int64_t ctime = ctime_of(st);
  return base::unix_us() * 1000 - ctime > (ctime % 1'000'000'000 == 0 ? coarse : tick);
}

class Walker {
 public:
  Walker(const SaveOptions& options, Pipeline& pipeline, SaveResult& result, Remembered& remembered)
      : options_(options), pipeline_(pipeline), result_(result), remembered_(remembered) {}

  Result<> walk(const std::string& path) {
    struct stat st;
    if (::stat(path.c_str(), &st) != 0) return base::errno_error("read " + path);
    Entry& root = result_.root;
    root = entry_of(last_component(path), S_ISDIR(st.st_mode) ? EntryType::folder : EntryType::file,
                    st);
    SPELL_TRY(root.type == EntryType::folder ? walk_folder(path) : walk_file(path, st));
    if (options_.stop.stop_requested())
      return base::error("canceled", "stopped before all was saved");
    if (options_.progress) options_.progress(files_, bytes_);
    return ok();
  }

 private:
  static std::string last_component(std::string path) {
    while (path.size() > 1 && path.back() == '/') path.pop_back();
    auto slash = path.rfind('/');
    return slash == std::string::npos || path.size() == 1 ? path : path.substr(slash + 1);
  }

  Result<> walk_folder(const std::string& path) {
    auto root = base::open(path, O_RDONLY | O_DIRECTORY);
    if (!root) return root.error();
    auto names = names_in(root->get());
    if (!names) return base::error(names.error().code(), path + ": " + names.error().message());
    pipeline_.push(Enter{});
    visit_all(root->get(), *names, "", 1);
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
    if (!save_file(AT_FDCWD, resolved, result_.root.name) || result_.skipped.empty()) return ok();
    if (files_ > 0) return ok();  // it was saved as it was read
    return base::error("io_error", "cannot save " + result_.skipped[0]);
  }

  void skip(const std::string& path, const std::string& why) {
    result_.skipped.push_back(base::to_utf8(path) + ": " + why);
  }
  void skip_errno(const std::string& path, const char* what) {
    // What is gone by now is no output.
    if (errno != ENOENT) skip(path, base::errno_error(what).message());
  }

  bool visit_all(int folder, const std::vector<Found>& names, const std::string& path, int depth) {
    for (auto& found : names) {
      if (options_.stop.stop_requested()) return false;
      std::string below = path.empty() ? found.name : path + "/" + found.name;
      if (!visit(folder, found, below, depth)) return false;
    }
    return true;
  }

  bool visit(int folder, const Found& found, const std::string& path, int depth) {
    if (found.type == DT_DIR) return visit_folder(folder, found.name, path, depth);
    if (options_.ignore && found.type != DT_UNKNOWN && options_.ignore(path, false))
      return ++result_.left_out, true;
    struct stat st;
    if (::fstatat(folder, found.name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0)
      return skip_errno(path, "read"), true;
    if (S_ISDIR(st.st_mode)) return visit_folder(folder, found.name, path, depth);
    if (options_.ignore && found.type == DT_UNKNOWN && options_.ignore(path, false))
      return ++result_.left_out, true;
    if (S_ISREG(st.st_mode)) {
      if (unchanged(path, st)) return true;
      const CachedFile* cached = remembered_.find(path);
      if (cached && is_as(cached->state, st)) return push_cached(found.name, path, st, *cached);
      return save_file(folder, found.name, path);
    }
    if (S_ISLNK(st.st_mode)) return unchanged(path, st) || save_link(folder, found.name, path, st);
    skip(path, S_ISSOCK(st.st_mode) ? "a socket" : S_ISFIFO(st.st_mode) ? "a fifo" : "a device");
    return true;
  }

  bool unchanged(const std::string& path, const struct stat& st) const {
    auto it = options_.known.find(path);
    if (it == options_.known.end()) return false;
    return is_as(it->second, st);
  }

  /// A file that the last save saw as it is now.
  bool push_cached(const std::string& name, const std::string& path, const struct stat& st,
                   const CachedFile& cached) {
    Done done{entry_of(name, EntryType::file, st), true, path, cached.state};
    done.entry.size = st.st_size;
    done.entry.node = cached.node;
    remembered_.hit();
    return count_file() && pipeline_.push(std::move(done));
  }

  bool visit_folder(int parent, const std::string& name, const std::string& path, int depth) {
    auto& skipped = options_.skip_folders;
    base::Fd folder = open_in(parent, name, O_DIRECTORY);
    bool left_out = std::find(skipped.begin(), skipped.end(), name) != skipped.end() ||
                    (options_.ignore && options_.ignore(path, true));
    if (!folder) return left_out ? true : (skip_errno(path, "open"), true);
    if (depth >= max_depth) return skip(path, "too many folders within each other"), true;
    if (left_out) return result_.left_out += files_below(folder.get(), depth), true;
    auto names = names_in(folder.get());
    if (!names) return skip(path, names.error().message()), true;
    if (!pipeline_.push(Enter{})) return false;
    if (!visit_all(folder.get(), *names, path, depth + 1)) return false;
    struct stat st;
    if (::fstat(folder.get(), &st) != 0) st = {};
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

  static Entry entry_of(const std::string& name, EntryType type, const struct stat& st) {
    Entry entry;
    entry.name = name;
    entry.type = type;
    entry.mode = st.st_mode & 07777;
    entry.mtime_ns = mtime_of(st);
    return entry;
  }

  bool save_link(int folder, const std::string& name, const std::string& path,
                 const struct stat& st) {
    char target[max_target + 2];
    ssize_t n = ::readlinkat(folder, name.c_str(), target, sizeof target);
    if (n < 0) return skip_errno(path, "read"), true;
    if (n == 0 || n > static_cast<ssize_t>(max_target))
      return skip(path, "a link that is too long"), true;
    Entry entry = entry_of(name, EntryType::link, st);
    entry.target.assign(target, static_cast<std::size_t>(n));
    return count_file() && pipeline_.push(Done{std::move(entry)});
  }

  bool save_file(int folder, const std::string& name, const std::string& path) {
    constexpr int attempts = 3;
    for (int attempt = 1;; ++attempt) {
      base::Fd file = open_in(folder, name, 0);
      struct stat before, after;
      if (!file || ::fstat(file.get(), &before) != 0) return skip_errno(path, "open"), true;
      if (!S_ISREG(before.st_mode)) return skip(path, "no longer a file"), true;
      auto size = read_file(file.get(), before);
      if (!size) return skip(path, size.error().message()), pipeline_.push(Again{});
      bool stable =
          *size == before.st_size && ::fstat(file.get(), &after) == 0 && same_state(before, after);
      if (!stable && attempt < attempts) {
        if (!pipeline_.push(Again{})) return false;
        continue;
      }
      if (!stable) skip(path, "changed while it was read");
      Done done{entry_of(name, EntryType::file, before)};
      if (stable && settled(before)) {
        done.path = path;
        done.state = state_of(before);
      }
      return count_file() && pipeline_.push(std::move(done));
    }
  }

  /// Pushes the pieces of a file up to the size that it had at first. Returns what was there.
  Result<std::int64_t> read_file(int fd, const struct stat& st) {
    if (st.st_size > max_size) return base::error("too_large", "larger than a file can be here");
    std::int64_t size = 0;
    for (auto& segment : segments_of(fd, st)) {
      std::int64_t length = segment.to - segment.from;
      if (segment.hole) {
        if (!pipeline_.push(Hole{length})) break;
        size += length;
        continue;
      }
      auto n = read_data(fd, segment);
      if (!n) return n.error();
      size += *n;
      if (*n < length) break;
    }
    return size;
  }

  Result<std::int64_t> read_data(int fd, const Segment& segment) {
    constexpr std::int64_t most = Blocks::block_size - Chunking::max;
    std::int64_t at = segment.from;
    std::shared_ptr<char[]> last;
    std::string_view rest;
    for (bool end = false; !end;) {
      auto want = static_cast<std::size_t>(std::min(most, segment.to - at));
      std::shared_ptr<char[]> block = blocks_.take(rest.size() + want);
      // The begun chunk moves to the front of the next block.
      std::copy(rest.begin(), rest.end(), block.get());
      auto n = base::pread_full(fd, block.get() + rest.size(), want, at);
      if (!n) return n.error();
      at += static_cast<std::int64_t>(*n);
      count_bytes(static_cast<std::int64_t>(*n));
      end = *n < want || at == segment.to;
      rest = {block.get(), rest.size() + *n};
      while (!rest.empty()) {
        std::size_t length = first_chunk(rest);
        // A cut at the end of what is there may be none: more has to be seen.
        if (length == rest.size() && length < Chunking::max && !end) break;
        if (!pipeline_.push(Data{block, rest.substr(0, length)})) return at - segment.from;
        rest.remove_prefix(length);
      }
      last = std::move(block);
    }
    return at - segment.from;
  }

  void count_bytes(std::int64_t n) {
    bytes_ += n;
    report(n);
  }
  bool count_file() {
    ++files_;
    report(8 << 10);
    return true;
  }
  /// Tells progress about once a megabyte, or 128 small files.
  void report(std::int64_t weight) {
    unreported_ += weight;
    if (!options_.progress || unreported_ < 1 << 20) return;
    unreported_ = 0;
    options_.progress(files_, bytes_);
  }

  const SaveOptions& options_;
  Pipeline& pipeline_;
  SaveResult& result_;
  Remembered& remembered_;
  Blocks blocks_;
  std::int64_t files_ = 0, bytes_ = 0, unreported_ = 0;
};

/// Not synced: a cache that is lost or torn is none. If it cannot be written the next save reads
/// everything again.
void remember(const std::string& path, SaveCacheWriter& cache, const SaveCacheHead& head,
              const Remembered& before) {
  if (!before.same(head)) (void)base::write_file(path, cache.finish(head), 0600, false);
}

}  // namespace

Result<SaveResult> save(const std::string& path, const SaveOptions& options, PackWriter& pack) {
  SaveResult result;
  std::int64_t before = pack.bytes();
  struct stat folder {};
  bool is_folder = ::stat(path.c_str(), &folder) == 0 && S_ISDIR(folder.st_mode);
  Remembered remembered;
  SaveCacheWriter cache;
  if (is_folder) remembered.open(options, folder);
  Builder builder(options, pack, options.cache.empty() || !is_folder ? nullptr : &cache);
  Pipeline pipeline(builder, thread_count(options.threads));
  SPELL_TRY(Walker(options, pipeline, result, remembered).walk(path));
  SPELL_TRY(pipeline.finish());
  if (builder.tree() && !options.cache.empty() && !cache.too_large())
    remember(options.cache, cache, {folder.st_dev, folder.st_ino, *builder.tree(), cache.count()},
             remembered);
  if (result.root.type == EntryType::folder) {
    result.tree = builder.tree();
    builder.fill(result.root);
  } else {
    auto name = std::exchange(result.root.name, {});
    result.root = builder.single();
    result.root.name = std::move(name);
  }
  result.files = builder.files();
  result.bytes = builder.bytes();
  result.new_bytes = pack.bytes() - before;
  return result;
}

}  // namespace spell::spellfs
