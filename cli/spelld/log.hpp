// What the service says of itself: one JSON object a line.
#pragma once
#include <mutex>
#include <string>

#include <nlohmann/json.hpp>

#include "base/fd.hpp"
#include "service/service.hpp"

namespace spell::daemon {

/// Thread-safe.
class Log {
 public:
  /// Appends to a file, which is put aside when it has grown beyond 10 MiB.
  explicit Log(const std::string& path);
  /// To standard error.
  Log() = default;
  void write(const std::string& message);
  void write(const service::RequestLine& request);

 private:
  void put(const nlohmann::json& line);
  std::mutex mutex_;
  base::Fd file_;
};

}  // namespace spell::daemon
