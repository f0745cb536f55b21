// Carries out what the Agent decides: one thread for the agent, the supervisors and all
// bookkeeping; pools for what blocks. Whatever happens elsewhere comes back as a message to that
// thread.
#pragma once
#include <atomic>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "base/fd.hpp"
#include "base/pool.hpp"
#include "worker/agent.hpp"
#include "worker/hooks.hpp"
#include "worker/live_backup.hpp"
#include "worker/log_shipper.hpp"
#include "worker/metric_intake.hpp"
#include "worker/streams.hpp"
#include "worker/worker.hpp"

namespace spell::worker {

class Engine {
 public:
  struct Options {
    Way way;
    std::string machine;  ///< as the routes name it
    Host host;
    model::WorkerHello hello;
    std::string nvidia_smi;                          ///< see read_gpus()
    std::int64_t backup_rate = backup::Rate::usual;  ///< see WorkerOptions
    std::function<void(const std::string&)> log;
    std::function<void(const Result<>&)> connection;
    bool patient = false;        ///< the service is elsewhere: it may be away for long
    bool only_delivers = false;  ///< see WorkerOptions
    std::function<void(const LeftRun&)> left;  ///< likewise
    std::function<void()> emptied;             ///< likewise
    /// The machine goes, and nothing is here any more that the service has not heard the end of.
    std::function<void()> ready_to_go;
  };
  Engine(Options, Folders, std::unique_ptr<TreeCache>, std::unique_ptr<CodeCache>);
  ~Engine() { stop(); }
  /// Takes over the runs on disk and starts the threads.
  Result<> start(std::vector<Journal> found);
  void stop();
  bool idle() const { return idle_; }
  /// The machine will be taken away. Any thread.
  void notice(Notice);
  /// See Agent::notice_withdrawn().
  void notice_withdrawn(const std::string& kind, const std::string& text);
  void make_room() { (void)trees_->make_room(); }
  std::vector<std::string> check_caches() { return check(std::chrono::seconds(0)); }

 private:
  /// What belongs to a run beside the agent's knowledge of it.
  struct Carried {
    std::optional<exec::Supervised> supervised;
    base::Fd journal;
    /// The supervisor's event_fd while it is in epoll_: a copy, which is there until it is taken
    /// out. What others still hold would else stay in epoll_ under a number that is somebody
    /// else's.
    base::Fd watched{};
    int watched_connection = 0;  ///< see Supervised::connections()
    std::int64_t spool_end = 0;
    std::shared_ptr<LogShipper> shipper, metrics;  ///< each used by one job at a time
    std::shared_ptr<Pack> pack;
    std::shared_ptr<LiveBackup> backup;  ///< while its command goes on
    std::stop_source preparing;          ///< building, preparing, mounting or compiling
  };
  struct OfferedPoll {
    Agent::Poll poll;
    std::int64_t not_before;
    std::stop_token stop;
  };

  /// What is done once more where a full disk gave up what was only kept to be quicker.
  template <class Work>
  auto with_room(Work work) {
    auto done = work();
    // The service's disk is another one, unless this is its own worker.
    bool here = !done && done.error().code() == "disk_full" &&
                (done.error().http_status() == 0 || options_.host.source);
    if (here && trees_->make_room()) done = work();
    return done;
  }

  void loop();
  /// Until something is due; -1: nothing is.
  int wait_ms() const;
  void poll_loop();
  /// What was wrong and was told to the log, too.
  std::vector<std::string> check(std::chrono::seconds every);
  void look_after_caches();
  void post(std::function<void()> message);
  void offer_poll();
  void tell_connection(const Result<model::SyncAnswer>&);
  void report();
  void perform(Actions);
  void perform(const Action&);
  void observe(const std::string& run);
  void watch(const std::string& run, Carried&);
  void sent(const std::string& run, const Result<>& done);
  Result<> create_run(const std::string& run, const std::string& lines);
  Result<> append_journal(const std::string& run, const std::string& lines);
  void build_run(const std::string& run);
  void prepare_run(const std::string& run);
  void mount_run(const std::string& run);
  void compile_run(const std::string& run);
  std::stop_source begin_preparing(const std::string& run);
  void launch_run(const std::string& run);
  void ship_log(const std::string& run);
  void ship_metrics(const std::string& run);
  /// Its endpoint, as it was before or anew; 0 where there is none.
  int open_metrics(const std::string& run, int port);
  void measure(const std::string& run);
  void back_up_run(const std::string& run);
  /// Ends it, elsewhere: that may take a moment.
  void drop(std::shared_ptr<LiveBackup>);
  Unsaved unsaved(const std::string& run);
  void save_run(const std::string& run);
  void push_run(const std::string& run);
  void open_stream(const Action&);
  void tell_notice(const std::string& run);
  void halt_run(const std::string& run);
  template <class T>
  void work(base::Pool&, std::function<Result<T>()> job,
            std::function<void(Result<T>&, std::int64_t now, Actions&)> then);
  void log(const std::string& line) const {
    if (options_.log) options_.log(line);
  }
  CallOptions call(std::optional<std::chrono::milliseconds> timeout) const {
    return {timeout, calls_.get_token()};
  }

  Options options_;
  Folders folders_;
  Link link_;
  std::unique_ptr<TreeCache> trees_;
  std::unique_ptr<CodeCache> codes_;
  Agent agent_;
  std::map<std::string, Carried> carried_;
  std::map<int, std::string> watched_;
  base::Fd epoll_, wake_;
  std::atomic<bool> idle_{true}, stopping_{false};
  std::stop_source calls_, poll_stop_;
  std::int64_t polled_session_ = 0;
  bool told_ready_ = false;
  std::optional<std::int64_t> check_at_;   ///< the caches
  std::optional<std::string> connection_;  ///< what was told last: "", or why there is none

  std::mutex mutex_;
  std::condition_variable poll_offered_;
  std::vector<std::function<void()>> messages_;
  std::optional<OfferedPoll> offered_;
  std::map<std::string, std::weak_ptr<LiveBackup>> backups_;

  const std::shared_ptr<backup::Rate> backup_rate_;
  Turns builds_{4};
  // Who compiles mostly waits: for the compiler, for another's build of the same, for its turn.
  base::Pool checking_{1}, steps_{4}, mounting_{4}, preparing_{64}, compiling_{64}, launches_{2},
      courier_{2}, backing_up_{2}, halting_{16};
  Streams streams_;
  MetricIntake metrics_{[this](const std::string& run) { post([this, run] { measure(run); }); }};
  std::thread loop_thread_, poll_thread_;
};

}  // namespace spell::worker
