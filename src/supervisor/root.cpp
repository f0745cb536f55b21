#include "supervisor/root.hpp"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "supervisor/hide.hpp"
#include "supervisor/image.hpp"
#include "supervisor/mount.hpp"
#include "supervisor/place.hpp"
#include "supervisor/system.hpp"

namespace spell::supervisor {

namespace {

bool fail(Failure& failure, const char* what, const char* name = "") {
  failure.error = errno;
  size_t used = strnlen(what, sizeof failure.what - 1);
  memcpy(failure.what, what, used);
  strncpy(failure.what + used, name, sizeof failure.what - 1 - used);
  return false;
}

bool ours(const char* name) {
  for (const char* own : {".", "..", "proc", "spell", "spell-tmp"})
    if (strcmp(name, own) == 0) return true;
  return false;
}

/// What programs need of the host. The rest is its owner's: who has a user of his own gets of it
/// what is mounted for him.
bool of_the_system(const char* name) {
  for (const char* known : {"bin", "dev", "etc", "lib", "lib32", "lib64", "libx32", "nix", "opt",
                            "run", "sbin", "sys", "usr", "var"})
    if (strcmp(name, known) == 0) return true;
  return false;
}

/// Of a build of packages the links at the top (/lib) and the folders that it has overlays of.
bool take_over_all(bool only_system, SystemFolders& system) {
  DIR* root = opendir("/");
  if (!root) return false;
  bool failed = false;
  while (dirent* entry = failed ? nullptr : readdir(root)) {
    const char* name = entry->d_name;
    if (ours(name) || system.take_over(name, failed)) continue;
    if ((only_system || system.is_build()) && !of_the_system(name)) continue;
    struct stat st;
    if (system.is_build() &&
        (fstatat(dirfd(root), name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISLNK(st.st_mode)))
      continue;
    take_over("/", name, entry->d_type);
  }
  closedir(root);
  return !failed && (!system.is_build() || system.make_surroundings());
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

/// What is everybody's on the host is the run's own: its folder for temporary files, and memory
/// that its processes share.
bool attach_private_folders(int tmp, int var_tmp) {
  struct stat st;
  if (!attach_tree(tmp, "/tmp")) return false;
  if (stat("/var/tmp", &st) != 0)
    close(var_tmp);
  else if (!attach_tree(var_tmp, "/var/tmp"))
    return false;
  return stat("/dev/shm", &st) != 0 ||
         mount("shm", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777") == 0;
}

/// Lays copies that look like the user's over the run's folders and what it mounts, in this mount
/// namespace alone.
bool give_to_user(const Spec& spec, const char* folder, int owner_map, Failure& failure) {
  size_t count = spec.mounts.size + 2;
  auto* trees = static_cast<int*>(calloc(count, sizeof(int)));
  char own[2][PATH_MAX];
  for (int i = 0; i < 2; ++i)
    strcat(strncpy(own[i], folder, PATH_MAX - 16), i == 0 ? "/spell" : "/tmp");
  auto path_of = [&](size_t i) { return i < 2 ? own[i] : spec.mounts.items[i - 2].from; };
  // All are copied before one is covered: one may lie in another, or be there twice.
  for (size_t i = 0; i < count; ++i) {
    failure.of_mount = i >= 2;
    trees[i] = clone_for_user(path_of(i), owner_map);
    if (trees[i] < 0) return fail(failure, "give its user ", path_of(i));
  }
  for (size_t i = 0; i < count; ++i) {
    failure.of_mount = i >= 2;
    if (!attach_tree(trees[i], path_of(i))) return fail(failure, "give its user ", path_of(i));
  }
  // What comes into an overlay's upper folder the kernel writes as the mount's maker: no copy.
  for (auto& mount : spec.mounts)
    if (*mount.upper &&
        chown(mount.upper, static_cast<uid_t>(spec.user), static_cast<gid_t>(spec.user)) != 0)
      return fail(failure, "give its user ", mount.upper);
  failure.of_mount = false;
  free(trees);
  return true;
}

/// Attaches a mount where it is wanted; `made`: things may be made in it for the mounts that
/// follow.
bool attach_at(Places& places, int tree, const char* path, bool made) {
  char real[PATH_MAX];
  struct stat st;
  if (fstat(tree, &st) != 0 || !places.make(path, S_ISDIR(st.st_mode), real) ||
      !attach_tree(tree, real))
    return false;
  if (made) places.allow(st.st_dev);
  return true;
}

}  // namespace

bool build_root(const Spec& spec, const char* folder, int level, int owner_map, Failure& failure) {
  if (!become_slave_of_host()) return fail(failure, "take over the host's mounts");

  char path[PATH_MAX];
  auto below = [&](const char* name) {
    size_t size = strnlen(folder, PATH_MAX - 16);
    memcpy(path, folder, size);
    strcpy(path + size, name);
    return path;
  };
  if (owner_map >= 0 && !give_to_user(spec, folder, owner_map, failure)) return false;
  int spell = clone_tree(below("/spell")), tmp = clone_tree(below("/tmp"));
  ImageRoot image(spec.root);
  bool build = spec.root.build || *spec.system.upper, own_tmp = owner_map >= 0 || image.there();
  int tmps[2] = {own_tmp ? clone_tree(path) : -1, own_tmp ? clone_tree(path) : -1};
  if (spell < 0 || tmp < 0) return fail(failure, "bind ", path);
  int* binds = static_cast<int*>(calloc(spec.binds.size + 1, sizeof(int)));
  for (size_t i = 0; i < spec.binds.size; ++i) {
    auto& bind = spec.binds.items[i];
    binds[i] = bind.read_only ? clone_read_only(bind.from) : clone_tree(bind.from);
    if (binds[i] >= 0) continue;
    failure.of_mount = true;
    return fail(failure, "mount ", spec.binds.items[i].from);
  }
  int* mounts = static_cast<int*>(calloc(spec.mounts.size + 1, sizeof(int)));
  for (size_t i = 0; i < spec.mounts.size; ++i) {
    mounts[i] = make_mount(spec.mounts.items[i], level == user_namespaces);
    if (mounts[i] >= 0) continue;
    failure.of_mount = true;
    return fail(failure, *spec.mounts.items[i].upper ? "lay an overlay for " : "mount ",
                spec.mounts.items[i].to);
  }

  SystemFolders system(spec.system);
  if (!system.make(spec.hidden, level == user_namespaces, owner_map >= 0, failure)) return false;
  if (!image.make(level == user_namespaces)) {
    failure.of_mount = true;
    return fail(failure, "lay an overlay over the image");
  }

  // The new root is built over /proc: the one folder that every host has, and that is not taken
  // over.
  struct stat own;
  if (image.there()) {
    if (!image.enter("/proc") || (build && !system.make_surroundings()))
      return fail(failure, "enter the image");
  } else {
    if (mount("spell", "/proc", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=1m") != 0 ||
        chdir("/proc") != 0)
      return fail(failure, "mount a tmpfs");
    if (!take_over_all(owner_map >= 0, system)) return fail(failure, "read /");
  }
  if (stat(".", &own) != 0) return fail(failure, "read the new root");
  for (const char* name : {"proc", "spell", "spell-tmp", hidden_cover + 1})
    if (!make_own_folder(name)) return fail(failure, "make /", name);
  if (owner_map >= 0 && !make_own_folder("tmp")) return fail(failure, "make /tmp");
  if (mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) != 0)
    return fail(failure, "mount /proc");
  if (!pivot()) return fail(failure, "change the root");
  if (umount2(".", MNT_DETACH) != 0 || chdir("/") != 0) return fail(failure, "leave the old root");

  if (!system.attach_mounts()) return fail(failure, "take over the host's mounts");

  // Before the run's own mounts: those may come from a hidden folder, and are meant to be seen.
  for (const char* hidden : spec.hidden)
    if (!hide(hidden)) return fail(failure, "hide ", hidden);
  for (const char* hidden : system.hidden())
    if (!hide(hidden)) return fail(failure, "hide ", hidden);
  rmdir(hidden_cover);
  if (!attach_tree(spell, "/spell") || !attach_tree(tmp, "/spell-tmp"))
    return fail(failure, "mount /spell");
  if (own_tmp && !attach_private_folders(tmps[0], tmps[1]))
    return fail(failure, "mount private folders");
  Places places(static_cast<unsigned>(spec.user));
  places.allow(own.st_dev);
  if (!image.attach_resolver()) return fail(failure, "mount on /etc/resolv.conf");
  if (build) {
    if (!system.fence_kernel_settings()) return fail(failure, "make /proc/sys read-only");
    if (!system.attach_resolver(places)) return fail(failure, "mount on /etc/resolv.conf");
    int again = own_tmp ? -1 : clone_tree("/spell-tmp");
    if (!own_tmp && (again < 0 || !attach_tree(again, "/tmp"))) return fail(failure, "mount /tmp");
  }
  for (size_t i = 0; i < spec.binds.size; ++i)
    if (!attach_at(places, binds[i], spec.binds.items[i].to, false)) {
      failure.of_mount = true;
      return fail(failure, "mount on ", spec.binds.items[i].to);
    }
  for (size_t i = 0; i < spec.mounts.size; ++i)
    if (!attach_at(places, mounts[i], spec.mounts.items[i].to, *spec.mounts.items[i].upper)) {
      failure.of_mount = true;
      return fail(failure, "mount on ", spec.mounts.items[i].to);
    }
  free(binds);
  free(mounts);
  for (auto& link : spec.links) {
    // The place is made as a folder's would be, so that its parents are there; the link takes its
    // name.
    char real[PATH_MAX];
    if (image.there()) unlink(link.to);
    if (places.make(link.to, true, real) && rmdir(real) == 0 && symlink(link.from, real) == 0)
      continue;
    return fail(failure, "make the link ", link.to);
  }

  // What a run changes of its image is in its own upper folder.
  if (image.there()) return true;
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

bool become_user(unsigned user) {
  return syscall(SYS_setgroups, 0, nullptr) == 0 && syscall(SYS_setresgid, user, user, user) == 0 &&
         syscall(SYS_setresuid, user, user, user) == 0 &&
         prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0;
}

}  // namespace spell::supervisor
