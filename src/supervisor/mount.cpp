#include "supervisor/mount.hpp"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "supervisor/spec.hpp"

namespace spell::supervisor {

namespace {

constexpr unsigned fences = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;

bool set_text(int context, const char* key, const char* value) {
  return syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING, key, value, 0) == 0;
}

bool set_flag(int context, const char* name) {
  return syscall(SYS_fsconfig, context, FSCONFIG_SET_FLAG, name, nullptr, 0) == 0;
}

/// A folder as an option of an overlay: by a descriptor, for a path may have colons and commas in
/// it, which would mean something there.
class FolderOption {
 public:
  explicit FolderOption(const char* path)
      : FolderOption(open(path, O_PATH | O_DIRECTORY | O_CLOEXEC)) {}
  /// Its own from now on.
  explicit FolderOption(int file) : file_(file), number_(file) {}
  ~FolderOption() {
    if (file_ >= 0) close(file_);
  }
  FolderOption(const FolderOption&) = delete;
  bool set(int context, const char* key) const {
    char path[48] = "";
    return file_ >= 0 && set_text(context, key, append_to(path));
  }
  /// This one over `below`.
  bool set_over(const FolderOption& below, int context) const {
    char paths[96] = "";
    append_to(paths);
    return file_ >= 0 && below.file_ >= 0 &&
           set_text(context, "lowerdir", below.append_to(strcat(paths, ":")));
  }

 private:
  char* append_to(char* text) const {
    return strcat(strcat(text, "/proc/self/fd/"), number_.text());
  }
  int file_;
  Digits number_;
};

/// Ends the context. -1 with errno.
int finish_mount(int context, bool done, unsigned attributes) {
  int made = -1;
  if (done && syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) == 0)
    made = static_cast<int>(syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, attributes));
  int error = errno;
  close(context);
  errno = error;
  return made;
}

int open_context(const char* type) {
  return static_cast<int>(syscall(SYS_fsopen, type, FSOPEN_CLOEXEC));
}

/// `layer` over `below`, to be read only.
int make_read_only_overlay(const FolderOption& layer, const FolderOption& below,
                           bool in_user_namespace) {
  int context = open_context("overlay");
  if (context < 0) return -1;
  return finish_mount(
      context,
      layer.set_over(below, context) && (!in_user_namespace || set_flag(context, "userxattr")),
      fences | MOUNT_ATTR_RDONLY);
}

int make_empty_folder() {
  int context = open_context("tmpfs");
  return context < 0 ? -1 : finish_mount(context, true, fences | MOUNT_ATTR_RDONLY);
}

int make_overlay(const Mount& mount, bool in_user_namespace, bool is_volatile) {
  int context = open_context("overlay");
  if (context < 0) return -1;
  FolderOption lower(mount.from), upper(mount.upper), work(mount.work);
  return finish_mount(context,
                      lower.set(context, "lowerdir") && upper.set(context, "upperdir") &&
                          work.set(context, "workdir") &&
                          (!in_user_namespace || set_flag(context, "userxattr")) &&
                          (!is_volatile || set_flag(context, "volatile")),
                      fences);
}

}  // namespace

int clone_tree(const char* path) {
  return static_cast<int>(
      syscall(SYS_open_tree, AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE));
}

int clone_read_only(const char* path) {
  int tree = clone_tree(path);
  if (tree < 0) return -1;
  mount_attr attributes{};
  attributes.attr_set = MOUNT_ATTR_RDONLY | fences;
  if (syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attributes,
              sizeof attributes) == 0)
    return tree;
  int error = errno;
  close(tree);
  errno = error;
  return -1;
}

int make_owner_map(unsigned user) {
  int alive[2];
  if (pipe2(alive, O_CLOEXEC) != 0) return -1;
  long child = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, nullptr, nullptr, nullptr, nullptr);
  if (child == 0) {  // holds the namespace until it has a descriptor
    close(alive[1]);
    char byte;
    (void)!read(alive[0], &byte, 1);
    _exit(0);
  }
  int map = -1, error = errno;
  if (child > 0) {
    char path[64], line[32] = "0 ";
    strcat(strcat(line, Digits(user).text()), " 1");
    bool done = true;
    for (const char* name : {"/uid_map", "/gid_map"}) {
      strcat(strcat(strcpy(path, "/proc/"), Digits(child).text()), name);
      int file = open(path, O_WRONLY | O_CLOEXEC);
      done = done && file >= 0 &&
             write(file, line, strlen(line)) == static_cast<ssize_t>(strlen(line));
      if (!done) error = errno;
      if (file >= 0) close(file);
    }
    strcat(strcat(strcpy(path, "/proc/"), Digits(child).text()), "/ns/user");
    if (done && (map = open(path, O_RDONLY | O_CLOEXEC)) < 0) error = errno;
  }
  close(alive[0]);
  close(alive[1]);
  while (child > 0 && waitpid(static_cast<pid_t>(child), nullptr, 0) < 0 && errno == EINTR) {
  }
  errno = error;
  return map;
}

