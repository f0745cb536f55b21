// What the program of a run has finished, in which order, and what of it may stand in its backup.
// Pure: events and times in, decisions out; no I/O, no clock, not thread-safe.
//
// A backup is a sequence of trees. What makes a tree is a cut through the program's history: each
// close, rename and removal has a number (Seq) in the order in which it happened, and a tree holds
// what happened up to some number. The promises (DESIGN.md, promise 5), and how they are kept:
//
//   one finished version     only what was captured gets in: read while the kernel vouched that
//                            nobody has the file open for writing (lease.hpp), or renamed into
//                            place where it cannot vouch
//   not what a kill closed   a version counts `settle` after its close, if the run still lives then
//   order                    a number is a cut if of every file the version there is the newest
//                            one closed before it. A file of which a version was lost, because it
//                            is being written again, holds back what was closed after it, but not
//                            for longer than `patience`
//   folders whole            a new folder with all below is one unit: it gets in when nothing was
//                            created, opened or closed in it for `quiet` and all its files are
//                            captured. One that was renamed into place is whole at once. While one
//                            is being made it holds back others as a file does; one that is never
//                            quiet for `unrest` is taken file by file from then on
//   growing files            what `grows` names is captured as the prefix that is there, whoever
//                            has it open. It is its capture that has a number: it holds up nobody
//
// Of one file at most one version is kept here: the next one is captured when it is in a tree, or
// when others wait for the next.
#pragma once
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "spellfs/tree.hpp"

namespace spell::backup {

using Seq = std::int64_t;
/// Nanoseconds of the boot clock.
using Time = std::int64_t;
inline constexpr Time ms = 1'000'000;

/// How a version came to be finished.
enum class Way {
  closed,   ///< a writer has closed it
  renamed,  ///< renamed into place, alone or with its folder; or a link, which is made at once
  found,    ///< a look at the folder found it new or changed: nobody saw how it was made
};

struct LedgerOptions {
  Time settle = 500'000'000;
  Time quiet = 2'000'000'000;
  Time patience = 10'000'000'000;
  Time unrest = 300'000'000'000;
  /// Of a time in which nobody listened no more than this counts as quiet: what made it pass, as a
  /// machine that stood still, may have kept the program from going on as well.
  Time unheard = 500'000'000;
  Time growth = 2'000'000'000;  ///< between two prefixes of one file, at least
  /// Files that stay open and grow.
  std::function<bool(const std::string& path)> grows{};
  /// Folders of which each entry stands for itself: never a unit, nor is one that leads to it.
  std::function<bool(const std::string& path)> container{};
  /// The file system has no leases: only what is renamed into place is finished for sure.
  bool renames_only = false;
};

/// What is to be captured next.
struct Order {
  std::int64_t id = 0;  ///< of the file, whatever it is called by then
  std::string path{};
  Way way = Way::closed;
  bool prefix = false;  ///< of a file that grows: no lease is asked for
};

/// What became of a capture.
enum class Outcome {
  busy,        ///< somebody has it open for writing
  disturbed,   ///< a writer came while it was read
  no_lease,    ///< there are no leases for it: only a rename would do
  gone,        ///< not there any more
  unreadable,  ///< cannot be read, or is no file
  later,       ///< this side cannot take it now
};

/// A tree's difference to the one before it.
struct Cut {
  Seq number = 0;
  Time oldest = 0;  ///< when the first of it was finished
  spellfs::Changes changes{};
};

struct Backlog {
  std::int64_t files = 0, bytes = 0;  ///< finished, and in no tree yet
  Time oldest = 0;                    ///< when the first of them was finished; 0: there is none
  bool operator==(const Backlog&) const = default;
};

class Ledger {
 public:
  explicit Ledger(LedgerOptions options) : options_(std::move(options)) {}

  // ---- what the program did, in its order; paths relative to the top, "" is none

  /// `whole`: renamed into place; its files are said as finished, too.
  void folder_made(const std::string& path, Time now, bool whole = false);
  /// Made or changed, and not closed yet.
  void written(const std::string& path, Time now);
  /// `changed`: when, for what is only found now; none: now.
  void finished(const std::string& path, std::int64_t size, Time now, Way way,
                std::optional<Time> changed = {});
  /// A file was given another name; what was captured of it goes with it.
  void moved(const std::string& from, const std::string& to, std::int64_t size, Time now);
  void gone(const std::string& path, Time now);
  /// With all below.
  void folder_gone(const std::string& path, Time now);

  /// All that happened until `now` has been said.
  void heard_until(Time now);

  // ---- a look at the whole folder: what it finds happened at once, nobody knows in what order

  void begin_look() { look_ = ++clock_; }
  void end_look() { look_ = 0; }

  // ---- what is in the tree

  /// Stands in the tree from before, and is the same here; or never is to get in as it is.
  void in_tree(const std::string& path, const spellfs::KnownFile& state) { tree_[path] = state; }
  /// What the tree has of it; none: nothing.
  const spellfs::KnownFile* tree_state(const std::string& path) const;

  /// Whether a file in this state is nothing new: in the tree, captured, or about to be captured.
  bool expects(const std::string& path, const spellfs::KnownFile& state) const;
  /// Of all files that it knows.
  std::vector<std::string> names() const;

  // ---- decisions

