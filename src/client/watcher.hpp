// Waits for the ends of any number of chains of runs with one request at a time: a long poll for
// what has ended. One thread, from the first wait on. Thread-safe.
//
// A chain is looked at, from the run on that is waited for, when the wait for it begins, when the
// service says that its last run has ended, and when that may have been missed (the service was
// restarted). Every look comes after the cursor from which ends are followed, so that none falls
// between.
#pragma once
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>

#include "spell/run.hpp"

namespace spell::detail {

class Watcher {
 public:
  using Done = std::function<void(Result<RunInfo>)>;
  explicit Watcher(Connection& connection) : connection_(connection) {}
  /// Whoever waits then gets the error `canceled`.
  ~Watcher();
  /// `done` is called once, without a lock, from the watcher's thread or from that of the stop:
  /// with the last run when the chain has ended, with `canceled`, or with the error for which
  /// nothing can be heard.
  void wait(std::int64_t run, std::stop_token stop, Done done);

 private:
  struct Wait;
  using Group = std::list<std::shared_ptr<Wait>>;
  struct Watched {
    std::int64_t last = 0;  ///< of the chain, as far as it has been seen; 0: the run itself
    Group waits;
  };
  using Chains = std::map<std::int64_t, Watched>;  ///< by the run that is waited for
  using Lock = std::unique_lock<std::mutex>;
  void loop();
  Result<> begin(Lock&);
  Result<> look(Lock&);
  Result<> follow(Lock&);
  void finish(std::int64_t run, const Result<RunInfo>&, Lock&);
  Watched take(Chains::iterator);
  void cancel(const std::shared_ptr<Wait>&);
  static void unlist(Group&);

  Connection& connection_;
  std::mutex mutex_;
  std::condition_variable changed_;
  Chains waiting_;
  std::set<std::pair<std::int64_t, std::int64_t>>
      moved_;                      ///< last run and first, where they differ
  Group canceled_;                 ///< to be dropped by the thread
  std::set<std::int64_t> unseen_;  ///< to be looked at
  std::stop_source poll_, end_;    ///< of the long poll; of everything
  std::string cursor_;
  std::thread thread_;
};

}  // namespace spell::detail
