#include "backup/folder.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <memory>

#include "base/text.hpp"
#include "spellfs/node.hpp"

namespace spell::backup {

namespace {

base::Fd open_at(int folder, const std::string& name, int flags) {
  int fd;
  // O_NONBLOCK: a fifo must not hold us up, nor a lease of somebody else.
  do fd = ::openat(folder, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | flags);
  while (fd < 0 && errno == EINTR);
  return base::Fd(fd);
}

}  // namespace

Result<Folder> Folder::open(const std::string& path) {
  auto top = base::open(path, O_RDONLY | O_DIRECTORY);
  if (!top) return top.error();
  Folder out;
  out.path_ = path;
  out.top_ = std::move(*top);
  return out;
}

base::Fd Folder::parent(const std::string& path, std::string& name) const {
  auto parts = base::split(path, '/');
  name = parts.back();
  base::Fd folder = open_at(top_.get(), ".", O_DIRECTORY);
  for (std::size_t i = 0; folder && i + 1 < parts.size(); ++i)
    folder = open_at(folder.get(), parts[i], O_DIRECTORY);
  return folder;
}

base::Fd Folder::open_below(const std::string& path, int flags) const {
  std::string name;
  base::Fd folder = parent(path, name);
  return folder ? open_at(folder.get(), name, flags) : base::Fd();
}

base::Fd Folder::open_folder(const std::string& path) const {
  return path.empty() ? open_at(top_.get(), ".", O_DIRECTORY) : open_below(path, O_DIRECTORY);
}

base::Fd Folder::open_file(const std::string& path) const { return open_below(path, 0); }

std::optional<struct stat> Folder::state(const std::string& path) const {
  std::string name;
  base::Fd folder = parent(path, name);
  struct stat st;
  if (!folder || ::fstatat(folder.get(), name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0)
    return std::nullopt;
  return st;
}

std::optional<std::string> Folder::target(const std::string& path) const {
  std::string name;
  base::Fd folder = parent(path, name);
  if (!folder) return std::nullopt;
  char target[spellfs::max_target + 1];
  ssize_t size = ::readlinkat(folder.get(), name.c_str(), target, sizeof target);
  if (size <= 0 || size > static_cast<ssize_t>(spellfs::max_target)) return std::nullopt;
  return std::string(target, static_cast<std::size_t>(size));
}

std::vector<std::string> names_in(const base::Fd& folder) {
  std::vector<std::string> out;
  int copy = ::fcntl(folder.get(), F_DUPFD_CLOEXEC, 0);
  if (copy < 0) return out;
  std::unique_ptr<DIR, int (*)(DIR*)> list(::fdopendir(copy), ::closedir);
  if (!list) {
    ::close(copy);
    return out;
  }
  while (dirent* entry = ::readdir(list.get()))
    if (std::string name = entry->d_name; name != "." && name != "..") out.push_back(name);
  return out;
}

}  // namespace spell::backup
