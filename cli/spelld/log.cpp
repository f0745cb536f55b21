#include "log.hpp"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.hpp"

namespace spell::daemon {

Log::Log(const std::string& path) {
  struct stat st;
  if (::stat(path.c_str(), &st) == 0 && st.st_size > 10 << 20)
    ::rename(path.c_str(), (path + ".1").c_str());
  if (auto file = base::open(path, O_WRONLY | O_CREAT | O_APPEND, 0600)) file_ = std::move(*file);
}

void Log::write(const std::string& message) { put({{"message", message}}); }

void Log::write(const service::RequestLine& request) {
  nlohmann::json line{{"message", request.message.empty() ? "answered" : request.message},
                      {"request_id", request.id},
                      {"user", request.user},
                      {"method", request.method},
                      {"path", request.path},
                      {"status", request.status},
                      {"took_us", request.took.count()}};
  if (!request.code.empty()) line["code"] = request.code;
  put(line);
}

void Log::put(const nlohmann::json& line) {
  nlohmann::json full{{"time", base::rfc3339(base::unix_us())}, {"pid", ::getpid()}};
  full.update(line);
  std::lock_guard lock(mutex_);
  (void)base::write_all(file_ ? file_.get() : STDERR_FILENO,
                        full.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

}  // namespace spell::daemon
