#include "client/part_file.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.hpp"
#include "base/hash.hpp"

namespace spell::detail {

namespace {

constexpr std::int64_t worth_keeping = 1 << 20;

}  // namespace

timespec time_of(std::int64_t ns) {
  auto seconds = ns / 1'000'000'000 - (ns % 1'000'000'000 < 0);
  return {static_cast<time_t>(seconds), static_cast<long>(ns - seconds * 1'000'000'000)};
}

void restore_state(int fd, const spellfs::Entry& entry) {
  (void)!::fchmod(fd, entry.mode & 0777);
  timespec times[2] = {{0, UTIME_OMIT}, time_of(entry.mtime_ns)};
  (void)!::futimens(fd, times);
}

PartFile::~PartFile() {
  if (mine_) ::unlinkat(spot_.folder, name_.c_str(), 0);
}

Error PartFile::failed(const char* what) const {
  return base::errno_error(std::string(what) + " " + spot_.shown);
}

Result<> PartFile::open(const std::string& node, std::int64_t size) {
  std::string key = base::hex(base::sha256(spot_.name + '\0' + node)).substr(0, 16);
  if (!node.empty()) {
    name_ = ".spell-" + key + ".part";
    auto taken = take_up(size);
    if (!taken) return taken.error();
    if (*taken) return ok();
  }
  name_ = ".spell-" + base::hex(base::random_bytes(8)) + ".part";
  fd_ = base::Fd(::openat(spot_.folder, name_.c_str(),
                          O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd_) return failed("write");
  mine_ = true;
  return ok();
}

/// False: there is something under that name that is not ours, or another copy is at it.
Result<bool> PartFile::take_up(std::int64_t size) {
  base::Fd fd(::openat(spot_.folder, name_.c_str(),
                       O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600));
  if (!fd &&
      (errno == ENOSPC || errno == EROFS || errno == EACCES || errno == EPERM || errno == EDQUOT))
    return failed("write");
  struct stat st, named;
  if (!fd || ::flock(fd.get(), LOCK_EX | LOCK_NB) != 0 || ::fstat(fd.get(), &st) != 0 ||
      !S_ISREG(st.st_mode) || st.st_uid != ::geteuid() || st.st_nlink != 1)
    return false;
  // The other copy may have finished between the opening and the lock: its file has a name now.
  if (::fstatat(spot_.folder, name_.c_str(), &named, AT_SYMLINK_NOFOLLOW) != 0 ||
      named.st_ino != st.st_ino || named.st_dev != st.st_dev)
    return false;
  fd_ = std::move(fd);
  mine_ = true;
  left_ = st.st_size > size ? 0 : st.st_size;
  if (left_ == 0 && ::ftruncate(fd_.get(), 0) != 0) return failed("write");
  return true;
}

/// Looked at chunk by chunk: what an interrupted copy had written may not have reached the disk.
bool PartFile::has(const spellfs::Name& chunk, std::int64_t at, std::int64_t size) const {
  if (at + size > left_) return false;
  std::string bytes(static_cast<std::size_t>(size), '\0');
  auto n = base::pread_full(fd_.get(), bytes.data(), bytes.size(), at);
  return n && *n == bytes.size() && spellfs::name_of(spellfs::Kind::chunk, bytes) == chunk;
}

Result<> PartFile::put(std::string_view bytes, std::int64_t at) {
  if (auto written = base::pwrite_all(fd_.get(), bytes, at); !written)
    return base::error(written.error().code(), spot_.shown + ": " + written.error().message());
  return ok();
}

Result<> PartFile::finish(std::int64_t size) {
  if (::ftruncate(fd_.get(), size) != 0) return failed("write");
  return ok();
}

Result<> PartFile::give_name() {
  if (::renameat(spot_.folder, name_.c_str(), spot_.folder, spot_.name.c_str()) != 0)
    return failed("write");
  mine_ = false;
  return ok();
}

void PartFile::keep() {
  struct stat st;
  if (mine_ && ::fstat(fd_.get(), &st) == 0 && st.st_size >= worth_keeping) mine_ = false;
}

}  // namespace spell::detail
