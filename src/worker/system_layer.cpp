#include "worker/system_layer.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <memory>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/file.hpp"
#include "base/hash.hpp"
#include "base/text.hpp"

namespace spell::worker {

namespace {

constexpr int deepest = 256;
constexpr std::int64_t longest_changes = 64 << 20;

/// A file or folder, and what is below it.
constexpr const char* left_out[] = {"etc/.pwd.lock",
                                    "etc/group-",
                                    "etc/gshadow",
                                    "etc/gshadow-",
                                    "etc/hostname",
                                    "etc/hosts",
                                    "etc/machine-id",
                                    "etc/mtab",
                                    "etc/passwd-",
                                    "etc/resolv.conf",
                                    "etc/shadow",
                                    "etc/shadow-",
                                    "etc/subgid-",
                                    "etc/subuid-",
                                    "usr/sbin/policy-rc.d",
                                    "var/backups",
                                    "var/cache",
                                    "var/lib/apt/lists",
                                    "var/lib/dpkg/diversions-old",
                                    "var/lib/dpkg/lock",
                                    "var/lib/dpkg/lock-frontend",
                                    "var/lib/dpkg/statoverride-old",
                                    "var/lib/dpkg/status-old",
                                    "var/lib/dpkg/triggers/Lock",
                                    "var/lock",
                                    "var/log",
                                    "var/run",
                                    "var/tmp"};

/// A process that is not root may not use the first.
constexpr const char* opaque_attributes[] = {"trusted.overlay.opaque", "user.overlay.opaque"};

bool is_left_out(const std::string& path) {
  return std::find(std::begin(left_out), std::end(left_out), path) != std::end(left_out);
}

std::string below(const std::string& root, const std::string& path) {
  return (root == "/" ? "" : root) + "/" + path;
}

base::Fd open_folder(int at, const char* name) {
  return base::Fd(::openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
}

Error unreadable(const std::string& path) { return base::errno_error("read " + path); }

Result<std::vector<std::string>> names_in(int folder, const std::string& path) {
  int again = ::openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);  // from its beginning
  std::unique_ptr<DIR, int (*)(DIR*)> open(again < 0 ? nullptr : ::fdopendir(again), ::closedir);
  if (!open) {
    if (again >= 0) ::close(again);
    return unreadable(path);
  }
  std::vector<std::string> out;
  for (errno = 0; dirent* entry = ::readdir(open.get()); errno = 0)
    if (std::string name = entry->d_name; name != "." && name != "..")
      out.push_back(std::move(name));
  if (errno != 0) return unreadable(path);
  std::sort(out.begin(), out.end());
  return out;
}

class Packer {
 public:
  Packer(std::string top, std::stop_token stop, const std::string& host)
      : top_(std::move(top)), stop_(std::move(stop)), host_(host) {}
  std::string changes;

  /// `closed`: others cannot get at what the machine has in this folder.
  Result<> folder(int at, const std::string& path, bool closed, int depth) {
    if (stop_.stop_requested()) return base::error("canceled", "the environment was given up");
    if (depth > deepest) return base::error("too_large", path + ": too many folders in folders");
    auto names = names_in(at, below(top_, path));
    if (!names) return names.error();
    for (auto& name : *names) {
      std::string own = path.empty() ? name : path + "/" + name;
      SPELL_TRY(entry(at, name, own, closed, depth));
    }
    return ok();
  }

