// One run's way through this machine, without I/O: event + now -> actions.
//
//   build -> prepare -> mount -> compile -> launch -> follow -> drain -> save -> push -> report ->
//   (forgotten)
//     |        |         |          |         |        |       |       |
//     |        |         |          |         |        |       +-------+-- kill: saves no more
//     |        |         |          |         |        +-- the whole output is with the service
//     |        |         |          |         +-- the command's end, also where its supervisor or
//     |        |         |          |             its boot is gone
//     +--------+---------+----------+-- stop, kill, what it may cost: the command is never started
//
// A machine that will be taken away (notice): what is not started yet is not, and ends there. A run
// that goes on is told, halted when the time that remains is what its files need, and ended when
// those are safe:
//
//   follow --told--> follow --halt--> (halted: the backup is finished) --kill--> drain -> report
//
// It saves only if its backup has not finished everything, and for as long as the machine is there.
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
#include "worker/ending.hpp"
#include "worker/journal.hpp"
#include "worker/notice.hpp"

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

  /// Of the time that a notice leaves, what is kept for the run's end and its report; of little
  /// time less.
  static constexpr std::int64_t notice_reserve_us = 2'000'000;
  /// While the time runs out: how often it is asked what its files need.
  static constexpr std::int64_t look_every_us = 200'000;
  /// What a run that was halted may take for its end, whatever time it had.
  static constexpr std::int64_t end_us = 1'000'000;

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
  /// It stands still for its machine's end, or is about to.
  bool is_halted() const { return halting_ || halted_; }
  /// Null: its machine is to stay, as far as is known.
  const Notice* notice() const { return notice_ ? &*notice_ : nullptr; }
  /// A run that its machine's end has ended: until when it may save. None: as long as it takes.
  std::optional<std::int64_t> save_until() const;
  /// How long it may take to make safe what a run that was just halted has finished.
  std::int64_t flush_until(std::int64_t now) const;
  /// Nothing of it goes on, and what is known of its end is written down, said or not.
  bool is_at_rest() const {
    return !halting_ && (result_ || ended_ || (leave_ != Leave::no && !supervised_));
  }
  /// All is said of how it ended.
  bool is_told() const { return result_acknowledged_ || leave_ != Leave::no; }
  /// Its command may write still.
  bool goes_on() const { return step_ == Step::follow && leave_ == Leave::no; }
  /// It takes a place: until its command has ended. What is left of its tree is ended, and its
  /// outputs are saved, beside the next one.
  bool under_way() const { return !result_ && !again_ && !command_ended_; }

  void not_created(const Error&, std::int64_t now, Actions& out);
  void built(const Result<std::vector<std::string>>& notices, std::int64_t now, Actions& out);
  void prepared(const Result<std::vector<std::string>>& notices, std::int64_t now, Actions& out);
  void prepare_says(const std::vector<std::string>& lines, std::int64_t now, Actions& out);
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
  /// Its machine will be taken away; again with another time.
  void notice(const Notice&, std::int64_t now, Actions& out);
  /// It stays after all: the run is told, and goes on. What has been halted is ended all the same.
  void notice_withdrawn(std::int64_t now, Actions& out);
  /// So long its files would need to become safe.
  void backup_needs(std::int64_t time_us, std::int64_t now, Actions& out);
  void halted(const Result<Flushed>&, std::int64_t now, Actions& out);
  void saved(const Result<Saved>&, std::int64_t now, Actions& out);
  void pushed(const Result<>&, std::int64_t now, Actions& out);
  /// The service has none of the outputs that the result names: freed before it heard of them.
  void outputs_lost(std::int64_t now, Actions& out);
  /// Stop, kill, forget, or a longer allowance.
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
  /// When its command is stopped for what it may cost, so that the rest of its allowance pays for
  /// its end; 0: never. What comes before the command is ended then, too.
  std::int64_t allowed_until_us() const;
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
  enum class Step { build, prepare, mount, compile, launch, follow, drain, save, push, report };
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
  /// Also what was said before.
  void say_again(std::string text, std::int64_t now);
  /// What the run waits for, or that it goes on ("").
  void say_reason(std::string_view code, std::string text, std::int64_t now);
  std::string unwritten();
  void write_journal(Actions& out);
  void finish(model::RunResult, std::int64_t ended_at, Actions& out);
  void finish_unstarted(Actions& out, std::int64_t now);
  /// Its program is built here; that is part of `building`, and so is what it mounts for it.
  bool compiles() const { return start_.request.build.has_value(); }
  /// Its environment is brought here, or built.
  bool prepares() const { return start_.request.has_environment(); }
  /// What a tool printed last, in the log; its first line is the run's reason.
  void build_failed(const Error&, std::int64_t now, Actions& out);
  static bool given_up(const Result<std::vector<std::string>>&);
  void given_up(std::int64_t now, Actions& out);
  void act(Action::Type type, Actions& out, std::string text = {}) {
    out.push_back({type, start_.run, std::move(text)});
  }
  std::optional<std::int64_t> backup_at() const;
  std::optional<std::int64_t> halt_at() const;
  void heed_notice(std::int64_t now, Actions& out);
  bool is_unpaid(std::int64_t now) const;
  bool is_preparing() const;
  Ending ending() const;
  bool too_late(std::int64_t now) const;
  bool flushed_all() const;
  std::optional<std::int64_t> own_wake_at() const;
  void control(std::int64_t now, Actions& out);
  void ship(std::int64_t now, Actions& out);
  void leave(std::int64_t now, Actions& out);
  void save_failed(const Error&, std::int64_t now, Actions& out);

  model::StartCommand start_;
  std::vector<Event> events_;
  std::size_t acknowledged_ = 0, journaled_ = 0, prepare_lines_ = 0;
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

  std::optional<Notice> notice_{};
  std::int64_t noticed_us_ = 0, needs_us_ = 0, look_at_ = 0;
  bool notice_told_ = false;  ///< it was
  bool halting_ = false;      ///< it is being halted, and what it has finished made safe
  bool halted_ = false;       ///< that is done: it is to be ended
  std::optional<Flushed> flushed_{};

  std::optional<std::int64_t> forced_end_us_{};
  bool behind_ = false;     ///< its backup, which is said
  bool backed_up_ = false;  ///< its backup while it runs was begun
  bool supervised_ = false, command_ended_ = false, ended_ = false, log_full_ = false,
       online_ = false;
  exec::State::Phase phase_ = exec::State::Phase::starting;
  std::int64_t started_us_ = 0, ended_us_ = 0;
  std::int64_t lease_until_us_ = 0;  ///< 0: it is not known
  std::int64_t taken_over_us_ = 0;   ///< when it was; its allowance counts from then on
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
