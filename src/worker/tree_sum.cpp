#include "worker/tree_sum.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <memory>
#include <set>

#include "base/checksum.hpp"
#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/hash.hpp"

namespace spell::worker {

namespace {

class Summer {
 public:
  explicit Summer(std::stop_token stop) : stop_(std::move(stop)) {}

  Result<> add(int at, const char* name, bool top) {
    if (stop_.stop_requested()) return base::error("canceled", "the check was given up");
    struct stat st;
    if (::fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) != 0) return failed(name);
    // Each part ends where the next begins, whatever is in it.
    std::string head = std::string(S_ISDIR(st.st_mode)   ? "d"
                                   : S_ISLNK(st.st_mode) ? "l"
                                   : S_ISCHR(st.st_mode) ? "c"
                                                         : "f");
    if (!top) head += name;
    head += '\0';
    if (S_ISREG(st.st_mode))
      head += std::to_string(st.st_mode & 07777) + " " + std::to_string(st.st_size) + " " +
              std::to_string(st.st_mtim.tv_sec) + "." + std::to_string(st.st_mtim.tv_nsec) + "\n";
    sum_.add(head);
    if (S_ISDIR(st.st_mode)) return add_folder(at, name);
    if (S_ISCHR(st.st_mode)) return ok();  // of an overlay: there is no such file
    return S_ISLNK(st.st_mode) ? add_link(at, name) : add_file(at, name);
  }

  std::string text() const {
    std::array<char, 8> bytes;
    for (std::size_t i = 0; i < bytes.size(); ++i)
      bytes[i] = static_cast<char>(sum_.value() >> (8 * (bytes.size() - 1 - i)));
    return base::hex({bytes.data(), bytes.size()});
  }

 private:
  static Error failed(const char* name) { return base::errno_error("read " + std::string(name)); }

  Result<> add_folder(int at, const char* name) {
    base::Fd own(::openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!own) return failed(name);
    int again = ::fcntl(own.get(), F_DUPFD_CLOEXEC, 0);
    std::unique_ptr<DIR, int (*)(DIR*)> folder(again < 0 ? nullptr : ::fdopendir(again),
                                               ::closedir);
    if (!folder) {
      if (again >= 0) ::close(again);
      return failed(name);
    }
    std::set<std::string> children;
    for (errno = 0; dirent* entry = ::readdir(folder.get()); errno = 0)
      if (std::string child = entry->d_name; child != "." && child != "..")
        children.insert(std::move(child));
    if (errno != 0) return failed(name);
    folder.reset();
    for (auto& child : children) SPELL_TRY(add(own.get(), child.c_str(), false));
    sum_.add(std::string_view("/", 1));
    return ok();
  }

  Result<> add_link(int at, const char* name) {
    char target[PATH_MAX];
    ssize_t n = ::readlinkat(at, name, target, sizeof target);
    if (n < 0) return failed(name);
    sum_.add(std::string(target, static_cast<std::size_t>(n)) + '\0');
    return ok();
  }

  Result<> add_file(int at, const char* name) {
    base::Fd file(::openat(at, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    if (!file) return failed(name);
    for (;;) {
      if (stop_.stop_requested()) return base::error("canceled", "the check was given up");
      ssize_t n = ::read(file.get(), buffer_.data(), buffer_.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return failed(name);
      if (n == 0) return ok();
      sum_.add({buffer_.data(), static_cast<std::size_t>(n)});
    }
  }

  std::stop_token stop_;
  base::Checksum sum_;
  std::string buffer_ = std::string(1 << 20, '\0');
};

}  // namespace

Result<std::string> tree_sum(const std::string& path, std::stop_token stop) {
  Summer summer(std::move(stop));
  SPELL_TRY(summer.add(AT_FDCWD, path.c_str(), true));
  return summer.text();
}

}  // namespace spell::worker
