#include "service/hub.hpp"

namespace spell::service {

std::uint64_t Hub::wait(const std::string& run, Callback callback) {
  std::lock_guard lock(mutex_);
  waiting_[run].emplace(++last_, std::move(callback));
  return last_;
}

void Hub::forget(const std::string& run, std::uint64_t ticket) {
  std::lock_guard lock(mutex_);
  auto found = waiting_.find(run);
  if (found == waiting_.end()) return;
  found->second.erase(ticket);
  if (found->second.empty()) waiting_.erase(found);
}

void Hub::notify(const std::string& run) {
  std::map<std::uint64_t, Callback> callbacks;
  {
    std::lock_guard lock(mutex_);
    auto found = waiting_.find(run);
    if (found == waiting_.end()) return;
    callbacks.swap(found->second);
    waiting_.erase(found);
  }
  for (auto& [ticket, callback] : callbacks) callback();
}

std::size_t Hub::size() const {
  std::lock_guard lock(mutex_);
  std::size_t count = 0;
  for (auto& [run, callbacks] : waiting_) count += callbacks.size();
  return count;
}

}  // namespace spell::service
