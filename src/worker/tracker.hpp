// One run's way through this machine, without I/O: event + now -> actions.
//
//   build -> mount -> compile -> launch -> follow -> drain -> save -> push -> report -> (forgotten)
//     |        |         |          |         |        |       |       |
//     |        |         |          |         |        |       +-------+-- kill: saves no more
//     |        |         |          |         |        +-- the whole output is with the service
//     |        |         |          |         +-- the command's end, also where its supervisor or
//     |        |         |          |             its boot is gone
//     +--------+---------+----------+-- stop, kill: the command is never started
//
// compile: only where its program is built here. From report back to save where the service has
// freed the outputs before it heard of them.
//
// A restarted worker enters at `build`, `follow` or `report`, as the journal and the supervisor's
// folder say. Each step can be done again. Not thread-safe. Times are CLOCK_BOOTTIME µs.
#pragma once
#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "exec/supervised.hpp"
#include "model/worker_protocol.hpp"
#include "worker/action.hpp"
#include "worker/backoff.hpp"
#include "worker/journal.hpp"

namespace spell::worker {

class RunTracker {
 public:
  /// Steps of the life-cycle may wait so long for the next, so that a short run is told in one
  /// report. A run's first output is shown after "running": this is the most that it waits for.
  static constexpr std::int64_t patience_us = 20'000;
  /// What is not safe yet is told no more often.
  static constexpr std::int64_t unsaved_every_us = 1'000'000;
  /// A run that is shorter pays nothing for the backup of its files while it runs.
  static constexpr std::int64_t backup_after_us = 1'000'000;
  /// Metrics may wait so long for more of them, while the command runs.
  static constexpr std::int64_t metric_patience_us = 50'000;

  /// A run that was just assigned.
  static RunTracker begin(const model::Command& start, const std::string& boot_id, std::int64_t now,
                          Actions& out);
  /// A run that is to be ended (`told`) before it was begun here.
  static RunTracker decline(const model::Command& start, const model::Command& told,
                            const std::string& boot_id, std::int64_t now, Actions& out);
  /// A run found on disk. `supervised`: it has, or had, a supervisor; observed() tells the rest.
  static RunTracker resume(Journal journal, bool supervised, const std::string& boot_id,
                           std::int64_t now);

  /// Its machine is dead, and this is its disk: it is not begun any more.
  void salvage(std::int64_t now, Actions& out);

  const model::StartCommand& start() const { return start_; }
  std::int64_t output_bytes() const { return log_.bytes; }
  /// When the run was ended by force; none: it has ended otherwise, or not yet.
  std::optional<std::int64_t> forced_end_us() const { return forced_end_us_; }
  std::int64_t ended_us() const { return ended_us_; }
  const std::optional<exec::Exit>& exit() const { return exit_; }
  const std::optional<model::RunResult>& result() const { return result_; }
  bool result_is_taken() const { return result_acknowledged_; }
  /// Its command may write still.
  bool goes_on() const { return step_ == Step::follow && leave_ == Leave::no; }
  /// It takes a place: until its command has ended. What is left of its tree is ended, and its
  /// outputs are saved, beside the next one.
  bool under_way() const { return !result_ && !again_ && !command_ended_; }

  void not_created(const Error&, std::int64_t now, Actions& out);
  void built(const Result<std::vector<std::string>>& notices, std::int64_t now, Actions& out);
  void mounted(const Result<std::vector<std::string>>& notices, std::int64_t now, Actions& out);
  void compiled(const Result<std::vector<std::string>>& notices, std::int64_t now, Actions& out);
  /// `notices`: what the log has to say of how the run was started.
  void launched(const Result<std::vector<std::string>>& notices, std::int64_t now, Actions& out);
  void observed(const exec::State&, std::int64_t now, Actions& out);
  /// Output bytes that the service has.
  void shipped(const Result<std::int64_t>& bytes, std::int64_t now, Actions& out);
  /// Bytes of metrics that there are, and that the service has.
  void measured(std::int64_t bytes, std::int64_t now, Actions& out);
  void metrics_shipped(const Result<std::int64_t>& bytes, std::int64_t now, Actions& out);
  /// How far a long save has come.
  void saving(std::int64_t files, std::int64_t bytes, std::int64_t now, Actions& out);
  /// Its backup while it runs has something to say, or could not begin.
  void backup_says(const std::string& line, std::int64_t now, Actions& out);
  /// It does not keep up, see `text`; "": it does again.
  void backup_behind(const std::string& text, std::int64_t now, Actions& out);
  /// What its backup has still to make safe.
  void unsaved(const Unsaved&, std::int64_t now);
  /// The service does not want to hear of that.
  void unsaved_is_unwanted() { tells_unsaved_ = false; }
  void saved(const Result<Saved>&, std::int64_t now, Actions& out);
  void pushed(const Result<>&, std::int64_t now, Actions& out);
  /// The service has none of the outputs that the result names: freed before it heard of them.
  void outputs_lost(std::int64_t now, Actions& out);
  /// Stop, kill or forget.
  void told(const model::Command&, const std::string& boot_id, std::int64_t now, Actions& out);
  /// The service will never take a report of this run.
  void refused(const std::string& reason, std::int64_t now, Actions& out);
  void not_gone(const Error&, std::int64_t now, Actions& out);
  /// The start was said again, with the values of secrets that the journal does not keep.
  void started_again(const model::StartCommand&, std::int64_t now, Actions& out);
  /// The service counts its machine as lost at this time at the earliest. An exclusive run is not
  /// begun later, nor before that is known, and its supervisor ends it then.
  void renewed(std::int64_t until_us, std::int64_t now, Actions& out);
  static constexpr std::int64_t lease_for_ever = INT64_MAX;
  /// For its supervisor; 0: it has no lease.
  std::int64_t lease_until_us() const {
    return start_.request.exclusive && lease_until_us_ != lease_for_ever ? lease_until_us_ : 0;
  }
  /// Whether the service can be reached. Coming back ends all waiting.
  void online(bool, std::int64_t now, Actions& out);
  /// Goes on with what had to wait until now.
  void advance(std::int64_t now, Actions& out);
  /// When advance() has something to do; none: only an event helps.
  std::optional<std::int64_t> wake_at() const;

