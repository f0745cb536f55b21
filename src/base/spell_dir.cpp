#include "base/spell_dir.hpp"

#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <memory>

#include "base/error.hpp"
#include "base/hash.hpp"
#include "base/text.hpp"

namespace spell::base {

namespace {

constexpr std::size_t socket_path_limit = sizeof(sockaddr_un::sun_path) - 1;

Error unusable(const std::string& folder, const std::string& why) {
  return error("invalid_configuration", "the folder " + folder + " cannot be used: " + why +
                                            "; set SPELL_DIR to a folder of your own");
}

/// A text of this user's entry in the user database; "" if there is none.
std::string of_user(char* passwd::*field) {
  std::vector<char> buffer(16384);
  passwd entry{}, *found = nullptr;
  if (::getpwuid_r(::geteuid(), &entry, buffer.data(), buffer.size(), &found) != 0) return {};
  return found && found->*field ? found->*field : "";
}

/// That `path` is a folder of this user which nobody else can write to; `closed`: nor look into,
/// nor is it a link.
Result<> check_folder(const std::string& path, bool closed) {
  struct stat st;
  if ((closed ? ::lstat(path.c_str(), &st) : ::stat(path.c_str(), &st)) != 0)
    return errno_error("use the folder " + path);
  if (!S_ISDIR(st.st_mode)) return unusable(path, "it is not a folder");
  if (st.st_uid != ::geteuid())
    return unusable(path, "it belongs to another user (uid " + std::to_string(st.st_uid) +
                              ", you are " + std::to_string(::geteuid()) + ")");
  if (st.st_mode & 022) return unusable(path, "others can write to it (chmod go-w " + path + ")");
  if (closed && (st.st_mode & 077))
    return unusable(path, "others can look into it (chmod 700 " + path + ")");
  if (::access(path.c_str(), R_OK | W_OK | X_OK) != 0)
    return unusable(path, errno == EROFS ? "it is read-only" : "you cannot write to it");
  return ok();
}

/// A folder in a place that everybody can write to: ours from its making on, or refused.
Result<> make_private_folder(const std::string& path) {
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST)
    return errno_error("make the folder " + path);
  return check_folder(path, true);
}

/// Where the parent that exists already is: a folder that is yet to be made will be on that file
/// system.
bool on_network(const Environment& environment, std::string path) {
  while (path.size() > 1 && !exists(path)) path.resize(std::max<std::size_t>(1, path.rfind('/')));
  return environment.on_network(path);
}

bool is_absolute(const std::string& path) { return !path.empty() && path[0] == '/'; }

std::string parent_of(const std::string& path) { return path.substr(0, path.rfind('/')); }

std::string read_link(const std::string& path) {
  char target[PATH_MAX];
  ssize_t n = ::readlink(path.c_str(), target, sizeof target);
  return n > 0 && static_cast<std::size_t>(n) < sizeof target
             ? std::string(target, static_cast<std::size_t>(n))
             : std::string();
}

/// The recorded choice if it still holds, else a new one, recorded. Of several first callers all
/// get the same one.
Result<std::string> recorded(const std::string& link,
                             const std::function<bool(const std::string&)>& still_good,
                             const std::function<Result<std::string>()>& choose) {
  for (int attempt = 0; attempt < 8; ++attempt) {
    std::string target = read_link(link);
    if (is_absolute(target) && still_good(target)) return target;
    auto choice = choose();
    if (!choice) return choice;
    if (!target.empty()) ::unlink(link.c_str());
    if (::symlink(choice->c_str(), link.c_str()) == 0) return choice;
    if (errno != EEXIST) return errno_error("make the link " + link);
    // A service's own socket of former times may lie where the link belongs.
    struct stat st;
    if (::lstat(link.c_str(), &st) == 0 && S_ISSOCK(st.st_mode)) ::unlink(link.c_str());
  }
  return unusable(parent_of(link), "the link " + link + " changes all the time");
}

Result<std::string> choose_state(const Environment& environment, const std::string& home,
                                 const std::string& hash) {
  std::string base = is_absolute(environment.xdg_state_home) ? environment.xdg_state_home
                     : is_absolute(home)                     ? home + "/.local/state"
                                                             : std::string();
  if (!base.empty() && !on_network(environment, base)) {
    std::string folder = base + "/spell-" + hash;
    if (make_folders(base) && make_private_folder(folder)) return folder;
  }
  std::string folder = environment.var_tmp + "/spell-" + std::to_string(::geteuid()) + "-" + hash;
  SPELL_TRY(make_private_folder(folder));
  return folder;
}

Result<std::string> choose_socket(const Environment& environment, const std::string& hash) {
  if (is_absolute(environment.xdg_runtime_dir) && check_folder(environment.xdg_runtime_dir, true)) {
    std::string socket = environment.xdg_runtime_dir + "/spell-" + hash + ".sock";
    if (socket.size() <= socket_path_limit) return socket;
  }
  std::string folder = environment.tmp + "/spell-" + std::to_string(::geteuid());
  SPELL_TRY(make_private_folder(folder));
  return folder + "/" + hash + ".sock";
}

std::string host_name() {
  char name[256] = {};
  ::gethostname(name, sizeof name - 1);
  std::string out = name;
  for (char& c : out)
    if (c == '/') c = '_';
  return out;
}

}  // namespace

