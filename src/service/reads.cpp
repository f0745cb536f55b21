#include "service/reads.hpp"

#include <algorithm>

namespace spell::service {

bool Reads::renew(const std::string& owner, const spellfs::Name& tree, Clock::time_point now) {
  std::lock_guard lock(mutex_);
  auto found = held_.find({owner, tree});
  if (found == held_.end()) return false;
  found->second.read = now;
  return true;
}

void Reads::hold(const std::string& owner, const spellfs::Name& tree, spellfs::PackStore::Pin pin,
                 Clock::time_point now) {
  let_go(now);
  std::lock_guard lock(mutex_);
  held_.insert_or_assign({owner, tree}, Held{std::move(pin), now});
  if (held_.size() > most)
    held_.erase(std::min_element(held_.begin(), held_.end(),
                                 [](auto& a, auto& b) { return a.second.read < b.second.read; }));
}

std::size_t Reads::let_go(Clock::time_point now) {
  std::lock_guard lock(mutex_);
  std::erase_if(held_, [&](auto& entry) { return entry.second.read + kept <= now; });
  return held_.size();
}

}  // namespace spell::service
