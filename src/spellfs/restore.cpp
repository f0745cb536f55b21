// Bringing a file or folder back. One thread walks the tree and makes folders; a crew reads chunks
// and writes files. A folder gets its times and mode when the last that is made in it is done:
// whoever works in it holds a reference, and letting the last one go completes it.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <memory>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/file.hpp"
#include "base/id.hpp"
#include "base/text.hpp"
#include "spellfs/crew.hpp"
#include "spellfs/tree.hpp"
#include "spellfs/walk.hpp"

namespace spell::spellfs {

namespace {

timespec time_of(std::int64_t ns) {
  constexpr std::int64_t second = 1'000'000'000;
  std::int64_t rest = (ns % second + second) % second;
  timespec out{};
  out.tv_sec = static_cast<time_t>((ns - rest) / second);
  out.tv_nsec = static_cast<long>(rest);
  return out;
}

class Restorer {
 public:
  Restorer(const ObjectSource& store, const RestoreOptions& options)
      : store_(store), options_(options), crew_(thread_count(options.threads), 64) {}

  /// Makes `what` as `path`.
  Result<> make(const Entry& what, const std::string& path) {
    auto root = std::make_shared<Folder>(*this);
    root->fd = base::Fd(::open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    Entry entry = what;
    entry.name = path;
    Batch batch{root};
    auto made =
        entry.type == EntryType::folder ? make_folder(root, entry, 1) : take(batch, entry, 0);
    root.reset();
    hand_over(batch);
    batch.folder.reset();
    crew_.finish();
    if (!made) fail(made.error());
    if (failed_) return error_;
    if (options_.durable) SPELL_TRY(sync(path, what.type));
    if (options_.progress) options_.progress(files_, bytes_);
    return ok();
  }

  RestoreResult result() const { return {files_, bytes_}; }

 private:
  static constexpr std::int64_t large = 8 << 20, job_bytes = 4 << 20;
  static constexpr std::size_t job_files = 64;

  struct Folder {
    Restorer& restorer;
    base::Fd fd{};
    std::uint32_t mode = 0;
    std::int64_t mtime_ns = 0;
    bool complete = false;  ///< it is ours, and to be completed
    std::shared_ptr<Folder> parent{};
    explicit Folder(Restorer& r) : restorer(r) {}
    ~Folder() {
      // After a failure all goes: a folder without write permission would be in the way.
      if (!complete || restorer.failed_) return;
      timespec times[2] = {time_of(mtime_ns), time_of(mtime_ns)};
      if (::futimens(fd.get(), times) != 0 || ::fchmod(fd.get(), mode) != 0)
        restorer.fail(base::errno_error("complete a folder"));
    }
  };
  /// A large file, written by several jobs.
  struct File {
    Restorer& restorer;
    std::shared_ptr<Folder> folder;
    base::Fd fd;
    Entry entry;
    File(Restorer& r, std::shared_ptr<Folder> in, base::Fd file, Entry what)
        : restorer(r), folder(std::move(in)), fd(std::move(file)), entry(std::move(what)) {}
    ~File() {
      if (restorer.failed_) return;
      if (auto done = restorer.complete(fd.get(), entry); !done) restorer.fail(done.error());
      restorer.count(1, 0);
    }
  };
  /// Small entries of one folder, made by one job.
  struct Batch {
    std::shared_ptr<Folder> folder;
    std::vector<Entry> entries{};
    std::int64_t bytes = 0;
  };

  void fail(const Error& e) {
    std::lock_guard lock(mutex_);
    if (!failed_) error_ = e;
    failed_ = true;
  }
  bool stopped() {
    if (!failed_ && options_.stop.stop_requested())
      fail(base::error("canceled", "stopped before all was restored"));
    return failed_;
  }

  // Never more than the permissions: a set-user-ID file would be one of whoever restores it.
  std::uint32_t mode_of(const Entry& entry) const {
    return entry.mode & (options_.read_only ? 01555 : 01777);
  }

  Result<> make_folder(const std::shared_ptr<Folder>& parent, const Entry& entry, int depth) {
    if (depth > max_depth) return lies(entry.node);
    auto folder = std::make_shared<Folder>(*this);
    const char* name = entry.name.c_str();
    if (::mkdirat(parent->fd.get(), name, 0700) != 0)
      return base::errno_error("make the folder " + base::to_utf8(entry.name));
    folder->fd =
        base::Fd(::openat(parent->fd.get(), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!folder->fd) return base::errno_error("open the folder " + base::to_utf8(entry.name));
    folder->complete = true;
    folder->mode = mode_of(entry);
    folder->mtime_ns = entry.mtime_ns;
    folder->parent = parent;
    Batch batch{folder};
    SPELL_TRY(each_entry(store_, entry, [&](Entry& below) { return take(batch, below, depth); }));
    hand_over(batch);
    return ok();
  }

  Result<> take(Batch& batch, Entry& entry, int depth) {
    if (stopped()) return error_now();
    if (entry.type == EntryType::folder) return make_folder(batch.folder, entry, depth + 1);
    if (entry.type == EntryType::file && entry.size > large) return make_large(batch.folder, entry);
    batch.bytes += entry.size;
    batch.entries.push_back(std::move(entry));
    if (batch.bytes >= job_bytes || batch.entries.size() >= job_files) hand_over(batch);
    return ok();
  }

  void hand_over(Batch& batch) {
    if (batch.entries.empty()) return;
    auto job = std::make_shared<Batch>(Batch{batch.folder, std::move(batch.entries), batch.bytes});
    batch.entries.clear();
    batch.bytes = 0;
    crew_.post([this, job] {
      for (auto& entry : job->entries) {
        if (stopped()) break;
        auto made = entry.type == EntryType::link ? make_link(*job->folder, entry)
                                                  : make_small(*job->folder, entry);
        if (!made) fail(made.error());
        count(1, 0);
      }
    });
  }

  Result<> make_link(const Folder& folder, const Entry& entry) {
    const char* name = entry.name.c_str();
    timespec times[2] = {time_of(entry.mtime_ns), time_of(entry.mtime_ns)};
    if (::symlinkat(entry.target.c_str(), folder.fd.get(), name) != 0 ||
        ::utimensat(folder.fd.get(), name, times, AT_SYMLINK_NOFOLLOW) != 0)
      return base::errno_error("make the link " + base::to_utf8(entry.name));
    return ok();
  }

  Result<base::Fd> create(const Folder& folder, const Entry& entry) {
    int fd = ::openat(folder.fd.get(), entry.name.c_str(),
                      O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) return base::errno_error("make the file " + base::to_utf8(entry.name));
    return base::Fd(fd);
  }

  Result<> complete(int fd, const Entry& entry) {
    timespec times[2] = {time_of(entry.mtime_ns), time_of(entry.mtime_ns)};
    if (::futimens(fd, times) != 0 || ::fchmod(fd, mode_of(entry)) != 0)
      return base::errno_error("complete the file " + base::to_utf8(entry.name));
    return ok();
  }

  Result<> make_small(const Folder& folder, const Entry& entry) {
    auto fd = create(folder, entry);
    if (!fd) return fd.error();
    Writing file(*this, fd->get(), 0);
    if (entry.size > small_file) {
      SPELL_TRY(each_piece(store_, entry.node, entry.size,
                           [&](const Piece& piece) { return file.add(piece); }));
      SPELL_TRY(file.flush());
      // Only holes at the end need it.
      if (::ftruncate(fd->get(), entry.size) != 0) return base::errno_error("write a file");
    } else if (entry.size > 0) {
      SPELL_TRY(file.add({entry.node, entry.size}));
      SPELL_TRY(file.flush());
    }
    return complete(fd->get(), entry);
  }

  Result<> make_large(const std::shared_ptr<Folder>& folder, const Entry& entry) {
    auto fd = create(*folder, entry);
    if (!fd) return fd.error();
    if (::ftruncate(fd->get(), entry.size) != 0) return base::errno_error("write a file");
    auto file = std::make_shared<File>(*this, folder, std::move(*fd), entry);
    std::vector<Piece> pieces;
    std::int64_t from = 0, at = 0;
    auto flush = [&] {
      crew_.post([this, file, at = from, pieces = std::exchange(pieces, {})] {
        Writing writing(*this, file->fd.get(), at);
        for (auto& piece : pieces) {
          if (stopped()) return;
          if (auto done = writing.add(piece); !done) return fail(done.error());
        }
        if (auto done = writing.flush(); !done) fail(done.error());
      });
      from = at;
    };
    SPELL_TRY(each_piece(store_, entry.node, entry.size, [&](const Piece& piece) -> Result<> {
      if (stopped()) return error_now();
      pieces.push_back(piece);
      at += piece.size;
      if (at - from >= job_bytes || pieces.size() >= 512) flush();
      return ok();
    }));
    flush();
    return ok();
  }

  /// Pieces that follow each other in a file, read and written some at once.
  class Writing {
   public:
    Writing(Restorer& restorer, int fd, std::int64_t at)
        : restorer_(restorer), fd_(fd), begin_(at), end_(at) {}

    Result<> add(const Piece& piece) {
      constexpr std::int64_t most = 1 << 20;
      if (!piece.chunk || end_ + piece.size - begin_ > most) SPELL_TRY(flush());
      end_ += piece.size;
      if (piece.chunk)
        chunks_.push_back({*piece.chunk, nullptr, static_cast<std::size_t>(piece.size)});
      else
        begin_ = end_;
      return ok();
    }
    Result<> flush() {
      auto size = static_cast<std::size_t>(end_ - begin_);
      if (size == 0) return ok();
      if (room_ < size) bytes_ = std::make_unique_for_overwrite<char[]>(room_ = size);
      char* to = bytes_.get();
      for (auto& chunk : chunks_) {
        chunk.to = to;
        to += chunk.size;
      }
      SPELL_TRY(restorer_.store_.read_chunks(chunks_));
      SPELL_TRY(base::pwrite_all(fd_, {bytes_.get(), size}, begin_));
      restorer_.count(0, end_ - begin_);
      chunks_.clear();
      begin_ = end_;
      return ok();
    }

   private:
    Restorer& restorer_;
    int fd_;
    std::int64_t begin_, end_;  ///< in the file, of what waits
    std::vector<ObjectSource::ChunkRead> chunks_;
    std::unique_ptr<char[]> bytes_;
    std::size_t room_ = 0;
  };

  /// Tells progress about once a megabyte, or 128 files.
  void count(std::int64_t files, std::int64_t bytes) {
    constexpr std::int64_t file_weight = 8 << 10;
    files_ += files;
    bytes_ += bytes;
    if (!options_.progress) return;
    if ((unreported_ += bytes + files * file_weight) < 1 << 20) return;
    std::lock_guard lock(mutex_);
    unreported_ = 0;
    options_.progress(files_, bytes_);
  }

  Error error_now() {
    std::lock_guard lock(mutex_);
    return error_;
  }

  static Result<> sync(const std::string& path, EntryType type) {
    if (type == EntryType::link) return ok();
    auto fd = base::open(path, O_RDONLY);
    if (!fd) return fd.error();
#ifdef __linux__
    // One for all: thousands of single ones would cost seconds.
    if (type == EntryType::folder)
      return ::syncfs(fd->get()) == 0 ? ok() : Result<>(base::errno_error("sync " + path));
#else
    if (type == EntryType::folder) ::sync();
#endif
    return ::fsync(fd->get()) == 0 ? ok() : Result<>(base::errno_error("sync " + path));
  }

  const ObjectSource& store_;
  const RestoreOptions& options_;
  std::mutex mutex_;
  Error error_{};
  std::atomic<bool> failed_ = false;
  std::atomic<std::int64_t> files_ = 0, bytes_ = 0, unreported_ = 0;
  Crew crew_;
};

}  // namespace

Result<RestoreResult> restore(const ObjectSource& store, const Entry& what,
                              const std::string& target, const RestoreOptions& options) {
  if (base::exists(target))
    return base::error("exists", target + " exists already; remove it or choose another name");
  auto slash = target.rfind('/');
  std::string folder = slash == std::string::npos ? "." : target.substr(0, slash + 1);
  std::string name = slash == std::string::npos ? target : target.substr(slash + 1);
  // Short whatever the target's name: that may have as many bytes as a name can have.
  std::string temporary =
      folder + (slash == std::string::npos ? "/" : "") + ".spell-" + base::Id::make().text();
  Result<> done = ok();
  RestoreResult result;
  {
    Restorer restorer(store, options);
    done = restorer.make(what, temporary);
    result = restorer.result();
  }
  if (done && ::rename(temporary.c_str(), target.c_str()) != 0)
    done = base::errno_error("rename to " + target);
  if (done && options.durable) done = base::sync_folder(folder);
  if (done) return result;
  (void)base::remove_tree(temporary);
  return done.error();
}

}  // namespace spell::spellfs
