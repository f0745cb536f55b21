#include "state.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/spell_dir.hpp"

namespace spell::worker_program {

using nlohmann::json;

namespace {

struct flock whole_file() {
  struct flock whole {};
  whole.l_type = F_WRLCK;
  whole.l_whence = SEEK_SET;
  return whole;
}

}  // namespace

std::string default_state_folder() {
  if (::geteuid() == 0) return "/var/lib/spell-worker";
  std::string home = base::Environment::current().home;
  return (home.empty() ? "/" : home) + "/.local/share/spell-worker";
}

Result<std::string> open_state_folder(const std::string& folder) {
  SPELL_TRY(base::make_folders(folder));
  char path[PATH_MAX];
  struct stat st;
  if (!::realpath(folder.c_str(), path) || ::stat(path, &st) != 0)
    return base::errno_error("open " + folder);
  if (!S_ISDIR(st.st_mode) || st.st_uid != ::geteuid() || (st.st_mode & 022) != 0)
    return base::error("invalid_configuration",
                       folder + " must be a folder of this user that nobody else can write to: " +
                           "chmod 700 it, or give another with --state");
  return std::string(path);
}

Result<std::optional<base::Fd>> take_lock(const std::string& folder) {
  std::string path = folder + "/lock";
  auto file = base::open(path, O_RDWR | O_CREAT, 0600);
  if (!file) return file.error();
  auto whole = whole_file();
  if (::fcntl(file->get(), F_OFD_SETLK, &whole) == 0)
    return std::optional<base::Fd>(std::move(*file));
  if (errno == EAGAIN || errno == EACCES) return std::optional<base::Fd>();
  return base::errno_error("lock " + path);
}

bool daemon_runs(const std::string& folder) {
  base::Fd file(::open((folder + "/lock").c_str(), O_RDWR | O_CLOEXEC));
  auto whole = whole_file();
  return file && ::fcntl(file.get(), F_OFD_GETLK, &whole) == 0 && whole.l_type != F_UNLCK;
}

Status read_status(const std::string& folder) {
  Status status;
  if (!daemon_runs(folder)) return status;
  auto text = base::read_file(folder + "/" + status_file, 1 << 16);
  json parsed = json::parse(text ? *text : "", nullptr, false);
  if (!parsed.is_object()) return status;
  status.state = parsed.value("state", "connecting");
  status.code = parsed.value("code", "");
  status.error = parsed.value("error", "");
  status.version = parsed.value("version", "");
  status.since_us = parsed.value("since_us", std::int64_t{0});
  status.joined_us = parsed.value("joined_us", std::int64_t{0});
  status.pid = parsed.value("pid", 0);
  return status;
}

void write_status(const std::string& folder, const Status& status) {
  json out{{"state", status.state},
           {"code", status.code},
           {"error", status.error},
           {"version", status.version},
           {"since_us", status.since_us},
           {"joined_us", status.joined_us},
           {"pid", static_cast<int>(::getpid())}};
  (void)base::write_file(folder + "/" + status_file,
                         out.dump(-1, ' ', false, json::error_handler_t::replace) + "\n", 0600,
                         false);
}

std::int64_t count_runs(const std::string& folder) {
  std::unique_ptr<DIR, int (*)(DIR*)> runs(::opendir((folder + "/worker/runs").c_str()),
                                           ::closedir);
  std::int64_t count = 0;
  while (dirent* entry = runs ? ::readdir(runs.get()) : nullptr)
    if (entry->d_name[0] != '.') ++count;
  return count;
}

Result<Watch> Watch::open(const std::string& folder) {
  Watch watch;
  watch.fd_ = base::Fd(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!watch.fd_ || ::inotify_add_watch(watch.fd_.get(), folder.c_str(),
                                        IN_MOVED_TO | IN_CREATE | IN_DELETE | IN_CLOSE_WRITE) < 0)
    return base::errno_error("watch " + folder);
  return watch;
}

void Watch::drain() {
  char buffer[4096];
  while (::read(fd_.get(), buffer, sizeof buffer) > 0) {
  }
}

}  // namespace spell::worker_program
