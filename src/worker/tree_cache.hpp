// Trees that were brought to this machine's disk to be mounted, each once, named by their content:
//
//   <folder>/<key>       a file or folder, whole: it gets this name when it is durable
//            <key>.use   how much disk it is reckoned to take, in decimal; its mtime is the last
//                        use
//            <key>.sum   its checksum (tree_sum.hpp); its mtime is when it was last found right
//            .gone-…     on its way out
//
// A tree gets its sum right after it was made, and is held against it by check(). One that is wrong
// is removed and made anew; while live runs use it no other gets it. One whose sum is not known
// (the worker was killed before, or is a later version than the tree) is removed, too.
//
// What stands there otherwise is half a tree of a worker that was killed; open() finds it. A tree
// is held by the runs that use it, from before it is made until they have gone, and is not removed
// then; who uses what after a restart is told by hold(). Beyond the limit the trees go whose last
// use is longest ago. Thread-safe; use() blocks.
#pragma once
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <vector>

#include "spell/result.hpp"

namespace spell::worker {

struct CachedTree {
  std::string key{};
  std::int64_t bytes = 0, used_ns = 0;
  bool held = false;
};
/// The trees that have to go so that `more` bytes fit under the limit, least recently used first;
/// held ones never, even if it is not enough. Pure.
std::vector<std::string> choose_to_evict(std::vector<CachedTree> trees, std::int64_t limit,
                                         std::int64_t more);
/// What a tree takes on disk, roughly: each file begins a block of its own.
std::int64_t reckoned_size(std::int64_t bytes, std::int64_t files);

class TreeCache {
 public:
  /// `limit`: bytes. `now_ns`: time of day.
  TreeCache(std::string folder, std::int64_t limit, std::function<std::int64_t()> now_ns)
      : folder_(std::move(folder)), limit_(limit), now_ns_(std::move(now_ns)) {}

  /// Reads what is there. Half trees are moved aside; clean() removes them.
  Result<> open();
  void clean();

  /// `run` uses the tree, or will.
  void hold(const std::string& run, const std::string& key);
  void release(const std::string& run);

  struct Use {
    std::string path{};
    bool was_there = false;
  };
  /// Makes the tree at a path that does not exist yet, whole and durable or not at all.
  using Make = std::function<Result<>(const std::string& path, std::stop_token)>;
  /// The tree for a run, which holds it from now on. Waits where another run has it made just now.
  /// Makes room for `bytes` before it has one made, and when the disk is full; a file is reckoned
  /// by its size from then on, for `bytes` may not be known before (0). Error `canceled` after a
  /// stop, those of `make`.
  Result<Use> use(const std::string& run, const std::string& key, std::int64_t bytes,
                  const Make& make, std::stop_token stop);

  /// Gives new trees their sums, and reads those again that were not looked at for `every`. Returns
  /// what was wrong, a line each. Blocks for as long as the disk takes.
  std::vector<std::string> check(std::chrono::seconds every, std::stop_token stop);
  /// When the next is due, by the time of day; none: there is none.
  std::optional<std::int64_t> next_check_ns(std::chrono::seconds every) const;

  /// Removes all trees that nobody uses, for a disk that is full; false: there was none.
  bool make_room();

  std::int64_t limit() const { return limit_; }
  std::int64_t bytes() const;

 private:
  struct Tree {
    std::int64_t bytes = 0, used_ns = 0;
    bool whole = false, busy = false;
    bool made_here = false;  ///< and has no sum yet
    bool damaged = false;    ///< and in use
    std::string sum{};       ///< "": not known
    std::int64_t checked_ns = 0;
    std::int64_t making = 0;  ///< tells it from one of the same key before it
    std::set<std::string> runs{};
  };
  static bool due(const Tree&, std::chrono::seconds every, std::int64_t now_ns);
  void remove_notes(const std::string& key);
  /// Moves a tree aside; false: it is there still.
  bool discard(const std::string& key, std::vector<std::string>& gone);
  /// What was wrong; "": nothing.
  std::string check_one(const std::string& key, std::stop_token stop,
                        std::vector<std::string>& gone);
  std::string path(const std::string& key) const { return folder_ + "/" + key; }
  std::vector<CachedTree> trees() const;
  /// Moves trees aside and returns where they are now.
  std::vector<std::string> evict(std::int64_t limit, std::int64_t more);
  /// Returns what it is reckoned to take.
  Result<std::int64_t> make_room_and_make(const std::string& key, std::int64_t bytes, const Make&,
                                          std::stop_token);

  const std::string folder_;
  const std::int64_t limit_;
  const std::function<std::int64_t()> now_ns_;
  mutable std::mutex mutex_;
  std::condition_variable_any changed_;
  std::map<std::string, Tree> trees_;
  std::vector<std::string> gone_;
  std::int64_t makings_ = 0;
};

}  // namespace spell::worker
