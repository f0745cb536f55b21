// What a user may use of a service at most: pure decisions. A user's own quota wins over the one
// for everybody; none: no limit. Nothing that is there, or goes on, is ever ended or cut by one.
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "spell/result.hpp"
#include "store/store.hpp"

namespace spell::service {

struct Quota {
  std::optional<std::int64_t> runs{};       ///< that have a machine at the same time
  std::optional<std::int64_t> bytes{};      ///< of outputs, logs and uploads, as they were saved
  std::optional<std::int64_t> log_bytes{};  ///< of each run
  /// As `runs`, of those that ask for this machine type, in lower case.
  std::map<std::string, std::int64_t> runs_of{};
};

Quota effective(const Quota& own, const Quota& everybody);

/// As the store has them, by owner and user; user "": everybody.
using Quotas = std::map<std::pair<std::string, std::string>, Quota>;
Quotas to_quotas(const std::vector<store::QuotaRecord>&);
/// What counts for a user.
Quota quota_of(const Quotas&, const std::string& owner, const std::string& user);
/// The members by their names in store and API.
inline constexpr std::pair<const char*, std::optional<std::int64_t> Quota::*> quota_members[] = {
    {"runs", &Quota::runs}, {"bytes", &Quota::bytes}, {"log_bytes", &Quota::log_bytes}};

/// Before the name of a machine type: its member in the store.
inline constexpr std::string_view runs_of_prefix = "runs_of:";

/// Whether one more run may have a machine: of all, or of those that ask for a type, `running` have
/// one.
bool may_start(const Quota&, std::int64_t running);
bool may_start(const Quota&, const std::string& type, std::int64_t running);
/// Why a run waits then; type "": whatever it asks for.
std::string waits_for_quota(const std::string& user, const Quota&, const std::string& type);
/// The limit of a run's log: what it asks for, or less.
std::int64_t log_limit(const Quota&, std::int64_t asked);
/// Whether a user who has stored so much may bring more, or make runs that will. Error
/// `quota_exceeded`.
Result<> check_bytes(const Quota&, const std::string& user, std::int64_t stored);

}  // namespace spell::service