  /// What to capture now; none: nothing yet. It is under way until captured() or not_captured().
  std::optional<Order> next(Time now);
  /// It is as the tree has it. False: then it is to be captured all the same.
  bool unchanged(std::int64_t id);
  /// When the kernel vouches for it: all events from before have been told to this ledger. What
  /// is captured from here on is the version that was finished last.
  void begun(std::int64_t id, Time now);
  void captured(std::int64_t id, spellfs::Entry entry, const spellfs::KnownFile& state, Time now);
  void not_captured(std::int64_t id, Outcome outcome, Time now);
  /// Something is captured and in no tree: else cut() has nothing.
  bool holds_any() const;
  /// The greatest tree that may follow the one before, and that is made now. None: nothing new. To
  /// be asked only while the run is known to live: then all that was closed `settle` ago counts.
  /// `halted`: the run stands still for good. What was closed before that was closed by itself, and
  /// what was being made will not be finished: it holds back nobody.
  std::optional<Cut> cut(Time now, bool halted = false);
  /// When next() or cut() may have something that they have not now; none: only an event helps.
  std::optional<Time> wake_at() const;

  Backlog backlog() const;
  /// When the run was ended by force at `end`: what lies there and cannot be trusted. Paths of
  /// files, sorted. `until`: what was finished at that time or later was not touched by it.
  /// `heard`: whoever closed a file was heard, else what was only found is trusted if it is
  /// captured. `shrunk`: a file that grows is shorter than it was, so it is as any other. `halted`:
  /// see cut(); the run stands still since `end`.
  std::vector<std::string> incomplete(
      Time end, bool heard = true, const std::function<bool(const std::string& path)>& shrunk = {},
      Time until = INT64_MAX, bool halted = false) const;
  /// The new folder that a file is a part of; "": none.
  std::string unit_with(const std::string& path);
  /// There are files of which no version is captured: no leases are to be had.
  bool leaves_any() const { return !others_.empty(); }
  /// Finished, and in no tree yet.
  std::vector<std::string> unsaved() const;
  /// Lines for the log, since the last call.
  std::vector<std::string> take_notes() { return std::exchange(notes_, {}); }

 private:
  class Together;
  struct Held {
    Seq seq = 0;
    std::optional<spellfs::Entry> entry{};  ///< none: it is gone
    spellfs::KnownFile state{};
  };
  struct File {
    std::int64_t id = 0;
    std::string path{};
    Way way = Way::closed;
    std::int64_t size = 0;
    Seq first = 0, last = 0;  ///< of what is in no tree: the first and the last; 0: none
    Seq after = 0;            ///< the first behind what is held; 0: none
    Seq fresh = 0;            ///< the first behind what is being captured; 0: none
    Time first_at = 0, after_at = 0, fresh_at = 0, last_at = 0;
    bool dirty = false;    ///< written to since it was last finished
    bool removed = false;  ///< the last that happened to it
    bool late = false;     ///< what is held will not do: a newer one is to be captured
    bool capturing = false;
    bool more = false;  ///< a file that grows has done so since its last capture began
    Seq vouched = 0;    ///< what the capture under way is of
    int tries = 0;
    Time captured_at = 0;  ///< a prefix
    std::optional<Held> held{};
    std::optional<Time> later{};  ///< its place in later_
    Seq queued = 0;               ///< its place in queue_; 0: none
  };
  /// A file that is not to be captured, but for a rename.
  struct Other {
    bool dirty = false;
    Time last_at = 0;
  };
  struct Unit {
    Time made_at = 0, active_at = 0;
    bool whole = false;
  };
  struct Forbidden {
    Seq from = 0, to = 0;  ///< no cut at from <= n < to
  };
  /// The files of a unit, taken together.
  struct Members {
    Seq first = 0, last = 0;
    bool open = false;     ///< something in it is being written
    bool missing = false;  ///< something in it is not captured
  };
  /// When numbers were given; those within some milliseconds share an entry, their last.
  struct Moment {
    Time at = 0;
    Seq seq = 0;
  };

  Seq tick(Time now);
  File& file(const std::string& path);
  File* find(std::int64_t id);
  File* find(const std::string& path);
  void happened(File& file, Time now);
  void settle_down(File& file);
  void forget(File& file);
  void enqueue(File& file);
  void postpone(File& file, Time until);
  void dequeue(File& file);
  void grow(File& file, Time now);
  bool grows(const std::string& path) const { return options_.grows && options_.grows(path); }
  std::map<std::string, Unit>::iterator unit_of(const std::string& path);
  void touch(const std::string& path, Time now);
  std::map<std::string, Members> members();
  void leave_out(const std::string& path, bool dirty, Time at);
  bool is_open(const std::string& folder) const;
  Time heard(Time now) const;
  bool is_quiet(const Unit& unit, Time now) const;
  bool ready(const Unit& unit, const Members& members, Time now) const;
  /// The greatest number that was given at `at` or before.
  Seq number_at(Time at) const;
  void wake(Time at) {
    if (!cut_at_ || at < *cut_at_) cut_at_ = at;
  }

  LedgerOptions options_;
  Seq clock_ = 0, look_ = 0;
  Time heard_until_ = 0;
  std::int64_t ids_ = 0;
  std::map<std::string, std::int64_t> paths_;
  std::unordered_map<std::int64_t, File> files_;
  std::map<std::string, Other> others_;
  std::map<std::string, Unit> units_;  ///< new folders, the topmost ones only
  std::map<std::string, spellfs::KnownFile> tree_;
  std::set<std::pair<Seq, std::int64_t>> queue_;   ///< to be captured
  std::set<std::pair<Time, std::int64_t>> later_;  ///< to be captured, but not yet
  std::deque<Moment> moments_;                     ///< as far back as `patience`
  std::optional<Time> cut_at_;
  std::vector<std::string> notes_;
};

}  // namespace spell::backup
