#include "worker/agent.hpp"

#include <algorithm>

#include "base/text.hpp"
#include "worker/environment.hpp"
#include "worker/gpus.hpp"

namespace spell::worker {

RunTracker* Agent::tracker(const std::string& run) {
  auto found = runs_.find(run);
  return found == runs_.end() ? nullptr : &found->second;
}

const RunTracker* Agent::find(const std::string& run) const {
  return const_cast<Agent*>(this)->tracker(run);
}

void Agent::resume(Journal journal, bool supervised, std::int64_t now, Actions& out) {
  std::string id = journal.start.run;
  heard_of(journal.start);
  auto [at, added] =
      runs_.emplace(id, RunTracker::resume(std::move(journal), supervised, boot_id_, now));
  if (added && only_delivers_) at->second.salvage(now, out);
  if (added) at->second.advance(now, out);
}

// ---- a machine that goes

void Agent::notice(const Notice& notice, std::int64_t now, Actions& out) {
  auto [known, added] = notices_.emplace(notice.kind, notice);
  if (!added && known->second.at_us <= notice.at_us) return;
  known->second = notice;
  heed_notices(now, out);
}

void Agent::notice_withdrawn(const std::string& kind, std::int64_t now, Actions& out) {
  if (notices_.erase(kind) == 0) return;
  heed_notices(now, out);
  if (!notice_) withdrawal_untold_ = true;
}

void Agent::heed_notices(std::int64_t now, Actions& out) {
  auto first = std::min_element(notices_.begin(), notices_.end(),
                                [](auto& a, auto& b) { return a.second.at_us < b.second.at_us; });
  bool none = first == notices_.end();
  if (!none && notice_ && notice_->kind == first->first && notice_->at_us == first->second.at_us)
    return;
  bool later = notice_ && (none || notice_->at_us < first->second.at_us);
  if (later)
    for (auto& [id, run] : runs_) run.notice_withdrawn(now, out);
  notice_ = none ? std::nullopt : std::optional(first->second);
  notice_said_ = -1;
  if (none) return;
  withdrawal_untold_ = false;
  for (auto& [id, run] : runs_) run.notice(*notice_, now, out);
  // They end where they have not begun.
  for (auto& start : std::exchange(waiting_, {})) begin(start, now, out);
}

bool Agent::is_ready_to_go() const {
  // Nobody hears of what a machine that is alone has to say.
  bool alone = notices_.contains(notice_alone);
  return notice_ && waiting_.empty() &&
         std::all_of(runs_.begin(), runs_.end(), [alone](auto& entry) {
           return alone ? entry.second.is_at_rest() : entry.second.is_told();
         });
}

void Agent::add_notice(model::SyncRequest& request, std::int64_t now) const {
  if (notice_unheard_) return;
  if (notice_)
    request.notice = model::MachineNotice{notice_->kind, notice_->text,
                                          std::max<std::int64_t>(0, notice_->at_us - now) / 1000};
  else if (withdrawal_untold_)
    request.notice = model::MachineNotice{"withdrawn", "", 0};
}

bool Agent::refuses_notice(const Error& error) {
  bool refused =
      error.code() == "invalid_request" && error.message().find("'notice'") != std::string::npos;
  notice_unheard_ = notice_unheard_ || refused;
  return refused;
}

// ---- the session

Agent::Poll Agent::next_poll(std::int64_t free_disk, std::int64_t now) const {
  model::SyncRequest request;
  add_notice(request, now);
  request.incarnation = incarnation_;
  request.seen = seen_;
  if (online_) {
    request.wait_ms = std::min(lease_ms_ / 3, poll_limit_ms);
    // Theirs may be shorter.
    if (lost_after_us_ > 0 && has_exclusive())
      request.wait_ms = std::min(request.wait_ms, lost_after_us_ / 3000);
  } else {
    request.hello = hello_;
    request.hello->disk_free = free_disk;
    for (auto& [id, run] : runs_) request.holds[id] = run.start().epoch;
    for (auto& start : waiting_) request.holds[start.run] = start.epoch;
    request.numbers = numbers_;
  }
  return {std::move(request), session_};
}

bool Agent::has_exclusive() const {
  return std::any_of(runs_.begin(), runs_.end(),
                     [](auto& entry) { return entry.second.start().request.exclusive; }) ||
         std::any_of(waiting_.begin(), waiting_.end(),
                     [](auto& start) { return start.start->request.exclusive; });
}

void Agent::renewed(std::int64_t session, const model::SyncAnswer& answer, std::int64_t sent) {
  if (session != session_ || (!incarnation_.empty() && answer.incarnation != incarnation_)) return;
  lost_after_us_ = answer.lost_after * 1'000'000;
  // A tree must have ended before the service may start another.
  auto margin = std::min(lost_after_us_ / 4, lease_margin_us);
  lease_until_us_ =
      lost_after_us_ > 0 ? sent + lost_after_us_ - margin : RunTracker::lease_for_ever;
}

void Agent::set_online(bool online, std::int64_t now, Actions& out) {
  online_ = online;
  for (auto& [id, run] : runs_) run.online(online, now, out);
}

void Agent::end_session(std::int64_t now, Actions& out) {
  ++session_;
  seen_ = 0;
  set_online(false, now, out);
}

void Agent::poll_answered(std::int64_t session, const Result<model::SyncAnswer>& answer,
                          std::int64_t now, Actions& out) {
  if (session != session_) return;
  if (!answer) {
    if (!refuses_notice(answer.error())) poll_backoff_.failed(now);
    if (answer.error().code() == "incarnation_changed" && !incarnation_.empty()) {
      incarnation_.clear();
      waiting_.clear();
      poll_backoff_.reset();
    }
    return end_session(now, out);
  }
  poll_backoff_.reset();
  if (!incarnation_.empty() && answer->incarnation != incarnation_) {
    // Data that was restored knows other epochs: it must hear what is held before its commands mean
    // anything.
    incarnation_ = answer->incarnation;
    waiting_.clear();
    return end_session(now, out);
  }
  incarnation_ = answer->incarnation;
  lease_ms_ = answer->lease_ms;
  if (!online_) {
    report_backoff_.reset();
    set_online(true, now, out);
  }
  apply(*answer, now, out);
  // After its commands: what is another's by now has no lease, and is not begun.
  if (lease_until_us_ > 0)
    for (auto& [id, run] : runs_) run.renewed(lease_until_us_, now, out);
}

void Agent::apply(const model::SyncAnswer& answer, std::int64_t now, Actions& out) {
  for (auto& command : answer.commands) {
    if (command.number <= seen_) continue;
    obey(command, now, out);
    seen_ = command.number;
  }
  for (auto& [id, reason] : answer.refused)
    if (auto* run = tracker(id)) run->refused(reason, now, out);
}

void Agent::obey(const model::Command& command, std::int64_t now, Actions& out) {
  auto* run = tracker(command.run);
  if (command.type == "open_stream") {
    // Also of a run that is not here any more: who waits is told so.
    out.push_back({Action::Type::open_stream, command.run, command.kind, command.stream});
    return;
  }
  if (command.type == "notice") {
    if (command.reason_code == "withdrawn") {
      notices_.clear();
      return heed_notices(now, out);
    }
    return notice({"asked", command.reason, now + command.remaining_ms * 1000}, now, out);
  }
  if (command.type != "start") {
    if (auto waits = find_waiting(command.run);
        waits != waiting_.end() && waits->epoch == command.epoch) {
      if (command.type == "allowance") {
        waits->start->allowance_ms = std::max(waits->start->allowance_ms, command.allowance_ms);
        return;
      }
      auto start = std::move(*waits);
      waiting_.erase(waits);
      if (command.type != "forget")
        runs_.emplace(command.run, RunTracker::decline(start, command, boot_id_, now, out));
      return;
    }
    if (run && run->start().epoch == command.epoch) run->told(command, boot_id_, now, out);
    return;
  }
  if (!command.start || command.start->run != command.run || only_delivers_) return;
  heard_of(*command.start);
  if (!run) {
    if (auto waits = find_waiting(command.run); waits != waiting_.end()) {
      if (waits->epoch < command.epoch) *waits = command;
    } else if (notice_ ||
               ((waiting_.empty() || command.start->manages) && has_place(*command.start))) {
      begin(command, now, out);
    } else {
      waiting_.push_back(command);
    }
  } else if (run->start().epoch < command.start->epoch) {
    successors_[command.run] = command;
    run->refused("assigned anew", now, out);
  } else if (run->start().epoch == command.start->epoch) {
    run->started_again(*command.start, now, out);
  }
}

void Agent::heard_of(const model::StartCommand& start) {
  auto& highest = numbers_[start.owner];
  highest = std::max(highest, start.number);
}

void Agent::begin(const model::Command& start, std::int64_t now, Actions& out) {
  model::Command begun = start;
  // On a machine without any the variable is the user's own.
  if (!hello_.gpus.empty()) {
    auto chosen = choose_gpus(hello_.gpus, used_gpus(), begun.start->gpus);
    begun.start->env[gpu_variable] = chosen ? base::join(*chosen, ",") : "";
  }
  // The start is on disk before anything else is done for the run.
  auto [at, added] = runs_.emplace(start.run, RunTracker::begin(begun, boot_id_, now, out));
  if (notice_) at->second.notice(*notice_, now, out);
  at->second.online(online_, now, out);
  if (lease_until_us_ > 0) at->second.renewed(lease_until_us_, now, out);
}

std::set<std::string> Agent::used_gpus() const {
  std::set<std::string> used;
  for (auto& [id, run] : runs_) {
    auto own = run.start().env.find(gpu_variable);
    if (!run.under_way() || own == run.start().env.end()) continue;
    for (auto& gpu : base::split(own->second, ',')) used.insert(gpu);
  }
  return used;
}

bool Agent::has_place(const model::StartCommand& start) const {
  // The service counts; but what it counts on may not have ended here yet.
  if (start.gpus > 0 && start.gpus <= std::ssize(hello_.gpus) &&
      !choose_gpus(hello_.gpus, used_gpus(), start.gpus))
    return false;
  if (start.places == 0) return true;
  return std::count_if(runs_.begin(), runs_.end(), [](auto& entry) {
           return entry.second.under_way() && !entry.second.start().manages;
         }) < start.places;
}

std::deque<model::Command>::iterator Agent::find_waiting(const std::string& run) {
  return std::find_if(waiting_.begin(), waiting_.end(),
                      [&](auto& start) { return start.run == run; });
}

// ---- reports

std::optional<std::int64_t> Agent::due(const RunTracker& run) const {
  bool supplied = !waiting_.empty() &&
                  static_cast<std::int64_t>(waiting_.size()) >= waiting_.front().start->places;
  return run.report_due(supplied ? result_patience_us : 0);
}

std::optional<model::SyncRequest> Agent::next_report(std::int64_t now) {
  if (!online_ || reporting_ || !report_backoff_.ready(now)) return std::nullopt;
  bool noticed = has_notice_to_say();
  bool anything = noticed || std::any_of(runs_.begin(), runs_.end(), [&](auto& entry) {
                    auto at = due(entry.second);
                    return at && *at <= now;
                  });
  if (!anything) return std::nullopt;
  model::SyncRequest request;
  request.incarnation = incarnation_;
  // Only the long poll acknowledges commands: a report may reach a service that has begun a new
  // numbering.
  request.seen = 0;
  auto next = runs_.upper_bound(reported_last_);
  for (auto at = next; at != runs_.end(); ++at) add_report(at->first, at->second, now, request);
  for (auto at = runs_.begin(); at != next; ++at) add_report(at->first, at->second, now, request);
  if (!sent_.empty()) reported_last_ = sent_.back().run;
  add_notice(request, now);
  if (request.notice) notice_said_ = session_;
  withdrawal_sent_ = request.notice && !notice_;
  reporting_ = true;
  sent_session_ = session_;
  return request;
}

void Agent::add_report(const std::string& id, const RunTracker& run, std::int64_t now,
                       model::SyncRequest& request) {
  if (sent_.size() == report_width_ || !run.report_due()) return;
  request.reports.push_back(run.report(now));
  sent_.push_back({id, run.start().epoch, run.events(), request.reports.back().result.has_value(),
                   run.unsaved_to_tell()});
}

void Agent::report_answered(const Result<model::SyncAnswer>& answer, std::int64_t now,
                            Actions& out) {
  reporting_ = false;
  auto sent = std::exchange(sent_, {});
  bool current = sent_session_ == session_;
  bool withdrawn = std::exchange(withdrawal_sent_, false);
  if (!answer) {
    notice_said_ = -1;
    if (refuses_notice(answer.error())) return;
    report_backoff_.failed(now);
    if (int status = answer.error().http_status(); status >= 400 && status < 500) report_width_ = 1;
    // Of a service that is older.
    if (answer.error().code() == "invalid_request" &&
        answer.error().message().find("backlog") != std::string::npos)
      for (auto& item : sent)
        if (auto* run = tracker(item.run)) run->unsaved_is_unwanted();
    if (answer.error().code() == "incomplete_pack" && sent.size() == 1)
      if (auto* run = tracker(sent[0].run); run && run->start().epoch == sent[0].epoch)
        run->outputs_lost(now, out);
    if (answer.error().code() == "incarnation_changed" && current) {
      incarnation_.clear();
      waiting_.clear();
      end_session(now, out);
    }
    return;
  }
  report_backoff_.reset();
  report_width_ = report_limit;
  if (withdrawn) withdrawal_untold_ = false;
  for (auto& item : sent)
    if (auto* run = tracker(item.run); run && run->start().epoch == item.epoch)
      run->acknowledged(item.events, item.result, item.unsaved, now);
  if (!current) return;
  if (answer->incarnation != incarnation_) return end_session(now, out);
  apply(*answer, now, out);
}

// ---- what came of the actions

void Agent::not_created(const std::string& id, const Error& error, std::int64_t now, Actions& out) {
  if (auto* run = tracker(id)) run->not_created(error, now, out);
}
void Agent::built(const std::string& id, const Result<std::vector<std::string>>& built,
                  std::int64_t now, Actions& out) {
  if (auto* run = tracker(id)) run->built(built, now, out);
}
void Agent::prepared(const std::string& id, const Result<std::vector<std::string>>& prepared,
                     std::int64_t now, Actions& out) {
  if (auto* run = tracker(id)) run->prepared(prepared, now, out);
}
void Agent::prepare_says(const std::string& id, const std::vector<std::string>& lines,
                         std::int64_t now, Actions& out) {
  if (auto* run = tracker(id)) run->prepare_says(lines, now, out);
}
void Agent::mounted(const std::string& id, const Result<std::vector<std::string>>& mounted,
                    std::int64_t now, Actions& out) {
  if (auto* run = tracker(id)) run->mounted(mounted, now, out);
}

void Agent::compiled(const std::string& id, const Result<std::vector<std::string>>& compiled,
                     std::int64_t now, Actions& out) {
  if (auto* run = tracker(id)) run->compiled(compiled, now, out);
}
void Agent::launched(const std::string& id, const Result<std::vector<std::string>>& launched,
                     std::int64_t now, Actions& out) {
  if (auto* run = tracker(id)) run->launched(launched, now, out);
}
void Agent::observed(const std::string& id, const exec::State& state, std::int64_t now,
                     Actions& out) {
  if (auto* run = tracker(id)) run->observed(state, now, out);
}
void Agent::shipped(const std::string& id, const Result<std::int64_t>& bytes, std::int64_t now,
                    Actions& out) {
  if (auto* run = tracker(id)) run->shipped(bytes, now, out);
}
void Agent::measured(const std::string& id, std::int64_t bytes, std::int64_t now, Actions& out) {
  if (auto* run = tracker(id)) run->measured(bytes, now, out);
}
void Agent::metrics_shipped(const std::string& id, const Result<std::int64_t>& bytes,
                            std::int64_t now, Actions& out) {
  if (auto* run = tracker(id)) run->metrics_shipped(bytes, now, out);
}
void Agent::backup_says(const std::string& id, const std::string& line, std::int64_t now,
                        Actions& out) {
  if (auto* run = tracker(id)) run->backup_says(line, now, out);
}
void Agent::backup_behind(const std::string& id, const std::string& text, std::int64_t now,
                          Actions& out) {
  if (auto* run = tracker(id)) run->backup_behind(text, now, out);
}
void Agent::unsaved(const std::string& id, const Unsaved& left, std::int64_t now) {
  if (auto* run = tracker(id)) run->unsaved(left, now);
}
void Agent::backup_needs(const std::string& id, std::int64_t time_us, std::int64_t now,
                         Actions& out) {
  if (auto* run = tracker(id)) run->backup_needs(time_us, now, out);
}
void Agent::halted(const std::string& id, const Result<Flushed>& flushed, std::int64_t now,
                   Actions& out) {
  if (auto* run = tracker(id)) run->halted(flushed, now, out);
}
void Agent::saving(const std::string& id, std::int64_t files, std::int64_t bytes, std::int64_t now,
                   Actions& out) {
  if (auto* run = tracker(id)) run->saving(files, bytes, now, out);
}
void Agent::saved(const std::string& id, const Result<Saved>& saved, std::int64_t now,
                  Actions& out) {
  if (auto* run = tracker(id)) run->saved(saved, now, out);
}
void Agent::pushed(const std::string& id, const Result<>& pushed, std::int64_t now, Actions& out) {
  if (auto* run = tracker(id)) run->pushed(pushed, now, out);
}

void Agent::gone(const std::string& id, const Result<>& gone, std::int64_t now, Actions& out) {
  auto* run = tracker(id);
  if (!run) return;
  if (!gone) return run->not_gone(gone.error(), now, out);
  runs_.erase(id);
  auto successor = successors_.extract(id);
  if (successor) obey(successor.mapped(), now, out);
}

void Agent::advance(std::int64_t now, Actions& out) {
  for (auto& [id, run] : runs_) run.advance(now, out);
  while (!waiting_.empty() && has_place(*waiting_.front().start)) {
    begin(waiting_.front(), now, out);
    waiting_.pop_front();
  }
}

std::optional<std::int64_t> Agent::wake_at() const {
  std::optional<std::int64_t> at;
  auto earlier = [&](std::optional<std::int64_t> other) {
    if (other && (!at || *other < *at)) at = other;
  };
  if (!waiting_.empty() && has_place(*waiting_.front().start)) earlier(0);
  if (has_notice_to_say() && online_ && !reporting_) earlier(report_backoff_.not_before());
  for (auto& [id, run] : runs_) {
    earlier(run.wake_at());
    if (!online_ || reporting_) continue;
    if (auto at_best = due(run)) earlier(std::max(*at_best, report_backoff_.not_before()));
  }
  return at;
}

}  // namespace spell::worker
