// The kernel's control groups (cgroups) that limit a run. Its init enters them before all else, so
// that all of the run is in them; the supervisor stays outside, to write down how it ended. Who
// starts the supervisor has made them and set their limits; the supervisor removes them. Of a run
// that is over its memory v2 ends all processes at once. v1 ends one of them, and says so: the
// others are ended by the supervisor.
#pragma once
#include "supervisor/spec.hpp"

namespace spell::supervisor {

class Groups {
 public:
  enum class Killed {
    nobody,
    over_limit,
    for_others  ///< the memory of the whole machine was used up, or that of a group around these
  };
  void watch(const Spec&);
  /// Readable when the kernel is about to end somebody, of v1; -1: it ends all, init too.
  int event() const { return event_; }
  /// Whom the kernel has ended for lack of memory.
  Killed killed();
  /// To be called when nothing of the run is left.
  void remove(const Spec&);

 private:
  int events_ = -1, event_ = -1;
  int peaks_[2] = {-1, -1};  ///< v1: the most that there was of memory, and of it with swap
  long long limit_ = 0;      ///< likewise
};

/// As clone(2) without a stack of its own, into the spec's group of v2; -1: not in this way.
/// `inside` is true in a child that is there.
long clone_into_group(const Spec&, unsigned long flags, bool& inside);
/// Of this process, which has one thread. False, and errno: it is not in all of them. `inside`: it
/// is in that of v2.
bool enter_groups(const Spec&, bool inside);

}  // namespace spell::supervisor
