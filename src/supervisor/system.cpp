#include "supervisor/system.hpp"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "supervisor/mount.hpp"
#include "supervisor/mount_table.hpp"

namespace spell::supervisor {

namespace {

/// Where packages put their files.
constexpr const char* folders[] = {"bin",    "etc", "lib",  "lib32", "lib64",
                                   "libx32", "opt", "sbin", "usr",   "var"};
constexpr size_t most_inner = 1000;  ///< mounts in these folders

bool is_folder(const char* path) {
  struct stat st;
  return lstat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool path_at(char (&out)[PATH_MAX], const char* folder, const char* name) {
  char rest[64] = "/";
  return strlen(name) < sizeof rest - 1 && join(out, folder, strcat(rest, name));
}

bool fail_mount(Failure& failure, const char* what, const char* name) {
  failure.error = errno;
  failure.of_mount = true;
  strcpy(failure.what, what);
  strncat(failure.what, name, sizeof failure.what - 1 - strlen(what));
  return false;
}

/// A folder of the overlay is what its upper one is.
bool make_as(const char* path, const char* like) {
  struct stat st;
  return stat(like, &st) == 0 && (mkdir(path, 0755) == 0 || errno == EEXIST) &&
         chown(path, st.st_uid, st.st_gid) == 0 && chmod(path, st.st_mode & 07777) == 0;
}

}  // namespace

bool SystemFolders::make_one(const char* name, bool in_user_namespace) {
  char below[PATH_MAX], layer[PATH_MAX], upper[PATH_MAX], work[PATH_MAX];
  if (!path_at(below, "/", name)) return false;
  bool there = is_folder(below);
  auto& made = overlays_[count_];
  made.tree = -1;
  if (is_build()) {
    if (!there) return true;
    if (!path_at(upper, system_.upper, name) || !path_at(work, system_.work, name) ||
        !make_as(upper, below) || (mkdir(work, 0700) != 0 && errno != EEXIST))
      return false;
    made.tree = make_system_overlay({below, nullptr, upper, work}, in_user_namespace);
  } else {
    if (!path_at(layer, system_.layer, name)) return false;
    if (!is_folder(layer)) return true;
    made.tree = there ? make_system_overlay({below, layer, nullptr, nullptr}, in_user_namespace)
                      : clone_read_only(layer);
  }
  if (made.tree < 0) return false;
  strcpy(made.name, name);
  ++count_;
  return true;
}

/// The topmost mounts below the folder, each with what is mounted in it.
void SystemFolders::find_inner(const MountTable& mounts, const char* folder) {
  const char* rest;
  for (auto& mounted : mounts) {
    if (!is_below(mounted.point, folder, rest) || !*rest) continue;
    bool in_other = false;
    for (auto& other : mounts)
      in_other = in_other || (is_below(other.point, folder, rest) && *rest &&
                              is_below(mounted.point, other.point, rest) && *rest);
    for (size_t i = 0; i < inner_count_; ++i)
      in_other = in_other || strcmp(inner_[i].point, mounted.point) == 0;
    if (in_other || inner_count_ == most_inner) continue;
    // One that cannot be had is left out, as everywhere else.
    int tree = is_build() ? clone_read_only(mounted.point) : clone_tree(mounted.point);
    if (tree >= 0) inner_[inner_count_++] = {strdup(mounted.point), tree};
  }
}

/// The folder may be the same as another one of the host, in which something is hidden.
bool SystemFolders::find_hidden(const MountTable& mounts, const char* folder,
                                const List<const char*>& hidden) {
  static char real[PATH_MAX], place[PATH_MAX], own[PATH_MAX], other[PATH_MAX];
  const char* rest;
  const Mounted* home = mounts.home_of(folder);
  if (!home || !is_below(folder, home->point, rest) || !join(own, home->root, rest)) return false;
  for (const char* path : hidden) {
    if (!realpath(path, real)) continue;
    const Mounted* its = mounts.home_of(real);
    if (!its || strcmp(its->device, home->device) != 0) continue;
    if (!is_below(real, its->point, rest) || !join(place, its->root, rest)) return false;
    if (!is_below(place, own, rest)) continue;
    if (!join(other, folder, rest)) return false;
    if (strcmp(other, real) == 0) continue;
    hidden_.items[hidden_.size++] = strdup(other);
  }
  return true;
}

bool SystemFolders::make(const List<const char*>& hidden, bool in_user_namespace, bool user,
                         Failure& failure) {
  if (!system_.there()) return true;
  MountTable mounts;
  inner_ = static_cast<Inner*>(calloc(most_inner + 1, sizeof(Inner)));
  hidden_.items = static_cast<const char**>(
      calloc(hidden.size * (sizeof folders / sizeof *folders) + 1, sizeof(char*)));
  if (!inner_ || !hidden_.items || !mounts.read())
    return fail_mount(failure, "read the table of mounts", "");
  for (const char* name : folders) {
    size_t before = count_;
    if (!make_one(name, in_user_namespace))
      return fail_mount(failure, "lay an overlay over /", name);
    if (count_ == before) continue;
    char path[PATH_MAX];
    if (!path_at(path, "/", name)) return false;
    find_inner(mounts, path);
    if (!find_hidden(mounts, path, hidden))
      return fail_mount(failure, "find what is hidden in /", name);
    // Everybody's, as it is on the host.
    if (strcmp(name, "var") == 0 && !is_build() && !user)
      if (int tree = clone_tree("/var/tmp"); tree >= 0)
        inner_[inner_count_++] = {strdup("/var/tmp"), tree};
  }
  const char* rest;
  if (is_build() && realpath("/etc/resolv.conf", resolver_) && is_below(resolver_, "/run", rest))
    resolver_tree_ = clone_read_only(resolver_);
  return true;
}

bool SystemFolders::take_over(const char* name, bool& failed) {
  for (size_t i = 0; i < count_; ++i) {
    if (strcmp(overlays_[i].name, name) != 0) continue;
    failed = mkdir(name, 0755) != 0 || !attach_tree(overlays_[i].tree, name);
    return true;
  }
  return false;
}

bool SystemFolders::make_surroundings() const {
  for (const char* name : {"dev", "home", "root", "run", "sys", "tmp"})
    if (!make_own_folder(name)) return false;
  if (mount("run", "run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=16m") != 0 ||
      mkdir("run/lock", 0755) != 0 || chmod("run/lock", 01777) != 0 ||
      mount("dev", "dev", "tmpfs", MS_NOSUID, "mode=755,size=16m") != 0 || chdir("dev") != 0)
    return false;
  for (const char* device : {"full", "null", "random", "tty", "urandom", "zero"})
    supervisor::take_over("/dev", device, DT_CHR);
  const char* links[][2] = {{"/proc/self/fd", "fd"},
                            {"/proc/self/fd/0", "stdin"},
                            {"/proc/self/fd/1", "stdout"},
                            {"/proc/self/fd/2", "stderr"}};
  bool done = mkdir("shm", 0755) == 0 && chmod("shm", 01777) == 0;
  for (auto& link : links) done = symlink(link[0], link[1]) == 0 && done;
  return chdir("..") == 0 && done;
}

bool SystemFolders::attach_mounts() {
  for (size_t i = 0; i < inner_count_; ++i)
    if (!attach_tree(inner_[i].tree, inner_[i].point) && errno != ENOENT && errno != ENOTDIR)
      return false;
  return true;
}

bool SystemFolders::fence_kernel_settings() const {
  for (const char* path : {"/proc/sys", "/proc/sysrq-trigger"})
    if (access(path, F_OK) == 0 &&
        (mount(path, path, nullptr, MS_BIND, nullptr) != 0 ||
         mount(nullptr, path, nullptr,
               MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) != 0))
      return false;
  return true;
}

bool SystemFolders::attach_resolver(Places& places) {
  if (resolver_tree_ < 0) return true;
  struct stat st;
  char real[PATH_MAX];
  if (stat("/run", &st) != 0) return false;
  places.allow(st.st_dev);
  return places.make(resolver_, false, real) && attach_tree(resolver_tree_, real);
}

}  // namespace spell::supervisor
