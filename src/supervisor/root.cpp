#include "supervisor/root.hpp"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/mount.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "supervisor/hide.hpp"

namespace spell::supervisor {

namespace {

bool fail(Failure& failure, const char* what, const char* name = "") {
  failure.error = errno;
  size_t used = strnlen(what, sizeof failure.what - 1);
  memcpy(failure.what, what, used);
  strncpy(failure.what + used, name, sizeof failure.what - 1 - used);
  return false;
}

/// A copy of the mounts at a path, attached nowhere yet: it outlives the old root.
int clone_tree(const char* path) {
  return static_cast<int>(
      syscall(SYS_open_tree, AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE));
}

bool attach_tree(int tree, const char* path) {
  if (syscall(SYS_move_mount, tree, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH) != 0) return false;
  close(tree);
  return true;
}

bool ours(const char* name) {
  for (const char* own : {".", "..", "proc", "spell", "spell-tmp"})
    if (strcmp(name, own) == 0) return true;
  return false;
}

/// Makes /NAME of the host appear in the current folder. One that the host itself cannot serve (a
/// dead network mount) is left out.
void take_over(const char* name, unsigned char type) {
  char path[NAME_MAX + 2] = "/";
  strncpy(path + 1, name, NAME_MAX);
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
  bool made = type == DT_DIR ? mkdir(name, 0755) == 0 : mknod(name, S_IFREG | 0644, 0) == 0;
  if (made && mount(path, name, nullptr, MS_BIND | MS_REC, nullptr) != 0)
    type == DT_DIR ? rmdir(name) : unlink(name);
}

bool take_over_all() {
  DIR* root = opendir("/");
  if (!root) return false;
  while (dirent* entry = readdir(root))
    if (!ours(entry->d_name)) take_over(entry->d_name, entry->d_type);
  closedir(root);
  return true;
}

int open_folder(const char* path) { return open(path, O_PATH | O_DIRECTORY | O_CLOEXEC); }

/// From a chroot to the root of this mount namespace: who stands outside of his root may go up.
bool step_out_of_chroot() {
  int inside = open_folder("/");
  bool done = inside >= 0 && chroot("/proc") == 0 && fchdir(inside) == 0;
  for (int depth = 0; done && depth < 256; ++depth) done = chdir("..") == 0;
  close(inside);
  return done && chroot(".") == 0;
}

/// What the host mounts and unmounts from now on is seen here, nothing that is mounted here is seen
/// there.
bool become_slave_of_host() {
  if (mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) == 0) return true;
  if (errno != EINVAL) return false;
  int inside = open_folder("/");  // in a chroot "/" is no mount
  bool done = inside >= 0 && step_out_of_chroot() &&
              mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) == 0 &&
              fchdir(inside) == 0 && chroot(".") == 0;
  close(inside);
  return done;
}

/// pivot_root to the current folder; the old root then lies on top of it.
bool pivot() {
  if (syscall(SYS_pivot_root, ".", ".") == 0) return true;
  if (errno != EINVAL) return false;
  int target = open_folder(".");
  bool done = target >= 0 && step_out_of_chroot() && fchdir(target) == 0 &&
              syscall(SYS_pivot_root, ".", ".") == 0;
  close(target);
  return done;
}

/// Makes the place for a mount: below /spell and in the run root's own top, never in a folder of
/// the host.
bool make_place(const char* path, bool folder, dev_t own_device) {
  char part[PATH_MAX];
  size_t size = strlen(path);
  if (size == 0 || size >= sizeof part || path[0] != '/') {
    errno = EINVAL;
    return false;
  }
  struct stat parent, st;
  if (stat("/", &parent) != 0) return false;
  for (size_t at = 1; at <= size; ++at) {
    if (at < size && path[at] != '/') continue;
    memcpy(part, path, at);
    part[at] = 0;
    if (stat(part, &st) != 0) {
      bool last = at == size;
      if (errno != ENOENT || (parent.st_dev != own_device && strncmp(path, "/spell/", 7) != 0))
        return false;
      if (last && !folder ? mknod(part, S_IFREG | 0644, 0) != 0 : mkdir(part, 0755) != 0)
        return false;
      if (stat(part, &st) != 0) return false;
    }
    parent = st;
  }
  return true;
}

}  // namespace

