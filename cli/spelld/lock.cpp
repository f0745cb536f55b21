#include "lock.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/time.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/file.hpp"
#include "model/run.hpp"
#include "spell/version.hpp"

namespace spell::daemon {

namespace {
std::string host_name() {
  char name[256] = {};
  ::gethostname(name, sizeof name - 1);
  return name;
}

/// flock(2) that ends, with EINTR, after a while; false then. For programs with one thread.
Result<bool> lock_within(int fd, const std::string& path, std::chrono::seconds limit) {
  struct sigaction ring {
  }, before{};
  ring.sa_handler = [](int) {};
  ::sigaction(SIGALRM, &ring, &before);  // without SA_RESTART
  // Should the alarm come before the wait, the next one ends it.
  itimerval each{{1, 0}, {limit.count(), 0}};
  ::setitimer(ITIMER_REAL, &each, nullptr);
  auto end = std::chrono::steady_clock::now() + limit;
  int done = 0, error = 0;
  do {
    done = ::flock(fd, LOCK_EX);
    error = errno;
  } while (done != 0 && error == EINTR && std::chrono::steady_clock::now() < end);
  each = {};
  ::setitimer(ITIMER_REAL, &each, nullptr);
  ::sigaction(SIGALRM, &before, nullptr);
  if (done == 0) return true;
  if (error == EINTR) return false;
  return base::errno_error("lock " + path, error);
}
}  // namespace

Result<base::Fd> take_turn(const std::string& path, std::chrono::seconds limit) {
  std::string name = path.substr(0, path.rfind('/'));
  auto folder = base::open(name, O_RDONLY | O_DIRECTORY);
  if (!folder) return folder.error();
  auto locked = lock_within(folder->get(), name, limit);
  if (!locked) return locked.error();
  if (!*locked)
    return base::error("timeout", "a service starts in " + name + " and does not get on");
  return std::move(*folder);
}

Result<bool> await_release(const std::string& path, std::chrono::seconds limit) {
  auto file = base::open(path, O_RDWR | O_CREAT, 0600);
  if (!file) return file.error();
  return lock_within(file->get(), path, limit);
}

Result<Held> take_lock(const std::string& path) {
  auto file = base::open(path, O_RDWR | O_CREAT, 0600);
  if (!file) return file.error();
  Held held;
  if (::flock(file->get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return base::errno_error("lock " + path);
    held.other = true;
    auto text = base::read_file(path, 4096);
    auto holder = model::parse_json(text ? *text : "");
    if (holder && holder->is_object() && holder->contains("host") &&
        (*holder)["host"].is_string() && (*holder)["host"] != host_name())
      return base::error("in_use_elsewhere",
                         path + " is held by a service on the host " +
                             (*holder)["host"].get<std::string>() +
                             ": set SPELL_DIR to a folder of this computer's own");
    return held;
  }
  std::string content = nlohmann::json{
      {"host", host_name()},
      {"boot_id", base::boot_id()},
      {"pid", ::getpid()},
      {"version", version()},
      {"protocol",
       api_protocol()}}.dump();
  if (::ftruncate(file->get(), 0) != 0) return base::errno_error("write " + path);
  SPELL_TRY(base::pwrite_all(file->get(), content + "\n", 0));
  held.lock = std::move(*file);
  return held;
}

}  // namespace spell::daemon
