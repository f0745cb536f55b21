#include "spell/quota.hpp"

#include "client/connection.hpp"
#include "spell/json.hpp"

namespace spell {

using namespace detail;
using model::Route;

Result<std::vector<QuotaInfo>> Quotas::list(CallOptions options) const {
  auto answer = connection_->call({.route = Route::list_quotas}, options);
  if (!answer) return answer.error();
  return member<std::vector<QuotaInfo>>(*answer, "quotas");
}

Result<QuotaInfo> Quotas::set(const std::string& user, const QuotaLimits& limits,
                              CallOptions options) const {
  json body = json::object();
  if (limits.runs) body["runs"] = *limits.runs;
  if (limits.bytes) body["bytes"] = *limits.bytes;
  if (limits.log_bytes) body["log_bytes"] = *limits.log_bytes;
  if (!limits.runs_of.empty()) body["runs_of"] = limits.runs_of;
  auto answer =
      connection_->call({.route = Route::put_quota, .names = {user}, .body = body}, options);
  if (!answer) return answer.error();
  return member<QuotaInfo>(*answer, "quota");
}

}  // namespace spell
