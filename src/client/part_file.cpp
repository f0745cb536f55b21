#include "client/part_file.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "base/error.hpp"
#include "base/hash.hpp"

namespace spell::detail {

namespace {

constexpr std::int64_t block = 4096, shortest_hole = 64 << 10, worth_keeping = 1 << 20;

timespec time_of(const std::optional<Time>& time) {
  if (!time) return {0, UTIME_OMIT};
  auto ns = std::chrono::floor<std::chrono::nanoseconds>(time->time_since_epoch()).count();
  auto seconds = ns / 1'000'000'000 - (ns % 1'000'000'000 < 0);
  return {static_cast<time_t>(seconds), static_cast<long>(ns - seconds * 1'000'000'000)};
}

bool is_zero(std::string_view bytes) {
  return !bytes.empty() && bytes[0] == 0 &&
         std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0;
}

}  // namespace

void restore_state(int fd, const ResourceInfo& info) {
  (void)!::fchmod(fd, info.mode & 0777);
  timespec times[2] = {{0, UTIME_OMIT}, time_of(info.modified_at)};
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
  begin_ = at_ = st.st_size > size ? 0 : st.st_size / block * block;
  if (::ftruncate(fd_.get(), begin_) != 0) return failed("write");
  return true;
}

Result<> PartFile::restart() {
  begin_ = at_ = zeros_ = 0;
  if (::ftruncate(fd_.get(), 0) != 0) return failed("write");
  return ok();
}

Result<> PartFile::write(std::string_view bytes) {
  // Block by block, where the pieces of zeros are told from the rest; what lies between is written
  // at once.
  std::size_t from = 0, i = 0;
  auto flush = [&](std::size_t to) -> Result<> {
    if (from == to) return ok();
    SPELL_TRY(put(bytes.substr(from, to - from), at_ + static_cast<std::int64_t>(from)));
    return ok();
  };
  while (i < bytes.size()) {
    auto offset = at_ + static_cast<std::int64_t>(i);
    auto length = std::min(bytes.size() - i, static_cast<std::size_t>(block - offset % block));
    bool zero = is_zero(bytes.substr(i, length));
    if (zero) {
      SPELL_TRY(flush(i));
      zeros_ += static_cast<std::int64_t>(length);
      from = i + length;
    } else if (zeros_ > 0) {
      at_ += static_cast<std::int64_t>(i);
      bytes.remove_prefix(i);
      from = i = 0;
      SPELL_TRY(end_zeros(false));
    }
    i += length;
  }
  SPELL_TRY(flush(bytes.size()));
  at_ += static_cast<std::int64_t>(bytes.size());
  return ok();
}

/// Zeros end at at_: whole blocks of them are left out if there are enough, the rest is written.
Result<> PartFile::end_zeros(bool at_end_of_file) {
  std::int64_t begin = at_ - std::exchange(zeros_, 0);
  std::int64_t hole = (begin + block - 1) / block * block;
  std::int64_t hole_end = at_end_of_file ? at_ : at_ / block * block;
  if (hole_end - hole < shortest_hole) hole = hole_end = at_;
  for (auto [from, to] : {std::pair(begin, hole), std::pair(hole_end, at_)})
    if (from < to) SPELL_TRY(put(std::string(static_cast<std::size_t>(to - from), '\0'), from));
  return ok();
}

Result<> PartFile::put(std::string_view bytes, std::int64_t at) {
  if (auto written = base::pwrite_all(fd_.get(), bytes, at); !written)
    return base::error(written.error().code(), spot_.shown + ": " + written.error().message());
  return ok();
}

Result<> PartFile::finish(std::int64_t size) {
  SPELL_TRY(end_zeros(true));
  if (at_ != size)
    return base::error("resource_changed", spot_.shown + " is not as long as it was said to be");
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
