#include "service/mirror.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <memory>
#include <vector>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/file.hpp"
#include "base/hash.hpp"

namespace spell::service {

namespace {

constexpr std::size_t mirror_piece = 1 << 20;
constexpr const char* unfinished = ".unfinished-";

std::string parent_of(const std::string& path) { return path.substr(0, path.rfind('/')); }

/// Hashes the first `size` bytes of `from`, and writes them to `to` if there is one.
Result<base::Digest> pass_over(int from, int to, std::int64_t size, const std::stop_token& stop) {
  auto piece = std::make_unique<char[]>(mirror_piece);
  base::Sha256 hash;
  for (std::int64_t at = 0; at < size;) {
    if (stop.stop_requested()) return base::error("canceled", "the service is ending");
    auto want = static_cast<std::size_t>(
        std::min<std::int64_t>(size - at, static_cast<std::int64_t>(mirror_piece)));
    auto read = base::pread_full(from, piece.get(), want, at);
    if (!read) return read.error();
    if (*read == 0) return base::error("io_error", "it became shorter while it was read");
    std::string_view bytes(piece.get(), *read);
    hash.update(bytes);
    if (to >= 0) SPELL_TRY(base::write_all(to, bytes));
    at += static_cast<std::int64_t>(*read);
  }
  return hash.finish();
}

bool same_file(const struct stat& a, const struct stat& b) {
  return a.st_size == b.st_size && a.st_mtim.tv_sec == b.st_mtim.tv_sec &&
         a.st_mtim.tv_nsec == b.st_mtim.tv_nsec;
}

}  // namespace

Result<> Mirror::take(const std::string& path, const std::set<std::string>& last) {
  struct stat st;
  if (::lstat((from_ + "/" + path).c_str(), &st) != 0)
    return errno == ENOENT ? ok() : Result<>(base::errno_error("look at " + from_ + "/" + path));
  for (int attempt = 0;; ++attempt) {
    auto whole = S_ISDIR(st.st_mode) ? take_folder(path, last) : take_file(path);
    if (!whole) return whole.error();
    if (*whole) return ok();
    if (attempt == 100)
      return base::error("io_error", from_ + "/" + path + " never stays as it is");
  }
}

/// False: something vanished, so what took its place may have been missed.
Result<bool> Mirror::take_folder(const std::string& path, const std::set<std::string>& last) {
  SPELL_TRY(base::make_folders(to_ + "/" + path));
  taken_.insert(path);
  std::error_code problem;
  std::filesystem::directory_iterator entries(from_ + "/" + path, problem);
  if (problem == std::errc::no_such_file_or_directory) return false;
  if (problem)
    return base::error("io_error", "read " + from_ + "/" + path + ": " + problem.message());
  std::vector<std::string> names, late;
  for (; entries != std::filesystem::directory_iterator(); entries.increment(problem)) {
    std::string name = entries->path().filename();
    (last.contains(name) ? late : names).push_back(name);
  }
  if (problem)
    return base::error("io_error", "read " + from_ + "/" + path + ": " + problem.message());
  std::sort(names.begin(), names.end());
  names.insert(names.end(), late.begin(), late.end());
  bool whole = true;
  for (auto& name : names) {
    std::string inner = path + "/" + name;
    struct stat st;
    if (::lstat((from_ + "/" + inner).c_str(), &st) != 0) {
      whole = false;
      continue;
    }
    auto taken = S_ISDIR(st.st_mode)   ? take_folder(inner, last)
                 : S_ISREG(st.st_mode) ? take_file(inner)
                                       : Result<bool>(true);
    if (!taken) return taken;
    whole = whole && *taken;
  }
  SPELL_TRY(base::sync_folder(to_ + "/" + path));
  return whole;
}

Result<bool> Mirror::take_file(const std::string& path) {
  std::string from = from_ + "/" + path, to = to_ + "/" + path;
  auto source = base::open(from, O_RDONLY | O_NOFOLLOW);
  if (!source && source.error().code() == "not_found") return false;
  if (!source) return source.error();
  struct stat is, was;
  if (::fstat(source->get(), &is) != 0) return base::errno_error("look at " + from);
  bool again = !taken_.insert(path).second;
  if (!again) {
    ++mirrored_.files;
    mirrored_.bytes += is.st_size;
  }
  if (::lstat(to.c_str(), &was) == 0 && same_file(is, was)) return true;

  SPELL_TRY(base::make_folders(parent_of(to)));
  std::string half = parent_of(to) + "/" + unfinished + base::hex(base::random_bytes(8));
  auto copy = base::open(half, O_RDWR | O_CREAT | O_EXCL, is.st_mode & 0700);
  if (!copy) return copy.error();
  auto write = [&]() -> Result<> {
    // Its time is set first to last: a source that changed meanwhile is copied again next time.
    auto read = pass_over(source->get(), copy->get(), is.st_size, stop_);
    if (!read) return read.error();
    timespec times[2] = {is.st_atim, is.st_mtim};
    if (::futimens(copy->get(), times) != 0 || ::fsync(copy->get()) != 0)
      return base::errno_error("write " + to);
    ::posix_fadvise(copy->get(), 0, 0, POSIX_FADV_DONTNEED);
    auto written = pass_over(copy->get(), -1, is.st_size, stop_);
    if (!written) return written.error();
    if (*written != *read)
      return base::error("damaged", to + ": what was written is not what is read again");
    if (::rename(half.c_str(), to.c_str()) != 0) return base::errno_error("make " + to);
    return ok();
  };
  if (auto done = write(); !done) {
    ::unlink(half.c_str());
    return base::error(done.error().code(), to + ": " + done.error().message());
  }
  ++mirrored_.new_files;
  mirrored_.new_bytes += is.st_size;
  return true;
}

Result<> Mirror::drop_others(const std::string& path) {
  std::error_code problem;
  std::filesystem::directory_iterator entries(to_ + "/" + path, problem);
  for (; !problem && entries != std::filesystem::directory_iterator(); entries.increment(problem)) {
    std::string name = entries->path().filename(), inner = path + "/" + name;
    if (!taken_.contains(inner))
      SPELL_TRY(base::remove_tree(to_ + "/" + inner));
    else if (entries->is_directory() && !entries->is_symlink())
      SPELL_TRY(drop_others(inner));
  }
  return ok();
}

}  // namespace spell::service
