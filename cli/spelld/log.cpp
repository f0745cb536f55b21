#include "log.hpp"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "base/clock.hpp"

namespace spell::daemon {

Log::Log(const std::string& path) {
  struct stat st;
  if (::stat(path.c_str(), &st) == 0 && st.st_size > 10 << 20)
    ::rename(path.c_str(), (path + ".1").c_str());
  if (auto file = base::open(path, O_WRONLY | O_CREAT | O_APPEND, 0600)) file_ = std::move(*file);
}

void Log::write(const std::string& message) {
  nlohmann::json line{
      {"time", base::rfc3339(base::unix_us())}, {"pid", ::getpid()}, {"message", message}};
  std::lock_guard lock(mutex_);
  (void)base::write_all(
      file_ ? file_.get() : STDERR_FILENO,
      line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

}  // namespace spell::daemon
