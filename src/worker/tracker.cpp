#include "worker/tracker.hpp"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "base/count.hpp"
#include "base/text.hpp"
#include "model/error_code.hpp"
#include "worker/building.hpp"
#include "worker/ending.hpp"
#include "worker/link.hpp"

namespace spell::worker {

using Phase = exec::State::Phase;

namespace {

constexpr std::size_t skipped_shown = 20;
/// Of what builds of the run's environment print.
constexpr std::size_t prepare_lines = 1000;
/// How the log's lines begin that also tell a later worker.
constexpr std::string_view notice_words = "This machine is taken away in ",
                           halt_words = "Halted to make safe what it has finished",
                           stays_words = "The machine stays after all";

std::string in_seconds(std::int64_t us) {
  return std::to_string((std::max<std::int64_t>(0, us) + 500'000) / 1'000'000) + " s";
}

/// What is kept of an allowance for its end: to stop the command, and to save what it made; half of
/// it at most.
std::int64_t saving_ms(const model::StartCommand& start) {
  constexpr std::int64_t longest = 600'000;
  auto wanted = start.request.stop_grace * 1000 + std::min(longest, start.allowance_ms / 20);
  return std::min(start.allowance_ms / 2, wanted);
}

/// The first of them by name.
std::string some_of(const std::vector<std::string>& paths) {
  std::string out;
  for (std::size_t i = 0; i < std::min(paths.size(), skipped_shown); ++i)
    out += (i ? ", " : "") + base::to_utf8(paths[i]);
  if (paths.size() > skipped_shown)
    out += ", and " + std::to_string(paths.size() - skipped_shown) + " more";
  return out;
}

/// What is stored is what was not there before, compressed where that pays.
std::string saved_text(const Saved& saved) {
  char seconds[32];
  std::snprintf(seconds, sizeof seconds, "%.1f", static_cast<double>(saved.took_us) / 1e6);
  double rate = static_cast<double>(saved.bytes) * 1e6 /
                static_cast<double>(std::max<std::int64_t>(1, saved.took_us));
  return "Saved " + base::count(saved.files, "file") + ", " + base::format_size(saved.bytes) +
         " (" + base::format_size(std::max<std::int64_t>(0, saved.bytes - saved.fresh_bytes)) +
         " deduplicated, " + base::format_size(saved.new_bytes) + " stored) in " + seconds +
         " s, " + base::format_size(static_cast<std::int64_t>(rate)) + "/s";
}

}  // namespace

// ---- entering

RunTracker RunTracker::begin(const model::Command& start, const std::string& boot_id,
                             std::int64_t now, Actions& out) {
  RunTracker run;
  run.start_ = *start.start;
  run.taken_over_us_ = now;
  run.say("building", "Run is building", now, true);
  run.say("", "Machine acquired -- commencing run", now, true);
  run.act(Action::Type::create, out, journal_line(start, boot_id) + run.unwritten());
  return run;
}

RunTracker RunTracker::decline(const model::Command& start, const model::Command& told,
                               const std::string& boot_id, std::int64_t now, Actions& out) {
  RunTracker run;
  run.start_ = *start.start;
  run.want_ = told;
  run.act(Action::Type::create, out, journal_line(start, boot_id));
  run.finish_unstarted(out, now);
  return run;
}

RunTracker RunTracker::resume(Journal journal, bool supervised, const std::string& boot_id,
                              std::int64_t now) {
  RunTracker run;
  run.start_ = std::move(journal.start);
  bool same_boot = journal.boot_id == boot_id;
  std::string why;
  for (auto& event : journal.events) {
    // Another boot's clock says nothing about how long ago it was.
    if (!same_boot) event.age_us = now;
    if (event.reason_code) run.log_full_ = *event.reason_code == "log_full";
    if (event.reason_code) run.behind_ = *event.reason_code == "backup_behind";
    if (event.text.starts_with(notice_words)) {
      run.notice_told_ = true;
      why = event.text.substr(0, event.text.rfind("): "));
      why.erase(0, std::min(why.size(), why.find('(') + 1));
    }
    if (event.text == stays_words) run.notice_told_ = false;
    run.halted_ = run.halted_ || event.text.starts_with(halt_words);
    run.events_.push_back({std::move(event), now});
  }
  // What has been halted goes on nowhere.
  if (run.halted_)
    run.notice_ = Notice{"asked", why, lease_for_ever};  // until a real one says when
  run.journaled_ = run.events_.size();
  // Its first word was when it was taken over; of another boot nothing is left to begin.
  run.taken_over_us_ = run.events_.empty() ? now : std::min(now, run.events_[0].event.age_us);
  for (auto& command : journal.told) {
    if (command.type == "allowance")
      run.start_.allowance_ms = command.allowance_ms;
    else if (!run.want_ || command.type == "kill")
      run.want_ = std::move(command);
  }
  run.supervised_ = supervised;
  run.log_.shipped = -1;
  run.ended_us_ = now;
  run.result_ = std::move(journal.result);
  if (run.result_ && !same_boot) run.result_->ended_age_us = now;
  run.step_ = run.result_ ? Step::report : supervised ? Step::follow : Step::build;
  run.lacks_secrets_ =
      run.step_ == Step::build && (!run.start_.request.secrets.empty() || run.start_.manages);
  // A result is written only after the end of the whole tree.
  run.ended_ = run.result_.has_value();
  return run;
}

void RunTracker::salvage(std::int64_t now, Actions& out) {
  salvaged_ = true;
  if (result_ || supervised_) return;
  lacks_secrets_ = false;
  finish(ending_of(Phase::host_rebooted, false, std::nullopt, std::nullopt, start_.request).result,
         now, out);
}

void RunTracker::not_created(const Error& error, std::int64_t now, Actions& out) {
  busy_ = false;
  model::RunResult result;
  result.status = "build_failed";
  result.reason_code = error.code();
  result.reason = error.message();
  finish(std::move(result), now, out);
  advance(now, out);
}

// ---- saying

bool RunTracker::said(std::string_view status, std::string_view text) const {
  return std::any_of(events_.begin(), events_.end(), [&](const Event& e) {
    return e.event.status == status && (text.empty() || e.event.text == text);
  });
}

bool RunTracker::fence_told() const {
  return std::any_of(events_.begin(), events_.end(),
                     [](const Event& e) { return e.event.text.starts_with("containment: "); });
}

void RunTracker::say(std::string_view status, std::string text, std::int64_t at, bool patient,
                     bool important) {
  if (status.empty() ? said("", text) : reached(status)) return;
  model::RunEvent event;
  event.number = static_cast<std::int64_t>(events_.size()) + 1;
  event.status = status;
  event.text = std::move(text);
  event.important = important;
  event.age_us = at;
  event.log_offset = status == "running" ? 0 : log_.bytes;
  events_.push_back({std::move(event), patient ? at + patience_us : at});
}

void RunTracker::say_again(std::string text, std::int64_t now) {
  model::RunEvent event;
  event.number = static_cast<std::int64_t>(events_.size()) + 1;
  event.text = std::move(text);
  event.important = true;
  event.age_us = now;
  event.log_offset = log_.bytes;
  events_.push_back({std::move(event), now});
}

void RunTracker::say_reason(std::string_view code, std::string text, std::int64_t now) {
  say_again(std::move(text), now);
  events_.back().event.reason_code = std::string(code);
}

std::string RunTracker::unwritten() {
  model::RunReport report;
  report.run = start_.run;
  report.epoch = start_.epoch;
  for (; journaled_ < events_.size(); ++journaled_)
    report.events.push_back(events_[journaled_].event);
  report.result = result_;
  return journal_line(report);
}

void RunTracker::write_journal(Actions& out) {
  if (journaled_ < events_.size()) act(Action::Type::append, out, unwritten());
}

void RunTracker::finish(model::RunResult result, std::int64_t ended_at, Actions& out) {
  if (salvaged_ && result.reason_code == "host_reboot") {
    result.reason_code = "salvaged";
    result.reason = "its machine was lost; what it had left on its disk has been delivered";
  }
  result.ended_age_us = ended_at;
  result.log_bytes = std::max(log_.bytes, log_.shipped);
  result_ = std::move(result);
  act(Action::Type::append, out, unwritten());
  step_ = Step::report;
}

std::optional<std::int64_t> RunTracker::report_due(std::int64_t patience) const {
  if (leave_ != Leave::no) return std::nullopt;
  std::optional<std::int64_t> due;
  if (result_ && !result_acknowledged_) due = patience ? result_->ended_age_us + patience : 0;
  for (std::size_t at = acknowledged_; at < events_.size(); ++at)
    if (!due || events_[at].due < *due) due = events_[at].due;
  if (unsaved_to_tell() && (!due || unsaved_due_ < *due)) due = unsaved_due_;
  return due;
}

model::RunReport RunTracker::report(std::int64_t now) const {
  model::RunReport report;
  report.run = start_.run;
  report.epoch = start_.epoch;
  auto age = [&](std::int64_t at) { return std::max<std::int64_t>(0, now - at); };
  for (std::size_t at = acknowledged_; at < events_.size(); ++at) {
    report.events.push_back(events_[at].event);
    report.events.back().age_us = age(report.events.back().age_us);
  }
  if (result_ && !result_acknowledged_) {
    report.result = result_;
    report.result->ended_age_us = age(report.result->ended_age_us);
  }
  if (auto left = unsaved_to_tell())
    report.backlog =
        RunBacklog{left->files, left->bytes,
                   std::chrono::seconds(left->since_us ? age(left->since_us) / 1'000'000 : 0)};
  return report;
}

std::optional<Unsaved> RunTracker::unsaved_to_tell() const {
  if (!tells_unsaved_ || step_ != Step::follow || unsaved_ == unsaved_told_) return std::nullopt;
  return unsaved_;
}

void RunTracker::unsaved(const Unsaved& left, std::int64_t now) {
  if (step_ != Step::follow) return;
  if (!unsaved_to_tell()) unsaved_due_ = std::max(now, unsaved_due_);
  unsaved_ = left;
}

void RunTracker::acknowledged(std::size_t events, bool result,
                              const std::optional<Unsaved>& unsaved, std::int64_t now) {
  if (unsaved) unsaved_told_ = *unsaved, unsaved_due_ = now + unsaved_every_us;
  acknowledged_ = std::max(acknowledged_, events);
  result_acknowledged_ = result_acknowledged_ || result;
}

// ---- what happened

/// Because the run is not wanted any more, which advance() tells; or this worker ends, and the next
/// one does it anew.
bool RunTracker::given_up(const Result<std::vector<std::string>>& done) {
  return !done && done.error().code() == "canceled";
}

/// Where it is wanted again by now (its machine stays after all), that is done anew.
void RunTracker::given_up(std::int64_t now, Actions& out) {
  if (std::exchange(given_up_, false)) advance(now, out);
}

void RunTracker::built(const Result<std::vector<std::string>>& notices, std::int64_t now,
                       Actions& out) {
  busy_ = false;
  if (given_up(notices)) return given_up(now, out);
  if (!notices) {
    not_created(notices.error(), now, out);
    return;
  }
  for (auto& notice : *notices) say("", notice, now, true);
  write_journal(out);
  if (step_ == Step::build) step_ = prepares() ? Step::prepare : Step::mount;
  advance(now, out);
}

void RunTracker::prepared(const Result<std::vector<std::string>>& notices, std::int64_t now,
                          Actions& out) {
  busy_ = false;
  if (given_up(notices)) return given_up(now, out);
  if (!notices) return build_failed(notices.error(), now, out);
  for (auto& notice : *notices) say("", notice, now, true);
  write_journal(out);
  step_ = Step::mount;
  advance(now, out);
}

void RunTracker::prepare_says(const std::vector<std::string>& lines, std::int64_t now,
                              Actions& out) {
  if (step_ != Step::prepare) return;
  for (auto& line : lines) {
    if (prepare_lines_ > prepare_lines) break;
    bool last = ++prepare_lines_ > prepare_lines;
    say_again(last ? "(the build prints more, which is not shown)" : model::one_line(line, 2000),
              now);
    events_.back().due += patience_us;
  }
  write_journal(out);
}

void RunTracker::build_failed(const Error& error, std::int64_t now, Actions& out) {
  auto lines = base::split(error.message(), '\n');
  for (std::size_t i = 1; i < std::min<std::size_t>(lines.size(), 21); ++i)
    say("", lines[i], now, true, true);
  not_created(Error(error.code(), lines[0]), now, out);
}

void RunTracker::mounted(const Result<std::vector<std::string>>& notices, std::int64_t now,
                         Actions& out) {
  busy_ = false;
  if (given_up(notices)) return given_up(now, out);
  if (!notices) {
    model::RunResult result;
    result.status = compiles() ? "build_failed" : "mount_failed";
    result.reason_code = notices.error().code();
    result.reason = notices.error().message();
    finish(std::move(result), now, out);
    return advance(now, out);
  }
  for (auto& notice : *notices) say("", notice, now, true);
  write_journal(out);
  if (step_ == Step::mount) step_ = compiles() ? Step::compile : Step::launch;
  advance(now, out);
}

void RunTracker::compiled(const Result<std::vector<std::string>>& notices, std::int64_t now,
                          Actions& out) {
  busy_ = false;
  if (given_up(notices)) return given_up(now, out);
  if (!notices) return build_failed(notices.error(), now, out);
  for (auto& notice : *notices) say("", notice, now, true);
  write_journal(out);
  step_ = Step::launch;
  advance(now, out);
}

void RunTracker::launched(const Result<std::vector<std::string>>& notices, std::int64_t now,
                          Actions& out) {
  busy_ = false;
  if (!notices) {
    model::RunResult result;
    result.status = notices.error().code() == "disk_full" ? "build_failed" : "failed";
    result.reason_code = notices.error().code();
    result.reason = notices.error().message();
    finish(std::move(result), now, out);
  } else {
    for (auto& notice : *notices) say("", notice, now, true);
    write_journal(out);
    supervised_ = true;
    step_ = Step::follow;
    // It may have been renewed since.
    if (auto until = lease_until_us()) act(Action::Type::lease, out, std::to_string(until));
    if (auto until = allowed_until_us()) act(Action::Type::allow, out, std::to_string(until));
  }
  advance(now, out);
}

void RunTracker::observed(const exec::State& state, std::int64_t now, Actions& out) {
  if (ended_) return;
  phase_ = state.phase;
  command_ended_ = state.command_ended || (phase_ != Phase::starting && phase_ != Phase::running);
  started_us_ = state.started_us;
  log_.bytes = std::max(log_.bytes, state.output_bytes);
  // "best_effort: why": less than was asked for, which launched() has not said then.
  if (constexpr std::string_view less = "best_effort: ";
      state.containment.compare(0, less.size(), less) == 0 && !fence_told())
    say("", "containment: best effort (" + state.containment.substr(less.size()) + ")", now, true);
  if (started_us_ != 0) say("running", "Run is running", std::min(started_us_, now), true);
  if (state.log_full && !log_full_)
    say_reason(
        "log_full",
        "log is full (" + base::format_size(start_.request.log_limit) + "): the command waits",
        now);
  if (!state.log_full && log_full_ && phase_ == Phase::running)
    say_reason("", "log has room again: the command goes on", now);
  log_full_ = state.log_full;
  write_journal(out);
  if (phase_ != Phase::starting && phase_ != Phase::running) {
    ended_ = true;
    exit_ = state.exit;
    ended_us_ = exit_ && exit_->time_us > 0 && phase_ != Phase::host_rebooted
                    ? std::min(exit_->time_us, now)
                    : now;
    if (by_force(phase_, exit_)) forced_end_us_ = ended_us_;
    if (exit_ && exit_->ended_by == "memory")
      say("", "the run " + over_memory(start_.memory) + " and was ended (--memory asks for more)",
          ended_us_, false, true);
    if (step_ == Step::follow) step_ = Step::drain;
  }
  advance(now, out);
}

void RunTracker::shipped(const Result<std::int64_t>& bytes, std::int64_t now, Actions& out) {
  log_.answered(bytes, now);
  advance(now, out);
}

void RunTracker::Delivery::answered(const Result<std::int64_t>& durable, std::int64_t now) {
  shipping = false;
  // An answer without progress must not become a busy loop.
  if (!durable || *durable <= shipped) {
    backoff.failed(now);
  } else {
    shipped = *durable;
    backoff.reset();
  }
}

void RunTracker::measured(std::int64_t bytes, std::int64_t now, Actions& out) {
  if (bytes <= metrics_.bytes) return;
  if (metrics_.done()) metrics_.held_until = now + metric_patience_us;
  metrics_.bytes = bytes;
  advance(now, out);
}

void RunTracker::metrics_shipped(const Result<std::int64_t>& bytes, std::int64_t now,
                                 Actions& out) {
  metrics_.answered(bytes, now);
  // They are not worth the run's result.
  if (!bytes && bytes.error().http_status() >= 400 && !may_pass(bytes.error())) {
    say("", "metrics are not kept: " + bytes.error().message(), now, false, true);
    write_journal(out);
    metrics_.shipped = INT64_MAX;
  }
  advance(now, out);
}

void RunTracker::saving(std::int64_t files, std::int64_t bytes, std::int64_t now, Actions& out) {
  if (step_ != Step::save || reached("pushing")) return;
  say("", "Saving: " + base::count(files, "file") + ", " + base::format_size(bytes) + " so far",
      now, true);
  write_journal(out);
}

void RunTracker::backup_says(const std::string& line, std::int64_t now, Actions& out) {
  if (step_ != Step::follow) return;
  say("", model::one_line(line), now, false, true);
  write_journal(out);
}

void RunTracker::backup_behind(const std::string& text, std::int64_t now, Actions& out) {
  if (step_ != Step::follow || (text.empty() && !behind_)) return;
  behind_ = !text.empty();
  auto line = behind_ ? text : "the backup has caught up";
  // The run has one reason; that its command waits is the greater one.
  if (log_full_) return backup_says(line, now, out);
  say_reason(behind_ ? "backup_behind" : "", line, now);
  write_journal(out);
}

// ---- a machine that goes

void RunTracker::notice(const Notice& notice, std::int64_t now, Actions& out) {
  if (result_ || (notice_ && notice_->at_us <= notice.at_us)) return;
  notice_ = notice;
  noticed_us_ = now;
  look_at_ = now;
  advance(now, out);
}

void RunTracker::notice_withdrawn(std::int64_t now, Actions& out) {
  if (!notice_ || halting_ || halted_ || ended_ || result_) return;
  notice_.reset();
  if (!std::exchange(notice_told_, false)) return;
  say_again(std::string(stays_words), now);
  write_journal(out);
  act(Action::Type::notice, out);
}

void RunTracker::backup_needs(std::int64_t time_us, std::int64_t now, Actions& out) {
  needs_us_ = time_us;
  advance(now, out);
}

std::optional<std::int64_t> RunTracker::halt_at() const {
  if (!notice_ || halting_ || halted_ || command_ended_ || !notice_told_ || step_ != Step::follow ||
      leave_ != Leave::no)
    return std::nullopt;
  auto whole = std::max<std::int64_t>(0, notice_->at_us - noticed_us_);
  // The speed may fall.
  return notice_->at_us - std::min(notice_reserve_us, whole / 2) - needs_us_ - needs_us_ / 4;
}

std::int64_t RunTracker::flush_until(std::int64_t now) const {
  std::int64_t at = notice_ ? notice_->at_us : now;
  auto whole = std::max<std::int64_t>(0, at - noticed_us_);
  return std::max(at - std::min(end_us, whole / 4), now + end_us / 4);
}

void RunTracker::heed_notice(std::int64_t now, Actions& out) {
  if (!notice_ || started_us_ == 0 || command_ended_ || halting_ || halted_) return;
  if (!notice_told_) {
    notice_told_ = true;
    say_again(std::string(notice_words) + in_seconds(notice_->at_us - now) + " (" + notice_->text +
                  "): what the run has finished writing is made safe first",
              now);
    act(Action::Type::notice, out);
    write_journal(out);
  }
  if (now >= *halt_at()) {
    halting_ = true;
    say("", std::string(halt_words) + ", " + in_seconds(notice_->at_us - now) + " before the end",
        now, false, true);
    write_journal(out);
    act(Action::Type::halt, out);
  } else if (now >= look_at_) {
    look_at_ = now + look_every_us;
    act(Action::Type::look, out);
  }
}

void RunTracker::halted(const Result<Flushed>& flushed, std::int64_t now, Actions& out) {
  halting_ = false;
  halted_ = true;
  if (result_) return advance(now, out);
  if (!flushed) {
    if (!command_ended_)
      say("", "it could not be halted: " + flushed.error().message(), now, false, true);
  } else {
    flushed_ = *flushed;
    if (!flushed_->left.empty())
      say("", "finished, but not safe before the machine goes: " + some_of(flushed_->left), now,
          false, true);
    if (!flushed_->torn.empty())
      say("", "being written when the run was halted, so not restored: " + some_of(flushed_->torn),
          now, false, true);
  }
  write_journal(out);
  advance(now, out);
}

std::int64_t RunTracker::allowed_until_us() const {
  if (start_.allowance_ms <= 0) return 0;
  return taken_over_us_ + (start_.allowance_ms - saving_ms(start_)) * 1000;
}

bool RunTracker::is_unpaid(std::int64_t now) const {
  auto until = allowed_until_us();
  return until > 0 && now >= until;
}

bool RunTracker::is_preparing() const {
  return step_ == Step::build || step_ == Step::prepare || step_ == Step::mount ||
         step_ == Step::compile || step_ == Step::launch;
}

Ending RunTracker::ending() const {
  return ending_of(phase_, started_us_ != 0, exit_, want_, start_.request,
                   notice_ && notice_told_ ? &notice_->text : nullptr, start_.memory);
}

std::optional<std::int64_t> RunTracker::save_until() const {
  if (!ended_ || !exit_ || exit_->ended_by != ended_by_notice || want_) return std::nullopt;
  return std::max(notice_ ? notice_->at_us : 0, ended_us_ + end_us);
}

bool RunTracker::too_late(std::int64_t now) const {
  auto until = save_until();
  return until && now >= *until;
}

/// Nothing is left that saving could add, or no time to do so.
bool RunTracker::flushed_all() const {
  return save_until() && flushed_ && flushed_->known &&
         (flushed_->torn.empty() || !flushed_->left.empty());
}

void RunTracker::saved(const Result<Saved>& saved, std::int64_t now, Actions& out) {
  busy_ = false;
  if (!saved && too_late(now)) return advance(now, out);
  if (!saved) {
    save_failed(saved.error(), now, out);
    return;
  }
  saved_ = *saved;
  if (!reached("pushing")) {
    if (!saved_.tree.empty()) say("", saved_text(saved_), now, true);
    if (saved_.left_out > 0)
      say("",
          base::count(saved_.left_out, "file") +
              " left out (__pycache__, .git, .venv, node_modules, .ipynb_checkpoints and what "
              ".spellignore names; --save-all takes them along)",
          now, true);
    if (saved_.incomplete > 0)
      say("",
          base::count(saved_.incomplete, "file") +
              " may have been in the middle of writing when the run was ended: kept in "
              ".incomplete/, beside the finished versions before",
          now, true, true);
    for (std::size_t i = 0; i < std::min(saved_.skipped.size(), skipped_shown); ++i)
      say("", "not saved: " + saved_.skipped[i], now, true, true);
    if (saved_.skipped.size() > skipped_shown)
      say("", "not saved: " + std::to_string(saved_.skipped.size() - skipped_shown) + " more", now,
          true, true);
    say("pushing", "Run is pushing", now, true);
    write_journal(out);
  }
  step_ = Step::push;
  if (!saved_.push)
    pushed(ok(), now, out);
  else
    advance(now, out);
}

void RunTracker::pushed(const Result<>& pushed, std::int64_t now, Actions& out) {
  busy_ = false;
  if (!pushed && too_late(now)) return advance(now, out);
  if (!pushed) {
    // The pack is made anew: the service may have lost what it was made against.
    step_ = Step::save;
    save_failed(pushed.error(), now, out);
    return;
  }
  step_backoff_.reset();
  if (again_) {
    again_->outputs = saved_.tree;
    finish(*again_, again_->ended_age_us, out);
    return advance(now, out);
  }
  // A kill that came while the outputs travelled is a kill.
  auto ending = this->ending();
  if (ending.save) {
    ending.result.outputs = saved_.tree;
    ending.result.output_files = saved_.files;
    ending.result.output_bytes = saved_.bytes;
  }
  finish(std::move(ending.result), ended_us_, out);
  advance(now, out);
}

void RunTracker::outputs_lost(std::int64_t now, Actions& out) {
  if (step_ != Step::report || !result_ || result_acknowledged_) return;
  again_ = std::exchange(result_, std::nullopt);
  step_ = Step::save;
  save_failed(Error("incomplete_pack", "what was saved is not at the service any more"), now, out);
}

void RunTracker::save_failed(const Error& error, std::int64_t now, Actions& out) {
  step_backoff_.failed(now);
  bool connection = error.http_status() == 0 &&
                    (error.code() == "service_unreachable" || error.code() == "connection_lost" ||
                     error.code() == "timeout" || error.code() == "canceled");
  if (!connection) {
    say("",
        "saving waits: " + error.message() + "; tried again until it works (spell kill gives up)",
        now, false, true);
    write_journal(out);
  }
  advance(now, out);
}

// ---- what is wanted

void RunTracker::told(const model::Command& command, const std::string& boot_id, std::int64_t now,
                      Actions& out) {
  if (command.type == "forget") {
    leave_ = Leave::forgotten;
  } else if (command.type == "stop" || command.type == "kill") {
    if (result_ || (want_ && (want_->type == "kill" || command.type == "stop"))) return;
    want_ = command;
    act(Action::Type::append, out, journal_line(command, boot_id));
  } else if (command.type == "allowance") {
    // What was reserved once is not taken back from a run that goes on.
    bool less = start_.allowance_ms > 0 && command.allowance_ms < start_.allowance_ms;
    if (result_ || command.allowance_ms <= 0 || less) return;
    if (std::exchange(start_.allowance_ms, command.allowance_ms) != command.allowance_ms)
      act(Action::Type::append, out, journal_line(command, boot_id));
    // Also what it was told before: an earlier worker may have had no time to pass it on.
    if (supervised_ && !ended_) act(Action::Type::allow, out, std::to_string(allowed_until_us()));
  }
  advance(now, out);
}

void RunTracker::refused(const std::string& reason, std::int64_t now, Actions& out) {
  if (leave_ != Leave::no) return;
  leave_ = Leave::refused;
  act(Action::Type::log, out,
      "run " + std::to_string(start_.number) + " (" + start_.run +
          ") is not wanted by the service any more (" + reason +
          "): it is ended, its files are kept");
  advance(now, out);
}

void RunTracker::not_gone(const Error& error, std::int64_t now, Actions& out) {
  busy_ = false;
  step_backoff_.failed(now);
  act(Action::Type::log, out, "run " + start_.run + ": " + error.message());
}

void RunTracker::started_again(const model::StartCommand& start, std::int64_t now, Actions& out) {
  if (!lacks_secrets_) return;
  lacks_secrets_ = false;
  start_.secrets = start.secrets;
  advance(now, out);
}

void RunTracker::renewed(std::int64_t until_us, std::int64_t now, Actions& out) {
  if (!start_.request.exclusive || until_us == lease_until_us_) return;
  lease_until_us_ = until_us;
  if (supervised_ && !ended_ && lease_until_us() > 0)
    act(Action::Type::lease, out, std::to_string(until_us));
  if (step_ == Step::launch) advance(now, out);
}

void RunTracker::online(bool online, std::int64_t now, Actions& out) {
  if (online && !online_) {
    // It may have less than it had: restored from a backup, or with a log whose end was damaged.
    if (log_.shipped > 0) log_.shipped = -1;
    if (metrics_.shipped > 0 && metrics_.shipped != INT64_MAX) metrics_.shipped = -1;
    log_.backoff.reset();
    metrics_.backoff.reset();
    step_backoff_.reset();
    // It keeps this in memory alone.
    tells_unsaved_ = true;
    unsaved_told_ = {};
  }
  online_ = online;
  advance(now, out);
}

// ---- what to do next

void RunTracker::control(std::int64_t now, Actions& out) {
  bool preparing = is_preparing() && step_ != Step::launch;
  if (preparing && busy_ && !given_up_ &&
      (want_ || notice_ || leave_ != Leave::no || is_unpaid(now))) {
    given_up_ = true;
    act(Action::Type::give_up, out);
  }
  if (!supervised_ || ended_) return;
  bool killed = leave_ != Leave::no || (want_ && want_->type == "kill");
  std::string wanted = killed ? "kill" : halted_ ? ended_by_notice : want_ ? want_->type : "";
  if (wanted == wanted_) return;
  wanted_ = wanted;
  if (wanted == "stop")
    act(Action::Type::stop, out);
  else if (!wanted.empty())
    act(Action::Type::kill, out, wanted);
}

void RunTracker::ship(std::int64_t now, Actions& out) {
  if (!online_) return;
  if (log_.is_due(now)) {
    log_.shipping = true;
    act(Action::Type::ship, out);
  }
  if (ended_) metrics_.held_until = 0;
  if (metrics_.is_due(now)) {
    metrics_.shipping = true;
    act(Action::Type::ship_metrics, out);
  }
}

void RunTracker::leave(std::int64_t now, Actions& out) {
  if (busy_ || halting_ || log_.shipping || metrics_.shipping || (supervised_ && !ended_) ||
      !step_backoff_.ready(now))
    return;
  busy_ = true;
  act(leave_ == Leave::forgotten ? Action::Type::remove : Action::Type::park, out);
}

void RunTracker::finish_unstarted(Actions& out, std::int64_t now) {
  // An exclusive one that its service has given up meanwhile.
  bool too_late = want_ && want_->reason_code == lease_expired_result().reason_code;
  finish(too_late  ? lease_expired_result()
         : want_   ? killed_result(want_)
         : notice_ ? noticed_result(notice_->text)
                   : allowance_used_result(),
         now, out);
}

void RunTracker::advance(std::int64_t now, Actions& out) {
  control(now, out);
  if (leave_ != Leave::no) return leave(now, out);
  if (busy_) return;
  switch (step_) {
    case Step::build:
      if (want_ || notice_ || is_unpaid(now)) return finish_unstarted(out, now);
      if (start_.request.code && !start_.code_url.empty()) {
        busy_ = true;
        return act(Action::Type::build, out);
      }
      step_ = Step::prepare;
      [[fallthrough]];
    case Step::prepare:
      if (prepares()) {
        if (want_ || notice_ || is_unpaid(now)) return finish_unstarted(out, now);
        busy_ = true;
        return act(Action::Type::prepare, out);
      }
      step_ = Step::mount;
      [[fallthrough]];
    case Step::mount:
      if (want_ || notice_ || is_unpaid(now)) return finish_unstarted(out, now);
      if (finds_data(start_)) {
        if (!compiles()) say("mounting", "Run is mounting", now, true);
        write_journal(out);
        busy_ = true;
        return act(Action::Type::mount, out);
      }
      step_ = Step::launch;
      [[fallthrough]];
    case Step::launch:
      if (want_ || notice_ || is_unpaid(now)) return finish_unstarted(out, now);
      if (lacks_secrets_) return;
      if (start_.request.exclusive) {
        if (lease_until_us_ == 0) return;
        if (now >= lease_until_us_) return finish(lease_expired_result(), now, out);
      }
      busy_ = true;
      return act(Action::Type::launch, out);
    case Step::compile:
      if (want_ || notice_ || is_unpaid(now)) return finish_unstarted(out, now);
      busy_ = true;
      return act(Action::Type::compile, out);
    case Step::follow:
      if (auto at = backup_at(); at && now >= *at) {
        backed_up_ = true;
        act(Action::Type::back_up, out);
      }
      heed_notice(now, out);
      return ship(now, out);
    case Step::drain: {
      ship(now, out);
      if (halting_) return;
      // While nobody hears it, nothing of it ends for lack of time: its disk may come back.
      if ((!log_.done() || !metrics_.done()) && !(online_ && too_late(now))) return;
      auto ending = this->ending();
      if (!ending.save) return finish(std::move(ending.result), ended_us_, out);
      if (flushed_all() && (online_ || flushed_->left.empty())) {
        // Where something is left, a newer tree may be on its way: the service keeps the newest.
        if (flushed_->left.empty()) {
          ending.result.outputs = flushed_->tree;
          ending.result.output_files = flushed_->files;
          ending.result.output_bytes = flushed_->bytes;
        }
        return finish(std::move(ending.result), ended_us_, out);
      }
      say("saving", "Run is saving", now, true);
      say("", "Scanning for modified or new files from the run", now, true);
      write_journal(out);
      step_ = Step::save;
      [[fallthrough]];
    }
    case Step::save:
    case Step::push:
      if (again_ && want_ && want_->type == "kill") {
        again_->outputs.clear();
        return finish(*again_, again_->ended_age_us, out);
      }
      if (want_ && want_->type == "kill") return finish(ending().result, ended_us_, out);
      // What was backed up while it ran is what is safe of it.
      if (online_ && too_late(now)) return finish(ending().result, ended_us_, out);
      if (!online_ || !step_backoff_.ready(now)) return;
      busy_ = true;
      return act(step_ == Step::save ? Action::Type::save : Action::Type::push, out);
    case Step::report:
      return;
  }
}

std::optional<std::int64_t> RunTracker::backup_at() const {
  if (step_ != Step::follow || leave_ != Leave::no || backed_up_ || started_us_ == 0 ||
      command_ended_)
    return std::nullopt;
  return started_us_ + backup_after_us;
}

std::optional<std::int64_t> RunTracker::wake_at() const {
  std::optional<std::int64_t> at;
  auto earlier = [&](std::optional<std::int64_t> other) {
    if (other && (!at || *other < *at)) at = other;
  };
  earlier(own_wake_at());
  earlier(backup_at());
  if (auto halt = halt_at()) earlier(std::min(*halt, look_at_));
  bool launches = busy_ && step_ == Step::launch;  // its supervisor knows
  bool may_begin = is_preparing() && !launches && !given_up_ && leave_ == Leave::no && !result_;
  if (auto until = allowed_until_us(); until > 0 && may_begin) earlier(until);
  bool ends = step_ == Step::drain || step_ == Step::save || step_ == Step::push;
  if (ends && online_ && !busy_ && !halting_ && leave_ == Leave::no) earlier(save_until());
  return at;
}

std::optional<std::int64_t> RunTracker::own_wake_at() const {
  bool ships = (step_ == Step::follow || step_ == Step::drain) && leave_ == Leave::no;
  if (ships && online_) {
    auto log = log_.due(), metrics = metrics_.due();
    if (log && metrics) return std::min(*log, *metrics);
    if (log || metrics) return log ? log : metrics;
  }
  bool steps = leave_ != Leave::no ? !supervised_ || ended_
                                   : online_ && (step_ == Step::save || step_ == Step::push);
  if (steps && !busy_ && !log_.shipping && !metrics_.shipping && step_backoff_.not_before() > 0)
    return step_backoff_.not_before();
  return std::nullopt;
}

}  // namespace spell::worker