int clone_for_user(const char* path, int owner_map) {
  int tree =
      static_cast<int>(syscall(SYS_open_tree, AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
  if (tree < 0) return -1;
  mount_attr attributes{};
  attributes.attr_set = MOUNT_ATTR_IDMAP;
  attributes.userns_fd = static_cast<__u64>(owner_map);
  if (syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &attributes, sizeof attributes) == 0)
    return tree;
  int error = errno;
  close(tree);
  errno = error;
  return -1;
}

int make_mount(const Mount& mount, bool in_user_namespace) {
  if (!*mount.upper) return clone_read_only(mount.from);
  // What a run writes there goes with it, so nothing of it has to reach the disk.
  int made = make_overlay(mount, in_user_namespace, true);
  return made >= 0 ? made : make_overlay(mount, in_user_namespace, false);
}

int make_system_overlay(const SystemFolder& folder, bool in_user_namespace) {
  FolderOption below(folder.below);
  if (folder.layer) {
    FolderOption layer(folder.layer);
    int made = make_read_only_overlay(layer, below, in_user_namespace);
    if (made >= 0 || errno != ELOOP) return made;
    // An overlay takes no folder that lies in another one of its own: an overlay of the host's
    // folder over nothing is a file system of its own.
    FolderOption nothing(make_empty_folder());
    FolderOption apart(make_read_only_overlay(below, nothing, in_user_namespace));
    return make_read_only_overlay(layer, apart, in_user_namespace);
  }
  int context = open_context("overlay");
  if (context < 0) return -1;
  FolderOption upper(folder.upper), work(folder.work);
  // What it makes is kept as plain files: no notes of the kernel's that lead elsewhere. What it
  // makes is saved when it is whole, so nothing of it has to reach the disk before.
  return finish_mount(
      context,
      below.set(context, "lowerdir") && upper.set(context, "upperdir") &&
          work.set(context, "workdir") && set_text(context, "redirect_dir", "off") &&
          set_text(context, "metacopy", "off") && set_text(context, "index", "off") &&
          set_flag(context, "volatile") && (!in_user_namespace || set_flag(context, "userxattr")),
      MOUNT_ATTR_NODEV);
}

int make_root_overlay(const Root& root, bool in_user_namespace) {
  constexpr size_t most = 8;
  int files[most];
  char lower[most * 32] = "";
  size_t count = 0;
  bool done = root.lower.size <= most;
  for (; done && count < root.lower.size; ++count) {
    files[count] = open(root.lower.items[count], O_PATH | O_DIRECTORY | O_CLOEXEC);
    done = files[count] >= 0;
    if (count > 0) strcat(lower, ":");
    strcat(strcat(lower, "/proc/self/fd/"), Digits(files[count]).text());
  }
  int context = done ? open_context("overlay") : -1;
  if (context >= 0) {
    FolderOption upper(root.upper), work(root.work);
    done = set_text(context, "lowerdir", lower) && upper.set(context, "upperdir") &&
           work.set(context, "workdir") && set_flag(context, "volatile") &&
           (!in_user_namespace || set_flag(context, "userxattr"));
    // As of a build over the host's system.
    for (const char* option : {"redirect_dir", "metacopy", "index"})
      done = done && (!root.build || set_text(context, option, "off"));
    // Who installs packages needs what their programs may become.
    context = finish_mount(context, done, root.build ? unsigned{MOUNT_ATTR_NODEV} : fences);
  }
  int error = errno;
  while (count > 0) close(files[--count]);
  errno = error;
  return context;
}

bool attach_tree(int tree, const char* path) {
  if (syscall(SYS_move_mount, tree, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH) != 0) return false;
  close(tree);
  return true;
}

}  // namespace spell::supervisor
