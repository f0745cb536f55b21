// Commands that were let into a run beside its own (`do=exec`): children of init, so that they see
// what the run sees and end with it. A guest whose caller has gone is hung up, and killed with its
// session when that does not help.
#pragma once
#include <poll.h>
#include <sys/types.h>

#include "supervisor/spec.hpp"

namespace spell::supervisor {

class Guests {
 public:
  explicit Guests(const Spec& spec) : spec_(spec) {}
  static constexpr nfds_t limit = 128;

  /// A request, as the supervisor has passed it on.
  void take_request(int requests);
  /// A child has ended; false: it is none of these.
  bool ended(pid_t child, int status);
  /// Fills in what to wait for, `limit` entries; returns the milliseconds after which serve() has
  /// something to do, -1: none.
  int watch(pollfd* files) const;
  void serve(const pollfd* files);

 private:
  struct Guest {
    pid_t process = 0;  ///< and session; 0: a free entry
    int control = -1;
    long long kill_at = 0;  ///< monotonic ms; set once it was hung up
    bool over = false;      ///< the process has ended, others of its session may not have
  };
  void hang_up(Guest&);

  const Spec& spec_;
  Guest guests_[limit];
};

}  // namespace spell::supervisor
