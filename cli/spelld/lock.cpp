#include "lock.hpp"

#include <fcntl.h>
#include <sys/file.h>
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
}  // namespace

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
