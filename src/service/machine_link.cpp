#include "service/machine_link.hpp"

#include <algorithm>

namespace spell::service {

void MachineLink::finish(Poll poll) {
  timer_.cancel(poll.timer);
  net::Response response;
  response.body = model::to_json(poll.answer).dump();
  poll.reply->send(std::move(response));
}

std::optional<MachineLink::Poll> MachineLink::take(const std::string& machine, std::uint64_t id) {
  std::lock_guard lock(mutex_);
  auto found = polls_.find(machine);
  if (found == polls_.end() || (id != 0 && found->second.id != id)) return std::nullopt;
  Poll poll = std::move(found->second);
  polls_.erase(found);
  return poll;
}

void MachineLink::poll(const std::string& machine, std::int64_t wait_ms, model::SyncAnswer answer,
                       net::Reply reply, const State& state) {
  auto& commands = state.machines().at(machine).commands;
  answer.commands.assign(commands.begin(), commands.end());
  Poll poll;
  poll.answer = std::move(answer);
  poll.reply = std::move(reply);
  if (auto older = take(machine, 0)) finish(std::move(*older));
  if (!poll.answer.commands.empty() || wait_ms <= 0) return finish(std::move(poll));
  std::uint64_t id;
  {
    std::lock_guard lock(mutex_);
    id = poll.id = ++last_poll_;
    poll.timer = timer_.after(std::chrono::milliseconds(wait_ms), [this, machine, id] {
      if (auto due = take(machine, id)) finish(std::move(*due));
    });
    poll.reply->on_close([this, machine, id] { (void)take(machine, id); });
    polls_[machine] = std::move(poll);
  }
}

bool MachineLink::settled() const {
  return Timer::Clock::now() >= settle_by_ ||
         (!machines_.empty() && std::all_of(machines_.begin(), machines_.end(),
                                            [](auto& view) { return view.machine.connected; }));
}

void MachineLink::when_settled(std::function<void()> then) {
  {
    std::lock_guard lock(mutex_);
    if (!settled()) {
      settling_.push_back(std::move(then));
      if (settling_.size() == 1)
        timer_.after(std::chrono::ceil<std::chrono::milliseconds>(settle_by_ - Timer::Clock::now()),
                     [this] {
                       std::unique_lock lock(mutex_);
                       auto due = std::exchange(settling_, {});
                       lock.unlock();
                       for (auto& then : due) then();
                     });
      return;
    }
  }
  then();
}

void MachineLink::refresh(const std::vector<std::string>& changed, const State& state) {
  std::vector<Poll> due;
  std::vector<std::function<void()>> settled_now;
  {
    std::lock_guard lock(mutex_);
    for (auto& id : changed) {
      if (auto* run = state.active_run(id); run && !run->machine.empty())
        assignments_[id] = {run->machine, run->owner, run->epoch};
      else
        assignments_.erase(id);
    }
    machines_.clear();
    for (auto& [name, machine] : state.machines()) {
      machines_.push_back({machine.view, machine.hello});
      auto poll = polls_.find(name);
      if (poll == polls_.end() || machine.commands.empty()) continue;
      poll->second.answer.commands.assign(machine.commands.begin(), machine.commands.end());
      due.push_back(std::move(poll->second));
      polls_.erase(poll);
    }
    if (!settling_.empty() && settled()) settled_now = std::exchange(settling_, {});
  }
  for (auto& then : settled_now) then();
  for (auto& poll : due) finish(std::move(poll));
}

std::optional<Assignment> MachineLink::assignment(const std::string& run) const {
  std::lock_guard lock(mutex_);
  auto found = assignments_.find(run);
  if (found == assignments_.end()) return std::nullopt;
  return found->second;
}

std::vector<MachineView> MachineLink::machines() const {
  std::lock_guard lock(mutex_);
  return machines_;
}

}  // namespace spell::service
