// The worker's side of the worker protocol for all its runs, without I/O: answers and outcomes +
// now -> actions and requests.
//
// A session is what lasts from one hello to the next. The service numbers its commands anew in
// each, so `seen` begins at 0, and answers that belong to an earlier session are not obeyed.
// Commands may come twice, on either connection; each is safe to obey again.
//
//   no session --hello answered--> session --poll failed, or another incarnation--> no session
//
// A run that was given ahead of a free place waits in memory until one is free here; after a crash
// the service gives it again. Which GPUs a run gets is chosen when it begins, and stands in its
// journal as its environment.
//
// Reports, logs and outputs are sent only in a session. One report at a time is under way; it takes
// along all that is unsaid. Not thread-safe. Times are CLOCK_BOOTTIME µs.
#pragma once
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "model/worker_protocol.hpp"
#include "worker/action.hpp"
#include "worker/tracker.hpp"

namespace spell::worker {

class Agent {
 public:
  static constexpr std::int64_t poll_limit_ms = 25'000;
  /// By which the lease of an exclusive run ends before that of its machine, at most.
  static constexpr std::int64_t lease_margin_us = 2'000'000;
  static constexpr std::size_t report_limit = 200;  ///< runs in one report
  /// While the next runs are here already nobody waits for a place: then a result may wait so long
  /// for others, to be told with them.
  static constexpr std::int64_t result_patience_us = 10'000;

