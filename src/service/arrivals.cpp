#include "service/arrivals.hpp"

#include <algorithm>

#include "base/clock.hpp"

namespace spell::service {

void Arrivals::came(const std::string& run, std::int64_t now_us) {
  std::lock_guard lock(mutex_);
  auto& of = runs_[run];
  if (of.since_last == 0) of.since_last = now_us;
}

bool Arrivals::named(const std::string& run, const spellfs::Name& tree, std::int64_t said_us) {
  std::lock_guard lock(mutex_);
  auto& of = runs_[run];
  if (of.known && of.newest == tree) return false;
  // What came behind the tree before is what this one has; what comes while it is said is the
  // next one's.
  of.since = std::min(of.since_last == 0 ? said_us : of.since_last, said_us);
  of.since_last = 0;
  bool superseded = of.has_before;
  of.has_before = of.known;
  of.before = of.newest;
  of.newest = tree;
  of.known = true;
  return superseded;
}

void Arrivals::ended(const std::string& run) {
  std::lock_guard lock(mutex_);
  runs_.erase(run);
}

std::int64_t Arrivals::oldest(const std::vector<std::pair<std::string, std::int64_t>>& active,
                              std::int64_t now_us) {
  using base::day_us;
  std::lock_guard lock(mutex_);
  std::map<std::string, Of> kept;
  std::int64_t oldest = 0;
  for (auto& [run, made_us] : active) {
    std::int64_t since = made_us;
    if (auto found = runs_.find(run); found != runs_.end()) {
      if (found->second.known) since = found->second.since;
      kept.insert(runs_.extract(found));
    }
    oldest = oldest == 0 ? since : std::min(oldest, since);
  }
  // What comes late, and is not named yet.
  for (auto& [run, of] : runs_) {
    if (of.since_last == 0 || of.since_last < now_us - day_us) continue;
    oldest = oldest == 0 ? of.since_last : std::min(oldest, of.since_last);
    of.has_before = false;
    kept.emplace(run, of);
  }
  runs_ = std::move(kept);
  return oldest;
}

std::vector<std::pair<std::string, spellfs::Name>> Arrivals::earlier() const {
  std::lock_guard lock(mutex_);
  std::vector<std::pair<std::string, spellfs::Name>> out;
  for (auto& [run, of] : runs_)
    if (of.has_before) out.emplace_back(run, of.before);
  return out;
}

}  // namespace spell::service
