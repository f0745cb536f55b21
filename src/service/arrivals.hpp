// What comes from the machines of runs that go on: since when there may be objects that no tree
// names yet, and the version before the newest of each run, which is kept beside it. In memory:
// after a start the whole life of a run counts, until its next version. Thread-safe.
#pragma once
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "spellfs/object.hpp"

namespace spell::service {

class Arrivals {
 public:
  /// Before objects of a run are taken.
  void came(const std::string& run, std::int64_t now_us);
  /// A run's tree is this one from now on, which was said at `said_us`. Returns whether another one
  /// is kept no longer for it.
  bool named(const std::string& run, const spellfs::Name& tree, std::int64_t said_us);
  /// All is named that will be: of a run that has ended.
  void ended(const std::string& run);
  /// Since when objects may have come for runs that go on, each with when it was made, which no
  /// tree names, or only the newest two; or for runs that had counted as lost, within a day. 0:
  /// there are none. Of other runs nothing is known any more.
  std::int64_t oldest(const std::vector<std::pair<std::string, std::int64_t>>& active,
                      std::int64_t now_us);
  /// The versions before the newest.
  std::vector<std::pair<std::string, spellfs::Name>> earlier() const;

 private:
  struct Of {
    bool known = false;                      ///< it has named a tree here
    std::int64_t since = 0, since_last = 0;  ///< first objects: before, and behind, its newest tree
    spellfs::Name newest{}, before{};
    bool has_before = false;
  };
  mutable std::mutex mutex_;
  std::map<std::string, Of> runs_;
};

}  // namespace spell::service
