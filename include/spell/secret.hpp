// Secrets: values that your runs may be given as variables, and nobody is shown.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "spell/options.hpp"
#include "spell/result.hpp"
#include "spell/run.hpp"

namespace spell {

struct SecretInfo {
  std::string name{};
  std::optional<Time> created_at{};  ///< when its value was set
};

/// Of the user who calls. Thread-safe.
class Secrets {
 public:
  /// Sets or replaces it; runs that start from now on get this value. 4 bytes to 64 KiB of UTF-8
  /// without NUL. Error `invalid_request`.
  Result<SecretInfo> set(const std::string& name, const std::string& value, CallOptions = {}) const;
  /// By name, without values.
  Result<std::vector<SecretInfo>> list(CallOptions = {}) const;
  /// Runs that have not started and ask for it will fail. Error `secret_not_found`.
  Result<SecretInfo> remove(const std::string& name, CallOptions = {}) const;

  explicit Secrets(std::shared_ptr<detail::Connection> connection)
      : connection_(std::move(connection)) {}

 private:
  std::shared_ptr<detail::Connection> connection_;
};

}  // namespace spell
