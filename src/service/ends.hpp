// Which runs have ended last, for those who wait for many: a ring in memory. Who has fallen behind,
// or comes from before this process, is told so, and looks at his runs himself. Thread-safe.
#pragma once
#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>
#include <string>
#include <vector>

namespace spell::service {

class Ends {
 public:
  struct End {
    std::string owner{};
    std::int64_t run = 0;
    std::int64_t workflow = 0;  ///< that it belongs to; 0: none
  };
  struct Page {
    std::vector<std::int64_t> runs{};
    std::string next{};    ///< cursor
    bool complete = true;  ///< nothing was missed since the cursor
  };
  explicit Ends(std::size_t limit = 16'384);

  void add(std::vector<End>);
  /// An owner's since the cursor; "": from now on. `workflow`: of that one alone; 0: all.
  Page read(const std::string& owner, const std::string& cursor, std::int64_t workflow = 0) const;
  /// What the hub calls news of these.
  static std::string key(const std::string& owner) { return "ends of " + owner; }

 private:
  const std::size_t limit_;
  const std::string process_;  ///< cursors of another one mean nothing here
  mutable std::mutex mutex_;
  std::deque<End> ends_;
  std::int64_t first_ = 0;  ///< number of ends_.front()
};

}  // namespace spell::service
