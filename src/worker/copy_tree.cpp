#include "worker/copy_tree.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/error.hpp"
#include "base/fd.hpp"

namespace spell::worker {

namespace {

class Copier {
 public:
  explicit Copier(std::stop_token stop) : stop_(std::move(stop)) {}
  Copied copied;

  Result<> copy(int from, const char* name, int to, const char* as) {
    if (stop_.stop_requested()) return base::error("canceled", "the copy was given up");
    struct stat st;
    if (::fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) != 0) return failed("read", name);
    Result<> done = S_ISDIR(st.st_mode)   ? copy_folder(from, name, to, as)
                    : S_ISLNK(st.st_mode) ? copy_link(from, name, to, as)
                                          : copy_file(from, name, to, as);
    if (!done) return done;
    timespec times[2] = {st.st_mtim, st.st_mtim};
    if (!S_ISLNK(st.st_mode) && ::fchmodat(to, as, st.st_mode & 07777, 0) != 0)
      return failed("make", as);
    if (::utimensat(to, as, times, AT_SYMLINK_NOFOLLOW) != 0) return failed("make", as);
    return done;
  }

 private:
  static Error failed(const char* what, const char* name) {
    return base::errno_error(std::string(what) + " " + name);
  }

  Result<> copy_folder(int from, const char* name, int to, const char* as) {
    base::Fd source(::openat(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!source || ::mkdirat(to, as, 0700) != 0) return failed("make", as);
    base::Fd target(::openat(to, as, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    int again = ::fcntl(source.get(), F_DUPFD_CLOEXEC, 0);
    DIR* folder = again < 0 || !target ? nullptr : ::fdopendir(again);
    if (!folder) {
      if (again >= 0) ::close(again);
      return failed("read", name);
    }
    Result<> done = ok();
    while (dirent* entry = done ? ::readdir(folder) : nullptr)
      if (std::string_view child = entry->d_name; child != "." && child != "..")
        done = copy(source.get(), entry->d_name, target.get(), entry->d_name);
    ::closedir(folder);
    return done;
  }

  Result<> copy_link(int from, const char* name, int to, const char* as) {
    char target[PATH_MAX];
    ssize_t n = ::readlinkat(from, name, target, sizeof target - 1);
    if (n < 0) return failed("read", name);
    target[n] = 0;
    if (::symlinkat(target, to, as) != 0) return failed("make", as);
    ++copied.files;
    return ok();
  }

  Result<> copy_file(int from, const char* name, int to, const char* as) {
    base::Fd source(::openat(from, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    base::Fd target(::openat(to, as, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!source || !target) return failed("copy", name);
    ++copied.files;
    if (::ioctl(target.get(), FICLONE, source.get()) == 0) {
      ++copied.reflinked;
      return ok();
    }
    for (;;) {
      if (stop_.stop_requested()) return base::error("canceled", "the copy was given up");
      ssize_t n = ::copy_file_range(source.get(), nullptr, target.get(), nullptr, 16 << 20, 0);
      if (n == 0) return ok();
      if (n < 0 && errno != EINTR) return failed("copy", name);
    }
  }

  std::stop_token stop_;
};

}  // namespace

Result<Copied> copy_tree(const std::string& from, const std::string& to, std::stop_token stop) {
  Copier copier(std::move(stop));
  SPELL_TRY(copier.copy(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str()));
  return copier.copied;
}

}  // namespace spell::worker
