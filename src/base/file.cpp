#include "base/file.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <memory>
#ifdef __linux__
#include <sys/vfs.h>
#endif

#include "base/error.hpp"
#include "base/hash.hpp"

namespace spell::base {

Result<std::string> read_file(const std::string& path, std::int64_t limit) {
  auto file = open(path, O_RDONLY);
  if (!file) return file.error();
  std::string out;
  char buffer[65536];
  for (;;) {
    ssize_t n = ::read(file->get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_error("read " + path);
    if (n == 0) return out;
    out.append(buffer, static_cast<std::size_t>(n));
    if (static_cast<std::int64_t>(out.size()) > limit)
      return error("too_large", path + " is larger than " + std::to_string(limit) + " bytes");
  }
}

Result<> write_file(const std::string& path, std::string_view bytes, unsigned mode, bool durable) {
  std::string temporary = path + ".new-" + hex(random_bytes(6));
  {
    auto file = open(temporary, O_WRONLY | O_CREAT | O_EXCL, mode);
    if (!file) return file.error();
    auto written = write_all(file->get(), bytes);
    if (written && durable && ::fsync(file->get()) != 0) written = errno_error("sync " + path);
    if (!written) {
      ::unlink(temporary.c_str());
      return Error(written.error().code(), path + ": " + written.error().message());
    }
  }
  if (::rename(temporary.c_str(), path.c_str()) != 0) {
    Error e = errno_error("write " + path);
    ::unlink(temporary.c_str());
    return e;
  }
  if (!durable) return ok();
  auto slash = path.rfind('/');
  return sync_folder(slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash));
}

Result<> sync_folder(const std::string& path) {
  auto folder = open(path, O_RDONLY | O_DIRECTORY);
  if (!folder) return folder.error();
  if (::fsync(folder->get()) != 0) return errno_error("sync " + path);
  return ok();
}

Result<> make_folders(const std::string& path, unsigned mode) {
  for (std::size_t at = 1; at <= path.size(); ++at) {
    if (at != path.size() && path[at] != '/') continue;
    std::string part = path.substr(0, at);
    if (::mkdir(part.c_str(), mode) != 0 && errno != EEXIST) {
      int number = errno;
      struct stat st;
      if (::stat(part.c_str(), &st) == 0 && S_ISDIR(st.st_mode)) continue;
      return errno_error("make the folder " + part, number);
    }
  }
  struct stat st;
  if (::stat(path.c_str(), &st) != 0) return errno_error("make the folder " + path);
  if (!S_ISDIR(st.st_mode)) return errno_error("make the folder " + path, ENOTDIR);
  return ok();
}

namespace {

/// Removes what is in a folder. Whoever made it may have made it deeper than a stack: what lies too
/// deep is moved up and removed in another round.
class Emptier {
 public:
  Emptier(int top, dev_t device) : top_(top), device_(device) {}

  Result<> run(const std::string& shown) {
    do {
      moved_ = false;
      int fd = ::openat(top_, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
      if (fd < 0) return errno_error("remove " + shown);
      SPELL_TRY(empty(fd, shown, 1));
    } while (moved_);
    return ok();
  }

 private:
  static constexpr int deepest = 100;

  Result<> remove(int parent, const char* name, const std::string& shown, int depth) {
    struct stat st;
    if (::fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
      return errno == ENOENT ? ok() : Result<>(errno_error("remove " + shown));
    if (!S_ISDIR(st.st_mode)) {
      if (::unlinkat(parent, name, 0) != 0 && errno != ENOENT)
        return errno_error("remove " + shown);
      return ok();
    }
    if (st.st_dev != device_)
      return error("io_error", "cannot remove " + shown + ": another file system is mounted there");
    if ((st.st_mode & 0700) != 0700) ::fchmodat(parent, name, 0700, 0);
    if (depth > deepest) return move_up(parent, name, shown);
    int fd = ::openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return errno_error("remove " + shown);
    SPELL_TRY(empty(fd, shown, depth + 1));
    if (::unlinkat(parent, name, AT_REMOVEDIR) != 0 && errno != ENOENT)
      return errno_error("remove " + shown);
    return ok();
  }

  /// Closes `fd`. What cannot be removed keeps nothing else.
  Result<> empty(int fd, const std::string& shown, int depth) {
    std::unique_ptr<DIR, int (*)(DIR*)> folder(::fdopendir(fd), ::closedir);
    if (!folder) {
      Error e = errno_error("remove " + shown);
      ::close(fd);
      return e;
    }
    Result<> result = ok();
    while (dirent* entry = ::readdir(folder.get())) {
      std::string_view child = entry->d_name;
      if (child == "." || child == "..") continue;
      auto removed = remove(fd, entry->d_name, shown + "/" + entry->d_name, depth);
      if (!removed && result) result = removed;
    }
    return result;
  }

  Result<> move_up(int parent, const char* name, const std::string& shown) {
    for (int tries = 0; tries < 1000; ++tries) {
      std::string up = ".deep-" + std::to_string(count_++);
      if (::renameat(parent, name, top_, up.c_str()) == 0) {
        moved_ = true;
        return ok();
      }
      if (errno != EEXIST && errno != ENOTEMPTY && errno != ENOTDIR) break;
    }
    return errno_error("remove " + shown);
  }

  const int top_;
  const dev_t device_;
  int count_ = 0;
  bool moved_ = false;
};

}  // namespace

Result<> remove_tree(const std::string& path) {
  struct stat st;
  if (::lstat(path.c_str(), &st) != 0)
    return errno == ENOENT ? ok() : Result<>(errno_error("remove " + path));
  if (!S_ISDIR(st.st_mode)) {
    if (::unlink(path.c_str()) != 0 && errno != ENOENT) return errno_error("remove " + path);
    return ok();
  }
  if ((st.st_mode & 0700) != 0700) ::fchmodat(AT_FDCWD, path.c_str(), 0700, 0);
  Fd top(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!top) return errno_error("remove " + path);
  SPELL_TRY(Emptier(top.get(), st.st_dev).run(path));
  if (::rmdir(path.c_str()) != 0 && errno != ENOENT) return errno_error("remove " + path);
  return ok();
}

std::int64_t free_bytes(const std::string& path) {
  struct statvfs st;
  if (::statvfs(path.c_str(), &st) != 0) return -1;
  return static_cast<std::int64_t>(st.f_bavail) * static_cast<std::int64_t>(st.f_frsize);
}

std::int64_t disk_size(const std::string& path) {
  struct statvfs st;
  if (::statvfs(path.c_str(), &st) != 0) return 0;
  return static_cast<std::int64_t>(st.f_blocks) * static_cast<std::int64_t>(st.f_frsize);
}

bool exists(const std::string& path) {
  struct stat st;
  return ::lstat(path.c_str(), &st) == 0;
}

bool is_network_file_system(const std::string& path) {
#ifdef __linux__
  struct statfs st;
  if (::statfs(path.c_str(), &st) != 0) return false;
  switch (static_cast<unsigned long>(st.f_type)) {
    case 0x6969:      // NFS
    case 0xFF534D42:  // CIFS
    case 0xFE534D42:  // SMB2
    case 0x517B:      // SMB
    case 0x65735546:  // FUSE
    case 0x01021997:  // 9p
    case 0x0BD00BD0:  // Lustre
    case 0x00C36400:  // Ceph
    case 0x5346414F:  // AFS
    case 0x47504653:  // GPFS
      return true;
  }
#else
  (void)path;
#endif
  return false;
}

}  // namespace spell::base
