// When a running service frees what nothing names any more, and removes runs that their projects
// keep no longer: a while after a removal, at the latest a week after the last time; never by
// looking again and again. What is due is noted in the store, so a service that ends before it got
// to it does it after its next start. Thread-safe.
#pragma once
#include <atomic>
#include <chrono>
#include <functional>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "base/pool.hpp"
#include "service/arrivals.hpp"
#include "service/backup.hpp"
#include "service/reactor.hpp"
#include "service/readers.hpp"
#include "service/reads.hpp"
#include "service/retention.hpp"
#include "service/storage.hpp"
#include "service/timer.hpp"

namespace spell::service {

/// How long it is known which run a submission's key has made.
constexpr std::chrono::hours keys_kept(30 * 24);

class Collector {
 public:
  Collector(Storage& storage, Readers& readers, Reactor& reactor, Timer& timer, LogStore& logs,
            base::Pool& log_jobs, std::function<void(const std::string&)> log,
            Retention retention = {})
      : storage_(storage),
        readers_(readers),
        reactor_(reactor),
        timer_(timer),
        logs_(logs),
        log_jobs_(log_jobs),
        log_(std::move(log)),
        retention_(retention) {}

  /// Takes up what an earlier process has noted.
  void start();
  /// In the transaction of a removal: a collection is due.
  static Result<> note_removal(State&, std::int64_t now_us);
  /// In a transaction, before objects are taken that nothing names yet: they are spared until an
  /// upload names them, for a day at most.
  static Result<> note_arrival(State&, std::int64_t now_us);
  static Result<> note_named(State&);
  bool arrival_noted() const { return arrival_noted_; }
  void arrival_is_noted(bool noted) { arrival_noted_ = noted; }

  /// Before objects of a run are taken.
  void came(const std::string& run, std::int64_t now_us) { arrivals_.came(run, now_us); }
  /// After a run's tree was committed; the versions before it go in time, but the last.
  void named(const std::string& run, const std::string& tree, std::int64_t said_us);
  /// After a run's end was.
  void ended(const std::string& run) { arrivals_.ended(run); }
  /// After a removal was committed.
  void removed() { collect_after(std::chrono::seconds(5)); }
  /// Room is needed now.
  void hurry() { collect_after(std::chrono::milliseconds(1)); }
  /// Collects on a thread of its own. `spare`: not set: what is on its way is spared.
  void collect(std::optional<std::chrono::seconds> spare,
               std::function<void(Result<Collected>)> done);
  /// The same thread for a check: the two never run at the same time.
  void check(std::function<void(Result<StorageCheck>)> done);
  /// The same thread for a backup: nothing is collected under its hands.
  void back_up(const std::string& state_folder, const std::string& folder, const std::string& owner,
               std::function<void(Result<BackupDone>)> done);

  /// Some runs have ended, or a project has changed: perhaps something is kept no longer.
  void runs_changed();
  void projects_changed() { look_after(std::chrono::milliseconds(1)); }

  /// What is held because somebody reads it.
  Reads& reads() { return reads_; }

  bool idle() const { return jobs_.idle(); }
  /// Ends what goes on, soon.
  void stop();

 private:
  void collect_after(std::chrono::milliseconds delay);
  void look_after(std::chrono::milliseconds delay);
  void look_for_expired();
  Result<std::chrono::seconds> time_of_arrivals(std::int64_t now_us);
  Result<Collected> collect_now(std::optional<std::chrono::seconds> spare);
  void say(const std::string& line) const {
    if (log_) log_(line);
  }

  Storage& storage_;
  Readers& readers_;
  Reactor& reactor_;
  Timer& timer_;
  LogStore& logs_;
  base::Pool& log_jobs_;
  std::function<void(const std::string&)> log_;
  const Retention retention_;
  Arrivals arrivals_;
  Reads reads_;
  std::atomic<std::int64_t> took_ms_ = 0;  ///< the last collection
  std::atomic<bool> arrival_noted_ = false, projects_keep_ = true;
  std::mutex mutex_;
  std::optional<Timer::Clock::time_point> collect_at_, look_at_;
  std::uint64_t collect_ticket_ = 0, look_ticket_ = 0;
  std::stop_source stop_;
  base::Pool jobs_{1};
};

}  // namespace spell::service
