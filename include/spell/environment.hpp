// Environments: what packages and setup commands of runs were built into, kept by the service and
// shared by the runs that ask for the same.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "spell/run.hpp"

namespace spell {

/// A layer that the service keeps.
struct EnvironmentInfo {
  std::string name{};                   ///< what made it, as a hash
  std::string method{};                 ///< "image", "apt", "conda", "pip", "setup"
  std::string base{};                   ///< the machine's own programs below it
  std::string made_of{};                ///< what was asked for, in one line
  std::string state{};                  ///< "ready", "building"
  std::vector<std::string> packages{};  ///< what was installed: "sl=5.02-1+b1", "numpy==1.26.4"
  std::int64_t size = 0, files = 0;     ///< bytes
  std::vector<std::int64_t> runs{};     ///< those that use it now
  std::optional<Time> created_at{}, used_at{};
};

/// The environments of the client's owner. Thread-safe.
class Environments {
 public:
  /// The least recently used last.
  Result<std::vector<EnvironmentInfo>> list(CallOptions = {}) const;
  /// By its name, or by the beginning of it that no other has. Error `environment_not_found`.
  Result<EnvironmentInfo> get(const std::string& name, CallOptions = {}) const;
  /// Runs that ask for it have it built anew. Errors `environment_not_found`, `environment_in_use`.
  Result<EnvironmentInfo> remove(const std::string& name, CallOptions = {}) const;

  explicit Environments(std::shared_ptr<detail::Connection> connection)
      : connection_(std::move(connection)) {}

 private:
  std::shared_ptr<detail::Connection> connection_;
};

}  // namespace spell
