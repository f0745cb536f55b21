#include "supervisor/hide.hpp"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "supervisor/mount_table.hpp"

namespace spell::supervisor {

namespace {

bool cover(const char* path) {
  struct stat st;
  if (stat(path, &st) != 0) return true;
  return mount(S_ISDIR(st.st_mode) ? hidden_cover : "/dev/null", path, nullptr, MS_BIND, nullptr) ==
         0;
}

}  // namespace

bool hide(const char* path) {
  static char real[PATH_MAX], place[PATH_MAX], other[PATH_MAX];
  struct stat st, same;
  if (!realpath(path, real) || stat(real, &st) != 0) return errno == ENOENT || errno == ENOTDIR;
  MountTable mounts;
  if (!mounts.read()) return false;

  const Mounted* home = mounts.home_of(real);
  const char* rest;
  bool done = home && is_below(real, home->point, rest) && join(place, home->root, rest);
  done = cover(real) && done;
  for (auto& mounted : mounts) {
    if (!done) break;
    if (strcmp(mounted.device, home->device) != 0) continue;
    if (is_below(place, mounted.root, rest)) {
      done = join(other, mounted.point, rest);
      if (done && stat(other, &same) == 0 && same.st_dev == st.st_dev && same.st_ino == st.st_ino)
        done = cover(other);
    } else if (is_below(mounted.root, place, rest)) {
      done = cover(mounted.point);
    }
  }
  return done;
}

}  // namespace spell::supervisor