bool build_root(const Spec& spec, const char* folder, Failure& failure) {
  if (!become_slave_of_host()) return fail(failure, "take over the host's mounts");

  char path[PATH_MAX];
  auto below = [&](const char* name) {
    size_t size = strnlen(folder, PATH_MAX - 16);
    memcpy(path, folder, size);
    strcpy(path + size, name);
    return path;
  };
  int spell = clone_tree(below("/spell")), tmp = clone_tree(below("/tmp"));
  if (spell < 0 || tmp < 0) return fail(failure, "bind ", path);
  int* binds = static_cast<int*>(calloc(spec.binds.size + 1, sizeof(int)));
  for (size_t i = 0; i < spec.binds.size; ++i) {
    binds[i] = clone_tree(spec.binds.items[i].from);
    if (binds[i] >= 0) continue;
    failure.of_mount = true;
    return fail(failure, "mount ", spec.binds.items[i].from);
  }

  // The new root is built over /proc: the one folder that every host has, and that is not taken
  // over.
  if (mount("spell", "/proc", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=1m") != 0 ||
      chdir("/proc") != 0)
    return fail(failure, "mount a tmpfs");
  struct stat own;
  if (stat(".", &own) != 0 || !take_over_all()) return fail(failure, "read /");
  for (const char* name : {"proc", "spell", "spell-tmp", hidden_cover + 1})
    if (mkdir(name, 0755) != 0) return fail(failure, "make /", name);
  if (mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) != 0)
    return fail(failure, "mount /proc");
  if (!pivot()) return fail(failure, "change the root");
  if (umount2(".", MNT_DETACH) != 0 || chdir("/") != 0) return fail(failure, "leave the old root");

  // Before the run's own mounts: those may come from a hidden folder, and are meant to be seen.
  for (const char* hidden : spec.hidden)
    if (!hide(hidden)) return fail(failure, "hide ", hidden);
  rmdir(hidden_cover);
  if (!attach_tree(spell, "/spell") || !attach_tree(tmp, "/spell-tmp"))
    return fail(failure, "mount /spell");
  for (size_t i = 0; i < spec.binds.size; ++i) {
    struct stat st;
    bool is_folder = fstat(binds[i], &st) == 0 && S_ISDIR(st.st_mode);
    if (make_place(spec.binds.items[i].to, is_folder, own.st_dev) &&
        attach_tree(binds[i], spec.binds.items[i].to))
      continue;
    failure.of_mount = true;
    return fail(failure, "mount on ", spec.binds.items[i].to);
  }
  free(binds);
  for (auto& link : spec.links) {
    // The place is made as a folder's would be, so that its parents are there; the link takes its
    // name.
    if (make_place(link.to, true, own.st_dev) && rmdir(link.to) == 0 &&
        symlink(link.from, link.to) == 0)
      continue;
    return fail(failure, "make the link ", link.to);
  }

  if (mount(nullptr, "/", nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV,
            nullptr) != 0)
    return fail(failure, "make / read-only");
  return true;
}

void drop_capabilities() {
  unsigned long long keep = 0;
  for (int kept :
       {CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID, CAP_KILL, CAP_SETGID, CAP_SETUID,
        CAP_SETPCAP, CAP_NET_BIND_SERVICE, CAP_NET_BROADCAST, CAP_NET_RAW, CAP_IPC_LOCK,
        CAP_SYS_CHROOT, CAP_SYS_NICE, CAP_SYS_RESOURCE, CAP_LEASE, CAP_AUDIT_WRITE, CAP_SETFCAP})
    keep |= 1ULL << kept;
  for (int capability = 0; capability < 64; ++capability)
    if (!(keep >> capability & 1) && prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0 &&
        errno == EINVAL)
      break;
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct sets[2] = {};
  if (syscall(SYS_capget, &header, sets) != 0) return;
  for (int half = 0; half < 2; ++half) {
    auto mask = static_cast<unsigned>(keep >> 32 * half);
    sets[half].effective &= mask;
    sets[half].permitted &= mask;
    sets[half].inheritable &= mask;
  }
  syscall(SYS_capset, &header, sets);
  prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
}

}  // namespace spell::supervisor