  /// `patient`: the service may be away for long; it is asked for less often then. `only_delivers`:
  /// see WorkerOptions.
  Agent(model::WorkerHello hello, std::string boot_id, bool patient = false,
        bool only_delivers = false)
      : hello_(std::move(hello)),
        boot_id_(std::move(boot_id)),
        only_delivers_(only_delivers),
        poll_backoff_(50'000, patient ? 10'000'000 : 2'000'000) {}

  /// The machine will be taken away: no run begins any more, and those that are here are told. Of
  /// several notices the earliest time counts.
  void notice(const Notice&, std::int64_t now, Actions&);
  /// Who gave notices of this kind takes them back; without another one all goes on as before, and
  /// the service is told.
  void notice_withdrawn(const std::string& kind, std::int64_t now, Actions&);
  /// Null: it is to stay, as far as is known.
  const Notice* notice() const { return notice_ ? &*notice_ : nullptr; }
  /// It goes, and nothing is here that the service has not heard the end of; where it goes because
  /// it hears nothing of its service, nothing that is not at rest.
  bool is_ready_to_go() const;

  /// A run found on disk, before the first poll.
  void resume(Journal, bool supervised, std::int64_t now, Actions&);

  std::int64_t session() const { return session_; }
  bool online() const { return online_; }
  /// The request of the long poll, and the session it belongs to. One at a time.
  struct Poll {
    model::SyncRequest request;
    std::int64_t session;
  };
  Poll next_poll(std::int64_t free_disk, std::int64_t now = 0) const;
  void poll_answered(std::int64_t session, const Result<model::SyncAnswer>&, std::int64_t now,
                     Actions&);
  /// To be told before the answer itself: the service has heard of this machine at `sent` or later,
  /// when this poll was sent. For runs that are exclusive, once the answer's commands are obeyed.
  void renewed(std::int64_t session, const model::SyncAnswer&, std::int64_t sent);
  /// When the next poll may be sent; 0: at once.
  std::int64_t poll_not_before() const { return poll_backoff_.not_before(); }

  /// The next report, if one is due. Answer it before the next is taken.
  std::optional<model::SyncRequest> next_report(std::int64_t now);
  void report_answered(const Result<model::SyncAnswer>&, std::int64_t now, Actions&);

  void not_created(const std::string& run, const Error&, std::int64_t now, Actions&);
  void built(const std::string& run, const Result<std::vector<std::string>>&, std::int64_t now,
             Actions&);
  void prepared(const std::string& run, const Result<std::vector<std::string>>&, std::int64_t now,
                Actions&);
  /// What the build of its environment has printed.
  void prepare_says(const std::string& run, const std::vector<std::string>& lines, std::int64_t now,
                    Actions&);
  void mounted(const std::string& run, const Result<std::vector<std::string>>&, std::int64_t now,
               Actions&);
  void compiled(const std::string& run, const Result<std::vector<std::string>>&, std::int64_t now,
                Actions&);
  void launched(const std::string& run, const Result<std::vector<std::string>>&, std::int64_t now,
                Actions&);
  void observed(const std::string& run, const exec::State&, std::int64_t now, Actions&);
  void shipped(const std::string& run, const Result<std::int64_t>&, std::int64_t now, Actions&);
  void measured(const std::string& run, std::int64_t bytes, std::int64_t now, Actions&);
  void metrics_shipped(const std::string& run, const Result<std::int64_t>&, std::int64_t now,
                       Actions&);
  void backup_says(const std::string& run, const std::string& line, std::int64_t now, Actions&);
  void backup_behind(const std::string& run, const std::string& text, std::int64_t now, Actions&);
  void unsaved(const std::string& run, const Unsaved&, std::int64_t now);
  void backup_needs(const std::string& run, std::int64_t time_us, std::int64_t now, Actions&);
  void halted(const std::string& run, const Result<Flushed>&, std::int64_t now, Actions&);
  void saving(const std::string& run, std::int64_t files, std::int64_t bytes, std::int64_t now,
              Actions&);
  void saved(const std::string& run, const Result<Saved>&, std::int64_t now, Actions&);
  void pushed(const std::string& run, const Result<>&, std::int64_t now, Actions&);
  void gone(const std::string& run, const Result<>&, std::int64_t now, Actions&);

  void advance(std::int64_t now, Actions&);
  /// When advance() or next_report() has something to do; none: only an event helps.
  std::optional<std::int64_t> wake_at() const;

  /// Null for a run that is not here.
  const RunTracker* find(const std::string& run) const;
  bool idle() const { return runs_.empty() && waiting_.empty(); }
  std::size_t runs() const { return runs_.size(); }

 private:
  /// Takes along what one run has to say, if it has.
  void add_report(const std::string& id, const RunTracker&, std::int64_t now, model::SyncRequest&);

  struct Sent {
    std::string run;
    std::int64_t epoch;
    std::size_t events;
    bool result;
    std::optional<Unsaved> unsaved;
  };

  RunTracker* tracker(const std::string& run);
  bool has_exclusive() const;
  void heard_of(const model::StartCommand&);
  void set_online(bool, std::int64_t now, Actions&);
  void end_session(std::int64_t now, Actions&);
  void obey(const model::Command&, std::int64_t now, Actions&);
  void begin(const model::Command& start, std::int64_t now, Actions&);
  bool has_place(const model::StartCommand&) const;
  std::optional<std::int64_t> due(const RunTracker&) const;
  std::set<std::string> used_gpus() const;
  std::deque<model::Command>::iterator find_waiting(const std::string& run);
  void apply(const model::SyncAnswer&, std::int64_t now, Actions&);
  void heed_notices(std::int64_t now, Actions&);
  bool has_notice_to_say() const {
    return (notice_ || withdrawal_untold_) && !notice_unheard_ && notice_said_ != session_;
  }
  void add_notice(model::SyncRequest&, std::int64_t now) const;
  bool refuses_notice(const Error&);

  model::WorkerHello hello_;
  std::string boot_id_;
  const bool only_delivers_;
  std::string incarnation_;
  std::map<std::string, std::int64_t> numbers_;  // the highest that was heard of, by owner
  std::map<std::string, RunTracker> runs_;
  std::deque<model::Command> waiting_;  ///< starts that wait for a free place, in their order
  /// Starts of a later epoch, waiting until the earlier one has left.
  std::map<std::string, model::Command> successors_;

  std::int64_t session_ = 0, seen_ = 0, lease_ms_ = 30'000;
  std::int64_t lost_after_us_ = 0;   ///< 0: never
  std::int64_t lease_until_us_ = 0;  ///< see RunTracker::renewed()
  bool online_ = false;
  Backoff poll_backoff_, report_backoff_{50'000, 2'000'000};
  std::vector<Sent> sent_;
  /// One run that the service cannot take must not hold up the others: after a refusal they are
  /// told one by one, in turn.
  std::size_t report_width_ = report_limit;
  std::string reported_last_;
  std::int64_t sent_session_ = 0;
  bool reporting_ = false;

  std::map<std::string, Notice> notices_;  ///< by kind
  std::optional<Notice> notice_;           ///< the earliest of them
  std::int64_t notice_said_ = -1;          ///< in which session the service was told last
  bool withdrawal_untold_ = false, withdrawal_sent_ = false;
  bool notice_unheard_ = false;  ///< it is older than that, and refuses to hear it
};

}  // namespace spell::worker
