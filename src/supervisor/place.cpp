#include "supervisor/place.hpp"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

namespace spell::supervisor {

namespace {

constexpr const char* level_place = "/.level";
constexpr int level_limit = 20'000;  ///< entries of one folder: each becomes a mount

bool is_dot(const char* name) { return strcmp(name, ".") == 0 || strcmp(name, "..") == 0; }

bool is_in_spell(const char* path) {
  return strncmp(path, "/spell", 6) == 0 && (path[6] == 0 || path[6] == '/');
}

/// `path` becomes `path`/`name`; false if that is too long.
bool append_name(char* path, const char* name, size_t size) {
  size_t used = strlen(path);
  if (used + size + 2 > PATH_MAX) {
    errno = ENAMETOOLONG;
    return false;
  }
  path[used] = '/';
  memcpy(path + used + 1, name, size);
  path[used + 1 + size] = 0;
  return true;
}

bool make_here(const char* path, bool folder) {
  return folder ? mkdir(path, 0755) == 0 : mknod(path, S_IFREG | 0644, 0) == 0;
}

}  // namespace

void take_over(const char* folder, const char* name, unsigned char type) {
  char path[PATH_MAX] = "";
  size_t size = strlen(folder);
  if (size >= sizeof path) return;
  if (strcmp(folder, "/") != 0) memcpy(path, folder, size + 1);
  if (!append_name(path, name, strlen(name))) return;
  if (type == DT_UNKNOWN) {
    struct stat st;
    if (lstat(path, &st) != 0) return;
    type = S_ISDIR(st.st_mode) ? DT_DIR : S_ISLNK(st.st_mode) ? DT_LNK : DT_REG;
  }
  if (type == DT_LNK) {
    char target[PATH_MAX];
    ssize_t n = readlink(path, target, sizeof target - 1);
    if (n < 0) return;
    target[n] = 0;
    (void)!symlink(target, name);
    return;
  }
  if (make_here(name, type == DT_DIR) && mount(path, name, nullptr, MS_BIND | MS_REC, nullptr) != 0)
    type == DT_DIR ? rmdir(name) : unlink(name);
}

bool make_own_folder(const char* name) {
  struct stat st;
  bool there = lstat(name, &st) == 0;
  if (there && S_ISDIR(st.st_mode)) return true;
  return (!there || unlink(name) == 0) && mkdir(name, 0755) == 0;
}

void Places::allow(dev_t device) {
  if (count_ < sizeof devices_ / sizeof devices_[0]) devices_[count_++] = device;
}

bool Places::may_make_in(const char* folder) const {
  if (is_in_spell(folder)) return true;
  struct stat st;
  if (stat(*folder ? folder : "/", &st) != 0) return false;
  for (unsigned i = 0; i < count_; ++i)
    if (devices_[i] == st.st_dev) return true;
  return false;
}

/// A mount whose owners are mapped knows no root: there root makes things as the run's user.
bool Places::make_one(const char* path, bool folder) const {
  if (user_ == 0 || !is_in_spell(path)) return make_here(path, folder);
  setfsgid(user_);
  setfsuid(user_);
  bool made = make_here(path, folder);
  int error = errno;
  setfsuid(0);
  setfsgid(0);
  errno = error;
  return made;
}

bool Places::replace_level(const char* folder) {
  struct stat before, after;
  DIR* entries = opendir(folder);
  if (!entries || fstat(dirfd(entries), &before) != 0) return false;
  bool done =
      mkdir(level_place, 0700) == 0 &&
      mount("spell", level_place, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=25%") == 0 &&
      chdir(level_place) == 0;
  int count = 0;
  while (dirent* entry = done ? readdir(entries) : nullptr) {
    if (is_dot(entry->d_name)) continue;
    if (++count > level_limit) {
      errno = E2BIG;
      done = false;
      break;
    }
    take_over(folder, entry->d_name, entry->d_type);
  }
  closedir(entries);
  // An owner that is not known in this user namespace cannot be given; then it is the run's own.
  done = done && ((void)!chown(".", before.st_uid, before.st_gid), true) &&
         chmod(".", before.st_mode & 07777) == 0 && stat(".", &after) == 0 &&
         mount(level_place, folder, nullptr, MS_MOVE, nullptr) == 0;
  int error = errno;
  if (chdir("/") != 0 || !done) {
    umount2(level_place, MNT_DETACH);
    done = false;
  }
  rmdir(level_place);
  if (done) allow(after.st_dev);
  errno = error;
  return done;
}

bool Places::make(const char* path, bool folder, char* real) {
  real[0] = 0;
  for (const char* at = path; *at;) {
    while (*at == '/') ++at;
    size_t size = strcspn(at, "/");
    if (size == 0) break;
    bool last = at[size + strspn(at + size, "/")] == 0, wants_folder = !last || folder;
    char parent[PATH_MAX];
    strcpy(parent, real);
    if (!append_name(real, at, size)) return false;
    at += size;
    struct stat st;
    if (lstat(real, &st) != 0) {
      if (errno != ENOENT) return false;
      // One that may not be written to is as good as the host's.
      bool made = may_make_in(parent) && make_one(real, wants_folder);
      if (!made && is_in_spell(parent) && errno != EROFS) return false;
      if (!made && (!replace_level(*parent ? parent : "/") || !make_one(real, wants_folder)))
        return false;
      continue;
    }
    if (S_ISLNK(st.st_mode)) {
      if (is_in_spell(parent)) {
        errno = ELOOP;
        return false;
      }
      char target[PATH_MAX];
      if (!realpath(real, target)) return false;
      strcpy(real, target);
      if (stat(real, &st) != 0) return false;
    }
    if (S_ISDIR(st.st_mode) == wants_folder) continue;
    errno = wants_folder ? ENOTDIR : EISDIR;
    return false;
  }
  return real[0] != 0;
}

}  // namespace spell::supervisor
