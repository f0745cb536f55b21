#include "sched/leases.hpp"

#include <algorithm>

namespace spell::sched {

namespace {
constexpr std::int64_t usual_lease_us = 75'000'000;
}

std::optional<std::int64_t> Leases::deadline(const Lease& lease) {
  if (lease.phase == Phase::here) return lease.since + lease.lease_us;
  if (lease.phase == Phase::away && lease.lost_after_us > 0)
    return lease.since + lease.lost_after_us;
  return std::nullopt;
}

void Leases::watch(const std::string& machine, const Lease& lease) {
  auto at = deadline(lease);
  if (!at) return;
  auto watched = watched_.find(machine);
  if (watched != watched_.end() && watched->second <= *at) return;
  watched_[machine] = *at;
  queue_.emplace(*at, machine);
}

void Leases::expect(const std::string& machine, std::int64_t lost_after_us, std::int64_t now) {
  auto& lease = leases_[machine];
  lease = {Phase::away, now, usual_lease_us, lost_after_us};
  watch(machine, lease);
}

void Leases::renew(const std::string& machine, std::int64_t lease_us, std::int64_t lost_after_us,
                   std::int64_t now) {
  auto& lease = leases_[machine];
  lease = {Phase::here, now, lease_us, lost_after_us};
  watch(machine, lease);
}

void Leases::closed(const std::string& machine, std::int64_t now) {
  auto found = leases_.find(machine);
  if (found == leases_.end() || found->second.phase != Phase::here) return;
  found->second.phase = Phase::away;
  found->second.since = now;
  watch(machine, found->second);
}

void Leases::forget(const std::string& machine) {
  leases_.erase(machine);
  watched_.erase(machine);
}

std::optional<std::int64_t> Leases::next() const {
  // What was forgotten, or is watched for an earlier time, is passed over by expire().
  if (queue_.empty()) return std::nullopt;
  return queue_.top().first;
}

Leases::Due Leases::expire(std::int64_t now) {
  Due due;
  auto at = next();
  if (!at || *at > now) return due;
  auto first = leases_.find(queue_.top().second);
  std::int64_t third =
      (first == leases_.end() || first->second.lease_us == 0 ? usual_lease_us
                                                             : first->second.lease_us) /
      3;
  if (now - *at > third) {
    for (auto& [name, lease] : leases_) lease.since = now;
  }
  while (!queue_.empty() && queue_.top().first <= now) {
    auto [time, machine] = queue_.top();
    queue_.pop();
    auto watched = watched_.find(machine);
    if (watched == watched_.end() || watched->second != time) continue;
    watched_.erase(watched);
    auto& lease = leases_.at(machine);
    if (auto ends = deadline(lease); ends && *ends <= now) {
      if (lease.phase == Phase::here) {
        // It is not known when it went: its last word counts.
        lease.phase = Phase::away;
        due.away.push_back(machine);
      } else {
        lease.phase = Phase::lost;
        due.lost.push_back(machine);
      }
    }
    watch(machine, lease);
  }
  return due;
}

}  // namespace spell::sched
