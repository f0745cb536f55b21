#include "spellfs/save_file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/text.hpp"
#include "spellfs/chunker.hpp"

namespace spell::spellfs {

namespace {

std::int64_t ns(const timespec& t) {
  return static_cast<std::int64_t>(t.tv_sec) * 1'000'000'000 + t.tv_nsec;
}

bool same_state(const struct stat& a, const struct stat& b) {
  return a.st_size == b.st_size && mtime_of(a) == mtime_of(b) && ctime_of(a) == ctime_of(b) &&
         a.st_ino == b.st_ino;
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

/// Whether a later change is sure to show in the file's ctime: it must be older than the kernel's
/// tick, or than two seconds where times are that coarse.
bool settled(const struct stat& st) {
  constexpr std::int64_t tick = 20'000'000, coarse = 2'000'000'000;
  std::int64_t ctime = ctime_of(st);
  return base::unix_us() * 1000 - ctime > (ctime % 1'000'000'000 == 0 ? coarse : tick);
}

/// Reading of one file.
class FileReading {
 public:
  FileReading(Blocks& blocks, SaveProgress& progress, const Sink& sink)
      : blocks_(blocks), progress_(progress), sink_(sink) {}

  /// Pushes the pieces of a file up to the size that it had at first. Returns what was there.
  Result<std::int64_t> read_file(int fd, const struct stat& st) {
    if (st.st_size > max_size) return base::error("too_large", "larger than a file can be here");
    std::int64_t size = 0;
    for (auto& segment : segments_of(fd, st)) {
      std::int64_t length = segment.to - segment.from;
      if (segment.hole) {
        if (!sink_(Hole{length})) return stopped_ = true, size;
        size += length;
        continue;
      }
      auto n = read_data(fd, segment);
      if (!n) return n.error();
      size += *n;
      if (stopped_ || *n < length) break;
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
      progress_.add_bytes(static_cast<std::int64_t>(*n));
      end = *n < want || at == segment.to;
      rest = {block.get(), rest.size() + *n};
      while (!rest.empty()) {
        std::size_t length = first_chunk(rest);
        // A cut at the end of what is there may be none: more has to be seen.
        if (length == rest.size() && length < Chunking::max && !end) break;
        if (!sink_(Data{block, rest.substr(0, length)})) return stopped_ = true, at - segment.from;
        rest.remove_prefix(length);
      }
      last = std::move(block);
    }
    return at - segment.from;
  }

  bool stopped() const { return stopped_; }

 private:
  Blocks& blocks_;
  SaveProgress& progress_;
  const Sink& sink_;
  bool stopped_ = false;
};

}  // namespace

#ifdef __APPLE__
std::int64_t mtime_of(const struct stat& st) { return ns(st.st_mtimespec); }
std::int64_t ctime_of(const struct stat& st) { return ns(st.st_ctimespec); }
#else
std::int64_t mtime_of(const struct stat& st) { return ns(st.st_mtim); }
std::int64_t ctime_of(const struct stat& st) { return ns(st.st_ctim); }
#endif

KnownFile state_of(const struct stat& st) {
  return {st.st_size, mtime_of(st), ctime_of(st), st.st_ino,
          static_cast<std::uint32_t>(st.st_mode & 07777)};
}

Entry entry_of(const std::string& name, EntryType type, const struct stat& st) {
  Entry entry;
  entry.name = name;
  entry.type = type;
  entry.mode = st.st_mode & 07777;
  entry.mtime_ns = mtime_of(st);
  return entry;
}

base::Fd open_in(int folder, const std::string& name, int flags) {
  int fd;
  // O_NONBLOCK: a fifo that took a file's place must not hold us up.
  do fd = ::openat(folder, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | flags);
  while (fd < 0 && errno == EINTR);
  return base::Fd(fd);
}

Skip skip(const std::string& path, const std::string& why) {
  return {base::to_utf8(path) + ": " + why};
}

void SaveProgress::add(std::int64_t files, std::int64_t bytes, std::int64_t weight) {
  std::lock_guard lock(mutex_);
  files_ += files;
  bytes_ += bytes;
  unreported_ += weight;
  if (!options_.progress || unreported_ < 1 << 20) return;
  unreported_ = 0;
  options_.progress(files_, bytes_);
}

void SaveProgress::end() {
  std::lock_guard lock(mutex_);
  if (options_.progress) options_.progress(files_, bytes_);
}

std::shared_ptr<char[]> Blocks::take(std::size_t size) {
  if (size > block_size) return std::shared_ptr<char[]>(new char[size]);
  if (!open_ || used_ + size > block_size) {
    open_ = fresh();
    used_ = 0;
  }
  char* at = open_.get() + used_;
  used_ += size;
  return {open_, at};
}

std::shared_ptr<char[]> Blocks::fresh() {
  std::unique_ptr<char[]> block;
  {
    std::lock_guard lock(room_->mutex);
    if (!room_->blocks.empty()) {
      block = std::move(room_->blocks.back());
      room_->blocks.pop_back();
    }
  }
  if (!block) block.reset(new char[block_size]);
  return {block.release(), [room = room_](char* bytes) {
            std::lock_guard lock(room->mutex);
            room->blocks.emplace_back(bytes);
          }};
}

bool save_file(int folder, const std::string& name, const std::string& path, Blocks& blocks,
               SaveProgress& progress, const Sink& sink) {
  constexpr int attempts = 3;
  auto skip_errno = [&] {
    // What is gone by now is no output.
    return errno == ENOENT || sink(skip(path, base::errno_error("open").message()));
  };
  for (int attempt = 1;; ++attempt) {
    base::Fd file = open_in(folder, name, 0);
    struct stat before, after;
    if (!file || ::fstat(file.get(), &before) != 0) return skip_errno();
    if (!S_ISREG(before.st_mode)) return sink(skip(path, "no longer a file"));
    FileReading reading(blocks, progress, sink);
    auto size = reading.read_file(file.get(), before);
    if (reading.stopped()) return false;
    if (!size) return sink(skip(path, size.error().message())) && sink(Again{});
    bool stable =
        *size == before.st_size && ::fstat(file.get(), &after) == 0 && same_state(before, after);
    if (!stable && attempt < attempts) {
      if (!sink(Again{})) return false;
      continue;
    }
    if (!stable && !sink(skip(path, "changed while it was read"))) return false;
    Done done{entry_of(name, EntryType::file, before)};
    if (stable && settled(before)) {
      done.path = path;
      done.state = state_of(before);
    }
    progress.add_file();
    return sink(std::move(done));
  }
}

Result<> read_open_file(int fd, const struct stat& st, Blocks& blocks, SaveProgress& progress,
                        const Sink& sink) {
  FileReading reading(blocks, progress, sink);
  auto size = reading.read_file(fd, st);
  if (!size) return size.error();
  progress.add_file();
  if (reading.stopped() || !sink(Done{entry_of({}, EntryType::file, st)}))
    return base::error("canceled", "stopped before all was read");
  return ok();
}

}  // namespace spell::spellfs
