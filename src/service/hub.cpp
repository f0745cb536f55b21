#include "service/hub.hpp"

#include <vector>

namespace spell::service {

Hub::Listener::Listener(Hub& hub, std::string key)
    : hub_(hub), key_(std::move(key)), ticket_([&] {
        std::lock_guard lock(hub.mutex_);
        return ++hub.last_;
      }()) {}

void Hub::Listener::start(Callback callback) {
  auto called = std::make_shared<Callback>(std::move(callback));
  std::lock_guard lock(hub_.mutex_);
  hub_.listening_[key_].emplace(ticket_, std::move(called));
}

void Hub::Listener::stop() {
  std::shared_ptr<Callback> last;  // what it holds is given up without the lock
  std::lock_guard lock(hub_.mutex_);
  auto found = hub_.listening_.find(key_);
  if (found == hub_.listening_.end()) return;
  auto own = found->second.find(ticket_);
  if (own == found->second.end()) return;
  last = std::move(own->second);
  found->second.erase(own);
  if (found->second.empty()) hub_.listening_.erase(found);
}

void Hub::notify(const std::string& key) {
  std::vector<std::shared_ptr<Callback>> callbacks;
  {
    std::lock_guard lock(mutex_);
    auto found = listening_.find(key);
    if (found == listening_.end()) return;
    for (auto& [ticket, callback] : found->second) callbacks.push_back(callback);
  }
  for (auto& callback : callbacks) (*callback)();
}

std::size_t Hub::size() const {
  std::lock_guard lock(mutex_);
  std::size_t count = 0;
  for (auto& [key, callbacks] : listening_) count += callbacks.size();
  return count;
}

}  // namespace spell::service
