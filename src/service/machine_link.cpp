#include "service/machine_link.hpp"

#include <algorithm>

#include "base/clock.hpp"
#include "base/error.hpp"

namespace spell::service {

namespace {

constexpr std::int64_t longest_lease_ms = 75'000, shortest_lease_ms = 3'000;
constexpr std::int64_t sign_of_life_us = 2'000'000;

std::int64_t boot_us() { return base::boot_ns() / 1000; }

}  // namespace

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
  Poll poll;
  poll.answer = std::move(answer);
  poll.reply = std::move(reply);
  auto* there = state.machine_by_id(machine);
  std::int64_t session = there ? there->session : 0;
  if (there) poll.answer.commands.assign(there->commands.begin(), there->commands.end());
  if (auto older = take(machine, 0)) finish(std::move(*older));
  if (!there || !poll.answer.commands.empty() || wait_ms <= 0) return finish(std::move(poll));
  std::uint64_t id;
  {
    std::lock_guard lock(mutex_);
    id = poll.id = ++last_poll_;
    poll.timer = timer_.after(std::chrono::milliseconds(wait_ms), [this, machine, id] {
      if (auto due = take(machine, id)) finish(std::move(*due));
    });
    poll.reply->on_close([this, machine, id, session] {
      auto gone = take(machine, id);
      if (!gone) return;
      timer_.cancel(gone->timer);
      {
        std::lock_guard closing(mutex_);
        leases_.closed(machine, boot_us());
        watch_leases();
      }
      watcher_.machine_away(machine, session);
    });
    polls_[machine] = std::move(poll);
  }
}

MachineLink::Lease MachineLink::lease_of(std::int64_t lost_after) {
  return {std::clamp(lost_after * 1000, shortest_lease_ms, longest_lease_ms), lost_after};
}

bool MachineLink::speaks(const MachineView& view, Speaker& speaker, const std::string& worker,
                         std::int64_t now_us) {
  bool rivals = view.machine.connected && !speaker.worker.empty() && !worker.empty() &&
                speaker.worker != worker;
  if (rivals && speaker.doubted_us == 0) speaker.doubted_us = now_us;
  if (rivals && now_us - speaker.doubted_us < sign_of_life_us) return false;
  speaker = {worker, 0};
  return true;
}

Result<MachineLink::Lease> MachineLink::renew(const std::string& id, const std::string& worker) {
  std::unique_lock lock(mutex_);
  auto name = names_.find(id);
  if (name == names_.end()) return lease_of(0);
  auto& view = machines_.at(name->second);
  // An embedded worker ends with this process.
  if (view.record.joined_us == 0) return Lease{longest_lease_ms, 0};
  if (!speaks(view, speakers_[id], worker, boot_us())) {
    auto error = base::error("machine_taken",
                             "another worker is connected as machine '" + name->second +
                                 "', with the same credential: end one of them; a copy of a "
                                 "computer becomes a machine of its own by `spell-worker leave` "
                                 "and `spell machine add`");
    lock.unlock();
    end_poll(id);  // who is there asks again
    return error;
  }
  auto lease = lease_of(view.lost_after);
  leases_.renew(id, lease.lease_ms * 1000, lease.lost_after * 1'000'000, boot_us());
  watch_leases();
  return lease;
}

void MachineLink::end_poll(const std::string& id) {
  if (auto poll = take(id, 0)) finish(std::move(*poll));
}

void MachineLink::watch_leases() {
  auto next = leases_.next();
  if (!next || (looks_at_ && *looks_at_ <= *next)) return;
  looks_at_ = next;
  timer_.after(std::chrono::milliseconds(std::max<std::int64_t>(0, (*next - boot_us()) / 1000 + 1)),
               [this] { watcher_.leases_due(); });
}

sched::Leases::Due MachineLink::expire() {
  std::lock_guard lock(mutex_);
  auto due = leases_.expire(boot_us());
  looks_at_.reset();
  watch_leases();
  return due;
}

bool MachineLink::settled() const {
  return Timer::Clock::now() >= settle_by_ || (!machines_.empty() && disconnected_ == 0);
}

void MachineLink::when_settled(std::function<void()> then) {
  {
    std::lock_guard lock(mutex_);
    if (!settled()) {
      settling_.push_back(std::move(then));
      if (settling_.size() == 1)
        timer_.after(std::chrono::ceil<std::chrono::milliseconds>(settle_by_ - Timer::Clock::now()),
                     [this] {
                       std::unique_lock settled(mutex_);
                       auto due = std::exchange(settling_, {});
                       settled.unlock();
                       for (auto& call : due) call();
                     });
      return;
    }
  }
  then();
}