std::string user_name() {
  std::string name = of_user(&passwd::pw_name);
  return valid_name(name) ? name : "uid-" + std::to_string(::geteuid());
}

Environment Environment::current() {
  auto variable = [](const char* name) {
    const char* value = ::getenv(name);
    return std::string(value ? value : "");
  };
  Environment environment;
  environment.home = variable("HOME");
  environment.xdg_state_home = variable("XDG_STATE_HOME");
  environment.xdg_runtime_dir = variable("XDG_RUNTIME_DIR");
  return environment;
}

Result<SpellDirs> resolve_spell_dirs(const std::string& spell_dir, const Environment& environment) {
  std::string home = is_absolute(environment.home) ? environment.home : of_user(&passwd::pw_dir);
  std::string folder = spell_dir;
  if (folder.empty()) {
    if (!is_absolute(home))
      return error("invalid_configuration",
                   "there is no home folder for .spell; set SPELL_DIR to a folder of your own");
    folder = home + "/.spell";
  }
  if (folder.find('\0') != std::string::npos)
    return error("invalid_configuration", "SPELL_DIR must not contain a NUL");
  if (auto made = make_folders(folder, 0700); !made) {
    if (made.error().code() == "disk_full") return made.error();
    return error("invalid_configuration",
                 made.error().message() + "; set SPELL_DIR to a folder of your own");
  }
  SPELL_TRY(check_folder(folder, false));
  std::unique_ptr<char, decltype(&::free)> real(::realpath(folder.c_str(), nullptr), &::free);
  if (!real) return errno_error("use the folder " + folder);

  SpellDirs dirs;
  dirs.config = dirs.state = real.get();
  std::string hash = hex(sha256(dirs.config)).substr(0, 16);
  if (environment.on_network(dirs.config)) {
    // The folder may be shared by computers: each has its own state.
    auto state = recorded(
        dirs.config + "/state-" + host_name(),
        [&](const std::string& target) {
          return check_folder(target, true).ok() && !environment.on_network(target);
        },
        [&] { return choose_state(environment, home, hash); });
    if (!state) return state.error();
    dirs.state = *state;
    dirs.notes.push_back(dirs.config + " is on a network file system: the service's state is in " +
                         dirs.state);
  }
  dirs.socket = dirs.state + "/spelld.sock";
  if (dirs.socket.size() > socket_path_limit) {
    auto socket = recorded(
        dirs.socket,
        [](const std::string& target) {
          return target.size() <= socket_path_limit && check_folder(parent_of(target), true).ok();
        },
        [&] { return choose_socket(environment, hash); });
    if (!socket) return socket.error();
    dirs.notes.push_back(dirs.state + " is too long a path for a socket: it is " + *socket);
    dirs.socket = *socket;
  }
  dirs.lock = dirs.state + "/spelld.lock";
  dirs.log = dirs.state + "/spelld.log";
  return dirs;
}

}  // namespace spell::base
