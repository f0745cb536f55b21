// Who is there: the leases of machines. Pure: time is a parameter, µs of a clock that goes on while
// the computer sleeps (CLOCK_BOOTTIME).
//
//   here --connection closed, or no renewal within the lease--> away --lost_after--> lost
//
// A machine that renews is here again, whatever it was. Whoever drives this looks when next() says
// so; if it is late by more than a third of a lease, all leases begin anew: who has slept declares
// nobody lost.
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <queue>
#include <string>
#include <vector>

namespace spell::sched {

class Leases {
 public:
  /// Known, but not heard of since the service began.
  void expect(const std::string& machine, std::int64_t lost_after_us, std::int64_t now);
  /// lost_after 0: it is never lost.
  void renew(const std::string& machine, std::int64_t lease_us, std::int64_t lost_after_us,
             std::int64_t now);
  void closed(const std::string& machine, std::int64_t now);
  void forget(const std::string& machine);
  bool knows(const std::string& machine) const { return leases_.contains(machine); }

  struct Due {
    std::vector<std::string> away, lost;
  };
  Due expire(std::int64_t now);
  /// When expire() is to be called; none: never, as things are.
  std::optional<std::int64_t> next() const;

 private:
  enum class Phase { here, away, lost };
  struct Lease {
    Phase phase = Phase::away;
    std::int64_t since = 0;  ///< last renewal; of one that closed: when it did
    std::int64_t lease_us = 0, lost_after_us = 0;
  };
  /// When its phase changes if nothing happens.
  static std::optional<std::int64_t> deadline(const Lease&);
  void watch(const std::string& machine, const Lease&);

  std::map<std::string, Lease> leases_;
  /// At most one a machine, never later than its deadline: renewals leave it where it is.
  std::map<std::string, std::int64_t> watched_;
  using Watch = std::pair<std::int64_t, std::string>;
  std::priority_queue<Watch, std::vector<Watch>, std::greater<>> queue_;
};

}  // namespace spell::sched