 private:
  Result<> entry(int at, const std::string& name, const std::string& path, bool closed, int depth) {
    struct stat st, machines{};
    if (::fstatat(at, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0)
      return unreadable(below(top_, path));
    bool there = ::lstat(below(host_, path).c_str(), &machines) == 0;
    if (is_left_out(path)) return remove(path);
    if (S_ISCHR(st.st_mode) && st.st_rdev == makedev(0, 0)) {
      changes += "w" + path + '\0';
      return remove(path);
    }
    if (S_ISDIR(st.st_mode)) {
      auto own = open_folder(at, name.c_str());
      if (!own) return unreadable(below(top_, path));
      if (is_opaque(own.get())) changes += "o" + path + '\0';
      bool shut = closed || (there && S_ISDIR(machines.st_mode) && !(machines.st_mode & S_IXOTH));
      return folder(own.get(), path, shut, depth + 1);
    }
    bool secret = there && S_ISREG(machines.st_mode) && (closed || !(machines.st_mode & S_IROTH));
    if (secret || (!S_ISREG(st.st_mode) && !S_ISLNK(st.st_mode))) return remove(path);
    return ok();
  }

  static bool is_opaque(int folder) {
    char value = 0;
    for (auto* attribute : opaque_attributes)
      if (::fgetxattr(folder, attribute, &value, 1) == 1 && value == 'y') return true;
    return false;
  }
  Result<> remove(const std::string& path) const { return base::remove_tree(below(top_, path)); }

  const std::string top_;
  const std::stop_token stop_;
  const std::string& host_;
};

Error damaged(const std::string& what) {
  return base::error("damaged", "the layer of packages is damaged: " + what);
}

/// The folder in which the path's last part is, and that part.
Result<std::pair<base::Fd, std::string>> parent_below(int top, const std::string& path) {
  auto parts = base::split(path, '/');
  base::Fd at(::fcntl(top, F_DUPFD_CLOEXEC, 0));
  for (auto& part : parts) {
    if (part.empty() || part == "." || part == ".." || parts.size() > deepest)
      return damaged("a path that leads nowhere");
    if (&part == &parts.back()) break;
    at = open_folder(at.get(), part.c_str());
    if (!at) return damaged("a path that is not there");
  }
  return std::pair(std::move(at), parts.back());
}

Result<> make_change(int top, char kind, const std::string& path) {
  auto parent = parent_below(top, path);
  if (!parent) return parent.error();
  auto& [at, name] = *parent;
  if (kind == 'w') {
    if (::mknodat(at.get(), name.c_str(), S_IFCHR, makedev(0, 0)) != 0)
      return base::errno_error("note in the cache that a file is gone");
    return ok();
  }
  if (kind != 'o') return damaged("a change that is not known");
  auto folder = open_folder(at.get(), name.c_str());
  if (!folder) return damaged("a folder that is not there");
  auto* attribute = opaque_attributes[::geteuid() == 0 ? 0 : 1];
  if (::fsetxattr(folder.get(), attribute, "y", 1, 0) != 0)
    return base::errno_error("note in the cache that a folder hides another");
  return ok();
}

}  // namespace

std::string lacks_for_packages(const exec::Capabilities& capabilities, const std::string& root) {
  for (auto* needed : {"usr/bin/apt-get", "usr/bin/dpkg", "var/lib/dpkg/status"})
    if (!base::exists(below(root, needed)))
      return std::string("it is not Debian-like: there is no /") + needed;
  return capabilities.packages ? "" : capabilities.no_packages;
}

Result<std::string> system_fingerprint(const std::string& root) {
  auto status = base::read_file(below(root, "var/lib/dpkg/status"), 256 << 20);
  if (!status) return status.error();
  std::vector<std::string> packages;
  std::string package, rest;
  auto end_package = [&] {
    if (!package.empty()) packages.push_back(package + rest);
    package.clear();
    rest.clear();
  };
  std::string_view text = *status;
  while (!text.empty()) {
    auto line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    if (line.empty()) end_package();
    if (line.starts_with("Package: ")) package = line;
    for (auto* field : {"Status: ", "Architecture: ", "Version: "})
      if (line.starts_with(field)) rest.append("\n").append(line);
  }
  end_package();
  std::sort(packages.begin(), packages.end());
  std::string all = base::join(packages, "\n");
  for (auto* file : {"etc/passwd", "etc/group", "etc/ld.so.cache"}) {
    auto bytes = base::read_file(below(root, file));
    if (!bytes && bytes.error().code() != "not_found") return bytes.error();
    all += '\0' + (bytes ? base::hex(base::sha256(*bytes)) : std::string());
  }
  return base::hex(base::sha256(all)).substr(0, 32);
}

Result<> pack_system(const std::string& tree, std::stop_token stop, const std::string& root) {
  std::string top = tree + "/" + system_root;
  auto folder = base::open(top, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (!folder) return folder.error();
  Packer packer(top, std::move(stop), root);
  SPELL_TRY(packer.folder(folder->get(), "", false, 0));
  auto names = names_in(folder->get(), top);
  if (!names) return names.error();
  // Where nothing was changed the run has the machine's own.
  for (auto& name : *names) (void)::unlinkat(folder->get(), name.c_str(), AT_REMOVEDIR);
  return base::write_file(tree + "/" + system_changes, packer.changes, 0644, false);
}

Result<> unpack_system(const std::string& tree) {
  auto top = base::open(tree, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (!top) return top.error();
  auto root = open_folder(top->get(), system_root);
  base::Fd file(
      ::openat(top->get(), system_changes, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC));
  struct stat st;
  if (!root || !file || ::fstat(file.get(), &st) != 0 || !S_ISREG(st.st_mode) ||
      st.st_size > longest_changes)
    return damaged("it is none");
  std::string changes(static_cast<std::size_t>(st.st_size), '\0');
  auto got = base::pread_full(file.get(), changes.data(), changes.size(), 0);
  if (!got) return got.error();
  changes.resize(*got);
  for (std::string_view rest = changes; !rest.empty();) {
    auto end = rest.find('\0');
    if (end == rest.npos || end == 0) return damaged("a change without an end");
    SPELL_TRY(make_change(root.get(), rest[0], std::string(rest.substr(1, end - 1))));
    rest.remove_prefix(end + 1);
  }
  if (::syncfs(root.get()) != 0) return base::errno_error("sync " + tree);
  return ok();
}

std::string install_script(const std::vector<std::string>& asked,
                           const std::vector<std::string>& exactly, const std::string& tmp) {
  auto words = [](const std::vector<std::string>& packages, bool with_version) {
    std::string out;
    for (auto& package : packages)
      out += " " + base::shell_quote(with_version ? package : package.substr(0, package.find('=')));
    return out;
  };
  std::string got = exactly.empty() ? words(asked, true) : words(exactly, true);
  // Nothing is started: services of packages are none of a run's. What is asked for is a name, and
  // not what apt takes for a pattern where there is no such package.
  return R"(native=$(dpkg --print-architecture) || exit
installed() {
  dpkg-query -W -f '${db:Status-Abbrev} ${Package}:${Architecture}=${Version}\n' "$@" 2> /dev/null |
    sed -n 's/^ii *//p' | sed "s/:$native=/=/; s/:all=/=/" | LC_ALL=C sort -u
}
get() {
  apt-get -q -y -o APT::Cmd::Pattern-Only=true -o APT::Get::AutomaticRemove=false \
    -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold \
    -o Acquire::Retries=2 "$@" < /dev/null
}
installed > )" +
         tmp + R"(/before || exit
if [ ! -e /usr/sbin/policy-rc.d ]; then
  printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d && chmod 755 /usr/sbin/policy-rc.d || exit
fi
get update || echo "going on with the lists of packages that this machine has"
get --no-install-recommends --allow-downgrades install --)" +
         got + R"( || exit
{ installed | LC_ALL=C comm -13 )" +
         tmp + "/before -; installed" + words(exactly.empty() ? asked : exactly, false) +
         "; } | LC_ALL=C sort -u > " + tmp + "/" + installed_file;
}

std::vector<std::string> install_environment(const std::string& tmp) {
  return {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
          "HOME=" + tmp,
          "USER=root",
          "LOGNAME=root",
          "SHELL=/bin/sh",
          "LANG=C.UTF-8",
          "LC_ALL=C.UTF-8",
          "DEBIAN_FRONTEND=noninteractive",
          "DEBCONF_NONINTERACTIVE_SEEN=true"};
}

}  // namespace spell::worker
