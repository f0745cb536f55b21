// Quotas: what a user may use of a service at most.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "spell/options.hpp"
#include "spell/result.hpp"
#include "spell/run.hpp"

namespace spell {

/// Without a value: no limit. Nothing that is there, or goes on, is ended or cut by one.
struct QuotaLimits {
  std::optional<std::int64_t> runs{};       ///< that have a machine at the same time; others wait
  std::optional<std::int64_t> bytes{};      ///< of outputs, logs and uploads, as they were saved
  std::optional<std::int64_t> log_bytes{};  ///< of each run
  /// As `runs`, of those that ask for this machine type, or for the machine of this name.
  std::map<std::string, std::int64_t> runs_of{};
};

struct QuotaInfo {
  std::string user{};  ///< "*": everybody who has none of his own, member by member
  std::optional<std::int64_t> runs{}, bytes{}, log_bytes{};  ///< see QuotaLimits
  std::int64_t running = 0, stored_bytes = 0;                ///< what he uses now
  std::map<std::string, std::int64_t> runs_of{};             ///< see QuotaLimits; in lower case
};

/// Thread-safe.
class Quotas {
 public:
  Result<std::vector<QuotaInfo>> list(CallOptions = {}) const;
  /// Replaces what there is of this user (or "*"). Error `not_permitted`: for administrators.
  Result<QuotaInfo> set(const std::string& user, const QuotaLimits& limits, CallOptions = {}) const;

  explicit Quotas(std::shared_ptr<detail::Connection> connection)
      : connection_(std::move(connection)) {}

 private:
  std::shared_ptr<detail::Connection> connection_;
};

}  // namespace spell