void MachineLink::refresh(const std::vector<std::string>& changed, State& state) {
  std::vector<Poll> due;
  std::vector<std::function<void()>> settled_now;
  auto take_poll = [&](const std::string& id, auto& commands) {
    auto poll = polls_.find(id);
    if (poll == polls_.end() || commands.empty()) return;
    poll->second.answer.commands.assign(commands.begin(), commands.end());
    due.push_back(std::move(poll->second));
    polls_.erase(poll);
  };
  {
    std::lock_guard lock(mutex_);
    for (auto& id : changed) {
      auto* run = state.active_run(id);
      auto* late = state.late_run(id);
      auto machine = state.machines().find(late ? late->machine : run ? run->machine : "");
      if (machine == state.machines().end())
        assignments_.erase(id);
      else {
        // The limit stays what it was when its worker was told.
        auto before = assignments_.find(id);
        std::int64_t limit =
            before == assignments_.end() ? state.log_limit_of(id) : before->second.log_limit;
        Assignment now{machine->second.record.id, late ? late->owner : run->owner,
                       late ? late->epoch : run->epoch, limit};
        if (before != assignments_.end() && before->second.epoch == now.epoch) {
          now.backlog = before->second.backlog;
          now.backlog_us = before->second.backlog_us;
        }
        assignments_[id] = std::move(now);
      }
    }
    // Those that left first: a name may have gone from one to another.
    auto names = state.take_changed_machines();
    for (auto& name : names) {
      auto known = machines_.find(name);
      if (known == machines_.end()) continue;
      auto& id = known->second.record.id;
      count(known->second, -1);
      if (!state.machine_by_id(id)) leases_.forget(id), speakers_.erase(id);
      names_.erase(id);
      cluster_.remove(name);
      machines_.erase(known);
    }
    for (auto& name : names) {
      auto found = state.machines().find(name);
      if (found == state.machines().end()) continue;
      auto& machine = found->second;
      MachineView view{*state.cluster().find(name),
                       machine.hello,
                       machine.record,
                       {},
                       machine.embedded ? 0 : state.lost_after(machine)};
      for (auto& [run, takes] : machine.assigned)
        if (auto* record = state.active_run(run)) view.runs.push_back(record->number);
      std::sort(view.runs.begin(), view.runs.end());
      cluster_.put(view.machine);
      count(view, 1);
      bool expected = !machine.connected && machine.session == 0 && machine.record.joined_us != 0;
      if (expected && !leases_.knows(machine.record.id))
        // Its worker may ask only every few seconds while the service is away.
        leases_.expect(machine.record.id, std::max<std::int64_t>(view.lost_after, 20) * 1'000'000,
                       boot_us());
      names_[machine.record.id] = name;
      machines_[name] = std::move(view);
      take_poll(machine.record.id, machine.commands);
    }
    if (state.take_types_changed()) cluster_.take_types(state.cluster());
    if (!names.empty()) watch_leases();
    for (auto& [id, commands] : state.take_farewells()) take_poll(id, commands);
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

void MachineLink::take_backlog(const std::string& machine, const model::RunReport& report) {
  std::lock_guard lock(mutex_);
  auto found = assignments_.find(report.run);
  if (!report.backlog || found == assignments_.end() || found->second.machine != machine ||
      found->second.epoch != report.epoch)
    return;
  auto& said = found->second.backlog.emplace(*report.backlog);
  said.files = std::max<std::int64_t>(0, said.files);
  said.bytes = std::max<std::int64_t>(0, said.bytes);
  said.age = std::max(std::chrono::seconds(0), said.age);
  found->second.backlog_us = boot_us();
}

std::optional<RunBacklog> MachineLink::backlog(const std::string& run) const {
  auto known = assignment(run);
  if (!known || !known->backlog) return std::nullopt;
  auto out = *known->backlog;
  if (out.files > 0)
    out.age += std::chrono::duration_cast<std::chrono::seconds>(
        std::chrono::microseconds(boot_us() - known->backlog_us));
  return out;
}

void MachineLink::count(const MachineView& view, int by) {
  if (!view.machine.connected)
    disconnected_ += static_cast<std::size_t>(by);
  else if (view.record.joined_us != 0)
    others_ += static_cast<std::size_t>(by);
}

std::size_t MachineLink::others() const {
  std::lock_guard lock(mutex_);
  return others_;
}

std::vector<MachineView> MachineLink::machines() const {
  std::lock_guard lock(mutex_);
  std::vector<MachineView> out;
  for (auto& [name, view] : machines_) out.push_back(view);
  return out;
}

std::optional<MachineView> MachineLink::machine(const std::string& name) const {
  std::lock_guard lock(mutex_);
  auto found = machines_.find(name);
  if (found == machines_.end()) return std::nullopt;
  return found->second;
}

std::optional<sched::Pool> MachineLink::pool(const std::string& owner,
                                             const std::string& type) const {
  std::lock_guard lock(mutex_);
  auto* pool = cluster_.pool(owner, type);
  return pool ? std::optional(*pool) : std::nullopt;
}

std::string MachineLink::why_waiting(const sched::Waiting& run) const {
  std::lock_guard lock(mutex_);
  return cluster_.why_waiting(run);
}

}  // namespace spell::service
