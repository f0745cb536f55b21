// Users that runs have to themselves: numbers of a range that is nobody's on this computer. Who has
// which is kept in the run's folder as `user`, so that a restarted worker knows. Thread-safe.
#pragma once
#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <string>

#include "spell/result.hpp"

namespace spell::worker {

struct UserRange {
  std::uint32_t first = 0, last = 0;  ///< uids, which are gids too
};
/// Above what Debian, systemd and subordinate ids use (Debian policy 9.2.2; systemd, UIDS-GIDS).
inline constexpr UserRange usual_run_users{1'900'000'000, 1'900'000'999};
/// "FROM-TO", at least ten of them. Errors `invalid_configuration`: names what is wrong; also if
/// somebody on this computer has one of the numbers.
Result<UserRange> parse_run_users(const std::string& text);

class RunUsers {
 public:
  /// `begin`: where in the range to begin; any number.
  RunUsers(UserRange range, std::uint64_t begin);
  /// The run's user from now on: the one in its folder, else one that no run has, and that was not
  /// given back lately. Error `no_isolation`: all are taken.
  Result<std::uint32_t> take(const std::string& run, const std::string& run_folder);
  /// What the folder of a run says, found after a restart.
  void hold(const std::string& run, const std::string& run_folder);
  void release(const std::string& run);

 private:
  UserRange range_;
  std::mutex mutex_;
  std::uint32_t next_;
  std::map<std::string, std::uint32_t> by_run_;
  std::set<std::uint32_t> taken_;
};

}  // namespace spell::worker
