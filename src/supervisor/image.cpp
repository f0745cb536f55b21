#include "supervisor/image.hpp"

#include <dirent.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "supervisor/mount.hpp"
#include "supervisor/place.hpp"

namespace spell::supervisor {

namespace {

/// An empty file, in place of what else stands at `path`.
bool make_own_file(const char* path) {
  struct stat st;
  bool there = lstat(path, &st) == 0;
  if (there && S_ISREG(st.st_mode)) return true;
  bool gone = !there || (S_ISDIR(st.st_mode) ? rmdir(path) : unlink(path)) == 0;
  return gone && mknod(path, S_IFREG | 0644, 0) == 0;
}

}  // namespace

bool ImageRoot::make(bool in_user_namespace) {
  if (!there()) return true;
  for (int i = 0; i < 2; ++i) {
    char path[32] = "/etc/";
    files_[i] = clone_read_only(strcat(path, names_[i]));
  }
  tree_ = make_root_overlay(root_, in_user_namespace);
  return tree_ >= 0;
}

bool ImageRoot::enter(const char* place) {
  if (!attach_tree(tree_, place) || chdir(place) != 0) return false;
  for (const char* name : {"dev", "etc", "proc", "run", "spell", "spell-tmp", "sys", "tmp", "var"})
    if (!make_own_folder(name)) return false;
  if (chdir("var") != 0 || !make_own_folder("tmp") || chdir("..") != 0) return false;
  if (root_.build) return true;
  for (const char* name : {"dev", "sys"}) {
    char path[16] = "/";
    if (mount(strcat(path, name), name, nullptr, MS_BIND | MS_REC, nullptr) != 0) return false;
  }
  return true;
}

bool ImageRoot::attach_resolver() {
  if (!there()) return true;
  for (int i = 0; i < 2; ++i) {
    char path[32] = "/etc/";
    strcat(path, names_[i]);
    if (files_[i] >= 0 && (!make_own_file(path) || !attach_tree(files_[i], path))) return false;
  }
  return true;
}

}  // namespace spell::supervisor