  /// When something is to be reported; none: nothing is. A result may wait for `patience` after the
  /// command's end.
  std::optional<std::int64_t> report_due(std::int64_t patience = 0) const;
  /// What the service has not acknowledged, ages as of `now`.
  model::RunReport report(std::int64_t now) const;
  /// A report with so many events, and the result or not, was taken.
  void acknowledged(std::size_t events_before_and_in_it, bool result,
                    const std::optional<Unsaved>& unsaved, std::int64_t now);
  /// What report() says of it; none: nothing.
  std::optional<Unsaved> unsaved_to_tell() const;
  std::size_t events() const { return events_.size(); }

 private:
  enum class Step { build, mount, compile, launch, follow, drain, save, push, report };
  enum class Leave { no, forgotten, refused };
  struct Event {
    model::RunEvent event;
    std::int64_t due;
  };
  /// Something that grows here and is sent to the service batch by batch.
  struct Delivery {
    std::int64_t bytes = 0, shipped = 0;
    bool shipping = false;
    std::int64_t held_until = 0;  ///< so that more goes with it
    Backoff backoff{100'000, 10'000'000};
    bool done() const { return !shipping && shipped >= bytes; }
    bool is_due(std::int64_t now) const {
      return !shipping && shipped < bytes && backoff.ready(now) && now >= held_until;
    }
    std::optional<std::int64_t> due() const {
      if (shipping || shipped >= bytes) return std::nullopt;
      return std::max(backoff.not_before(), held_until);
    }
    void answered(const Result<std::int64_t>& durable, std::int64_t now);
  };

  bool said(std::string_view status, std::string_view text) const;
  bool fence_told() const;
  bool reached(std::string_view status) const { return said(status, {}); }
  void say(std::string_view status, std::string text, std::int64_t at, bool patient,
           bool important = false);
  /// What the run waits for, or that it goes on ("").
  void say_reason(std::string_view code, std::string text, std::int64_t now);
  std::string unwritten();
  void write_journal(Actions& out);
  void finish(model::RunResult, std::int64_t ended_at, Actions& out);
  void finish_unstarted(Actions& out, std::int64_t now);
  /// Its program is built here; that is part of `building`, and so is what it mounts for it.
  bool compiles() const { return start_.request.build.has_value(); }
  static bool given_up(const Result<std::vector<std::string>>&);
  void act(Action::Type type, Actions& out, std::string text = {}) {
    out.push_back({type, start_.run, std::move(text)});
  }
  std::optional<std::int64_t> backup_at() const;
  std::optional<std::int64_t> own_wake_at() const;
  void control(Actions& out);
  void ship(std::int64_t now, Actions& out);
  void leave(std::int64_t now, Actions& out);
  void save_failed(const Error&, std::int64_t now, Actions& out);

  model::StartCommand start_;
  std::vector<Event> events_;
  std::size_t acknowledged_ = 0, journaled_ = 0;
  std::optional<model::RunResult> result_;
  std::optional<model::RunResult> again_;  ///< what it was before its outputs were lost
  bool result_acknowledged_ = false;

  Step step_ = Step::build;
  bool given_up_ = false;       ///< building, mounting or compiling was told to end
  bool busy_ = false;           ///< a job of this run is under way
  bool lacks_secrets_ = false;  ///< waits for started_again() before it is launched
  Leave leave_ = Leave::no;
  std::optional<model::Command> want_;  ///< stop or kill; a kill is not taken back
  std::string wanted_{};                ///< what the supervisor was told last

  std::optional<std::int64_t> forced_end_us_{};
  bool behind_ = false;     ///< its backup, which is said
  bool backed_up_ = false;  ///< its backup while it runs was begun
  bool supervised_ = false, command_ended_ = false, ended_ = false, log_full_ = false,
       online_ = false;
  exec::State::Phase phase_ = exec::State::Phase::starting;
  std::int64_t started_us_ = 0, ended_us_ = 0;
  std::int64_t lease_until_us_ = 0;  ///< 0: it is not known
  Delivery log_, metrics_;
  Unsaved unsaved_, unsaved_told_;
  std::int64_t unsaved_due_ = 0;
  bool tells_unsaved_ = true;
  bool salvaged_ = false;
  std::optional<exec::Exit> exit_;
  Saved saved_;
  Backoff step_backoff_{1'000'000, 60'000'000};
};

}  // namespace spell::worker
