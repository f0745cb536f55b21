// Versions that somebody reads, object by object: they stay until nothing of them has been read for
// a while, also where newer ones have taken their place. In memory: after a start the next read
// holds a version again. Thread-safe.
#pragma once
#include <chrono>
#include <cstddef>
#include <map>
#include <mutex>
#include <string>
#include <utility>

#include "spellfs/pack_store.hpp"

namespace spell::service {

class Reads {
 public:
  using Clock = std::chrono::steady_clock;
  /// So long after the last read of it a version is held.
  static constexpr std::chrono::minutes kept{10};
  /// Beyond so many, what was read longest ago is let go.
  static constexpr std::size_t most = 1000;

  /// Whether this owner's tree is held; if so, from now on anew.
  bool renew(const std::string& owner, const spellfs::Name& tree, Clock::time_point now);
  /// `pin`: of the tree, which was there when it had been taken.
  void hold(const std::string& owner, const spellfs::Name& tree, spellfs::PackStore::Pin pin,
            Clock::time_point now);
  /// Lets go of what nobody has read for long. Returns how many are held.
  std::size_t let_go(Clock::time_point now);

 private:
  struct Held {
    spellfs::PackStore::Pin pin;
    Clock::time_point read;
  };
  std::mutex mutex_;
  std::map<std::pair<std::string, spellfs::Name>, Held> held_;
};

}  // namespace spell::service
