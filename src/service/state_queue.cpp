// Waiting runs in the state: whose turn it is (sched/queue.hpp) and what becomes of it.
#include <algorithm>

#include "base/error.hpp"
#include "model/status.hpp"
#include "service/budget.hpp"
#include "service/state.hpp"

namespace spell::service {

namespace {

sched::Priority asked_priority(const RunRecord& run) {
  auto names = model::priorities();
  auto found = std::find(names.begin(), names.end(), run.request.priority);
  return found == names.end() ? sched::Priority::normal
                              : static_cast<sched::Priority>(found - names.begin());
}

/// Whether what it was to come after, and what it may cost, is looked at when its turn comes.
bool is_looked_at(const RunRecord& run, const sched::Waiting& wants) {
  auto& needs = wants.needs;
  return !run.request.after.empty() || model::mounts_anything(run.request) ||
         run.reason_code == waits_for_money ||
         std::find(needs.begin(), needs.end(), "allowance") != needs.end();
}

}  // namespace

// ---- turns

sched::Priority State::priority_of(const RunRecord& run) const {
  auto raised = raised_.find(run.id);
  return std::max(asked_priority(run),
                  raised == raised_.end() ? sched::Priority::low : raised->second);
}

void State::raise(RunPointer run, sched::Priority priority) {
  std::vector<RunPointer> higher{std::move(run)};
  while (!higher.empty()) {
    auto next = std::move(higher.back());
    higher.pop_back();
    if (priority <= priority_of(*next)) continue;
    raised_[next->id] = priority;
    requeue(*next);
    if (!next->machine.empty()) continue;
    for (auto number : waits_for(*next))
      if (auto other = end_of_chain(next->owner, number); other && !has_ended(*other))
        higher.push_back(*other);
  }
}

void State::queue_up(const RunRecord& run) {
  auto wants = wants_of(run);
  bool look = is_looked_at(run, wants);
  sched::Age age{run.resumed_from == 0, run.created_us, run.number};
  queued_[{run.owner, run.number}] = {queue_.add(std::move(wants), priority_of(run), age, look),
                                      age, run.workflow};
  look_ = true;
}

void State::take_out(const Number& number) {
  auto found = queued_.find(number);
  if (found == queued_.end()) return;
  queue_.take_out(found->second.kind, found->second.age);
  queued_.erase(found);
}

void State::requeue(const RunRecord& run) {
  Number number{run.owner, run.number};
  if (!queued_.contains(number)) return;
  take_out(number);
  queue_up(run);
}

Result<> State::requeue_all() {
  std::vector<Number> all;
  for (auto& [number, queued] : queued_) all.push_back(number);
  for (auto& number : all) {
    if (auto awake = numbers_.find(number); awake != numbers_.end()) {
      take_out(number);
      enqueue(awake->second);
      continue;
    }
    auto run = writer_.find_run(number.first, number.second);
    if (!run) return run.error();
    if (*run) requeue(**run);
  }
  look_ = true;
  return ok();
}

bool State::may_sleep(const RunRecord& run) {
  return run.machine.empty() && !model::is_final(run.status) && !run.manages &&
         run.resumed_from == 0 && run.not_before_us == 0 && run.reason_code.empty() &&
         !dependents_.contains(run.id) && !raised_.contains(run.id) &&
         !is_looked_at(run, wants_of(run));
}

// ---- what users have

void State::count(const RunRecord& run, int more) {
  look_ = true;  // it may be a quota that others wait for
  if (run.manages) return;
  auto add = [&](auto& table, const auto& key) {
    auto entry = table.try_emplace(key).first;
    entry->second += more;
    if (entry->second <= 0) table.erase(entry);
  };
  add(running_, user_of(run));
  add(running_of_, std::pair(user_of(run), waiting_of(run).machine_type));
}

bool State::held_by_quota(const sched::Waiting& wants, std::int64_t more) const {
  if (wants.manages || quotas_.empty()) return false;  // else its own runs might wait for its end
  auto there = [&](auto& table, const auto& key) {
    auto found = table.find(key);
    return more + (found == table.end() ? 0 : found->second);
  };
  User user{wants.owner, wants.user};
  auto quota = quota_of(quotas_, wants.owner, wants.user);
  return !may_start(quota, there(running_, user)) ||
         !may_start(quota, wants.machine_type,
                    there(running_of_, std::pair(user, wants.machine_type)));
}

void State::use(const RunRecord& run, const Amounts& takes) {
  users_[run.id] = user_of(run);
  queue_.take(user_of(run), takes);
}

void State::use_no_more(const std::string& run, const Amounts& takes) {
  if (auto user = users_.extract(run); !user.empty()) queue_.give_back(user.mapped(), takes);
}

// ---- a look

Result<> State::look_at_queue(std::int64_t now_us) {
  sched::Cluster::Round round(cluster_);
  sched::Queue::Look look(queue_, cluster_.offers(), now_us);
  while (auto turn = look.next()) {
    auto turned = take_turn(*turn, round, now_us);
    if (!turned) return turned.error();
    if (*turned == Turned::held) look.wait();
    if (*turned == Turned::waits) look.wait(round.nowhere(), round.whole_shape());
  }
  return ok();
}

Result<State::Turned> State::take_turn(const sched::Queue::Look::Turn& turn,
                                       sched::Cluster::Round& round, std::int64_t now_us) {
  // A quota holds back what it is for and nobody else.
  auto& wants = turn.kind->wants;
  if (held_by_quota(wants)) return Turned::held;
  auto read = [&] { return find(wants.owner, turn.run.number); };
  if (turn.look) {
    auto run = read();
    if (!run) return run.error();
    bool plain = (*run)->request.after.empty() && !model::mounts_anything((*run)->request);
    auto met = plain ? Result<bool>(true) : dependencies_met(*run, now_us);
    if (!met) return met.error();
    auto able = *met ? may_spend(*run, now_us) : Result<MaySpend>(MaySpend::no);
    if (!able) return able.error();
    if (*able == MaySpend::no) leave_queue(*run);
    if (*able == MaySpend::later) take_out({wants.owner, turn.run.number});
    if (*able != MaySpend::yes) return Turned::gone;
  }
  auto placed = round.place(wants);
  if (!placed) return Turned::waits;
  auto run = read();
  if (!run) return run.error();
  queue_.placed(turn.kind, turn.run, now_us);
  SPELL_TRY(put_on(*run, *placed, now_us));
  leave_queue(*run);
  return Turned::gone;
}

}  // namespace spell::service
