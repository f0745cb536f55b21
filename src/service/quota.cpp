#include "service/quota.hpp"

#include <algorithm>

#include "base/count.hpp"
#include "base/error.hpp"
#include "base/text.hpp"

namespace spell::service {

Quota effective(const Quota& own, const Quota& everybody) {
  Quota out{own.runs ? own.runs : everybody.runs, own.bytes ? own.bytes : everybody.bytes,
            own.log_bytes ? own.log_bytes : everybody.log_bytes, own.runs_of};
  out.runs_of.insert(everybody.runs_of.begin(), everybody.runs_of.end());
  return out;
}

Quotas to_quotas(const std::vector<store::QuotaRecord>& records) {
  Quotas out;
  for (auto& record : records) {
    auto& quota = out[{record.owner, record.user}];
    for (auto& [name, member] : quota_members)
      if (record.name == name) quota.*member = record.amount;
    if (record.name.starts_with(runs_of_prefix))
      quota.runs_of[record.name.substr(runs_of_prefix.size())] = record.amount;
  }
  return out;
}

Quota quota_of(const Quotas& quotas, const std::string& owner, const std::string& user) {
  auto find = [&](const std::string& name) {
    auto found = quotas.find({owner, name});
    return found == quotas.end() ? Quota() : found->second;
  };
  return effective(find(user), find(""));
}

bool may_start(const Quota& quota, std::int64_t running) {
  return !quota.runs || running < *quota.runs;
}

bool may_start(const Quota& quota, const std::string& type, std::int64_t running) {
  auto limit = quota.runs_of.find(type);
  return limit == quota.runs_of.end() || running < limit->second;
}

std::string waits_for_quota(const std::string& user, const Quota& quota, const std::string& type) {
  auto limit = type.empty() ? quota.runs.value_or(0) : quota.runs_of.at(type);
  return "waiting: " + user + " may have " + base::count(limit, "run") +
         (type.empty()    ? ""
          : type == "cpu" ? " of type CPU"
                          : " of type " + type) +
         " at once (spell quota list)";
}

std::int64_t log_limit(const Quota& quota, std::int64_t asked) {
  return quota.log_bytes ? std::min(*quota.log_bytes, asked) : asked;
}

Result<> check_bytes(const Quota& quota, const std::string& user, std::int64_t stored) {
  if (!quota.bytes || stored < *quota.bytes) return ok();
  return base::error(
      "quota_exceeded",
      user + " keeps " + base::format_size(stored) + " of at most " +
          base::format_size(*quota.bytes) +
          ": remove runs or uploads (spell rm; spell du --by run says what is large)");
}

}  // namespace spell::service
