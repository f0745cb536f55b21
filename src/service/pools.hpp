// The programs that launch and end machines for a type (docs/pools.md): which there are, and their
// calls. What is to be done is the state's to say, anew after each commit; here it is done, each
// machine's matter by one call at a time, with pauses after failures.
//
// refresh() is called on the reactor's thread, and all members belong to it; the programs are
// waited for on threads that come and go.
#pragma once
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/fd.hpp"
#include "base/pool.hpp"
#include "service/reactor.hpp"
#include "service/timer.hpp"

namespace spell::service {

/// The programs, by the names that types call them: "local", or a path.
class PoolPrograms {
 public:
  /// `folder`: of those that come with the service; "": none do.
  explicit PoolPrograms(std::string folder) : folder_(std::move(folder)) {}
  /// Where it is. Errors `invalid_request`: there is none, or somebody else could change it.
  Result<std::string> find(const std::string& pool) const;

 private:
  std::vector<std::string> names() const;
  std::string folder_;
};

class Pools {
 public:
  struct Options {
    std::string tag{};                ///< names the service: "spell-…"
    std::string programs{};           ///< folder; see PoolPrograms
    std::string worker{};             ///< a spell-worker of this computer
    bool personal = false;            ///< all runs are this user's
    std::string folder{};             ///< where each type's program has a folder of its own
    std::string socket{};             ///< the service's, for machines on this computer; "": none
    std::chrono::seconds check{300};  ///< so often what is there is compared with what should be
    std::function<std::string()> url{}, fingerprint{}, install{};  ///< for machines that join
    std::function<void(const std::string&)> log{};
  };
  Pools(Options options, Reactor& reactor, Timer& timer);
  ~Pools() { stop(); }

  const PoolPrograms& programs() const { return programs_; }
  /// After a commit: begins what is to be done.
  void refresh(State&);
  /// Nothing is being done, and no machine of a pool is there. Any thread.
  bool idle() const { return idle_; }
  /// Ends the calls that go on. Before the reactor's and after the timer's stop().
  void stop();

 private:
  using TypeKey = std::pair<std::string, std::string>;  ///< owner, name
  struct Delay {
    int failures = 0;
    std::int64_t until_ns = 0;
  };
  struct Listing {
    bool running = false, failed = false;
    std::int64_t began_us = 0;  ///< of the last one; 0: there was none
    std::int64_t due_ns = 0;    ///< of the next one
    Delay delay{};
  };
  /// What a call of a program came to.
  struct Outcome {
    bool done = false, configuration = false;  ///< configuration: somebody has to change it
    std::string output{}, problem{};
  };
  struct Call {
    store::MachineTypeRecord type{};
    std::string action{}, name{}, token{};
    std::chrono::seconds limit{};
  };

  void launch(const store::MachineTypeRecord&, const PoolTask&);
  void terminate(const store::MachineTypeRecord&, const std::string& id, const std::string& name);
  void list(const store::MachineTypeRecord&);
  void take_list(State&, const store::MachineTypeRecord&, const Outcome&, std::int64_t now_us);
  /// Blocks.
  Outcome call(const Call&) const;
  void log(const std::string& line) const;
  /// The reactor is asked to look again then.
  void wake_at(std::int64_t boot_ns);
  std::int64_t pause(Delay&);

  const Options options_;
  const PoolPrograms programs_;
  Reactor& reactor_;
  Timer& timer_;
  std::set<std::string> busy_;         // machines, by id, or by name where nobody here knows them
  std::map<std::string, Delay> ends_;  // machines that could not be ended, in the same way
  std::map<TypeKey, Listing> listings_;
  std::set<std::int64_t> wakes_;
  std::atomic<bool> idle_ = true;
  base::Fd stop_, stopped_;  // the end that is read, and the one whose closing ends all calls
  base::Pool launches_{16}, others_{8};
};

}  // namespace spell::service
