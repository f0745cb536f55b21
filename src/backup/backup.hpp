// The backup of a run while it runs: what its program has finished writing goes to SpellFS,
// beginning at once, as a sequence of trees that each are a moment of the program (ledger.hpp).
//
//   Watch (inotify) -> Ledger -> capture: read under a lease into packs -> (spool) -> Safe
//                        `-> cut: the next tree, when all in it is captured
//
// A version that is begun is finished, whatever the link does: it is read at the speed of the disk
// into packs in the spool, of which only new chunks are part. A writer who wants the file back gets
// it after `yield` at most (a version that is not finished by then is lost, the next one is taken,
// of a large file by a copy in the spool, which is quicker than reading it);
// where the file system can, it is cloned first, and nobody waits at all. When the spool is full
// versions wait where they are.
//
// A run that is halted for good, because its machine is about to go, is finished(): what it had
// closed counts as it is, and if not all of that can be sent in time the newest comes first.
//
// Nothing of this is on disk but the files in the spool, which have no names: after a kill -9 the
// next Backup begins with what is safe (`last`) and a look at the folder. Two threads a run: one
// hears, captures and decides, one sends. They end with the object.
#pragma once
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "backup/folder.hpp"
#include "backup/ledger.hpp"
#include "backup/pack_files.hpp"
#include "backup/rate.hpp"
#include "backup/watch.hpp"
#include "base/fd.hpp"
#include "spellfs/store.hpp"

namespace spell::backup {

class Lease;

/// A tree that is safe.
struct Tree {
  spellfs::Name name{};
  std::int64_t files = 0, bytes = 0;
  std::int64_t until_ns =
      0;  ///< of the time of day: changes from before are in it, or in a later one
};

/// An object is not where it was: what refers to it is worth nothing.
inline bool is_lost(const Error& error) {
  return error.code() == "object_not_found" || error.code() == "damaged";
}

/// Where backups go. Calls come from one thread at a time and may take long; one that failed is
/// made again.
class Safe {
 public:
  virtual ~Safe() = default;
  /// Durable on return. Error `incomplete_pack`: something that was sent before is not there any
  /// more; all is sent anew then.
  virtual Result<> send_pack(const PackFile& pack, std::int64_t size) = 0;
  /// The run's backup is this tree from here on. Durable on return.
  virtual Result<> record(const Tree& tree) = 0;
  /// What was sent before.
  virtual const spellfs::ObjectSource& objects() const = 0;
};

struct BackupOptions {
  std::string folder{};  ///< the run's /spell
  /// A new file without a name, on a disk that has room for the spool.
  std::function<Result<base::Fd>()> temporary{};
  LedgerOptions rules{};
  std::map<std::string, spellfs::KnownFile> known{};  ///< see SaveOptions::known
  Watch::LeftOut left_out{};
  /// Whether the run's command is alive now, which must not be answered from memory.
  std::function<bool()> alive{};
  std::shared_ptr<Rate>
      rate{};  ///< shared with other backups of this machine; none: one of its own
  std::int64_t spool = 4LL << 30;  ///< bytes that wait to be sent, about
  int in_memory = 8;               ///< packs of them, of about 8 MiB, that are not in the spool
  /// Whether the disk has room for more of them; none: it has.
  std::function<bool()> room{};
  std::chrono::milliseconds between{1'000};  ///< of two trees, at least
  std::chrono::milliseconds again{10'000};   ///< after a failure of the disk
  std::chrono::milliseconds yield{250};      ///< that a writer waits, at most
  std::chrono::seconds look{600};  ///< how often the folder is looked at whatever is heard
  std::function<void(const std::string& line)> log{};
  /// What is older than this is worth a word.
  std::chrono::milliseconds behind_after{60'000};
  /// It does not keep up: called anew when it has become twice as old; with nothing when it has
  /// caught up.
  std::function<void(const Backlog& backlog, std::chrono::seconds age)> behind{};
  /// A tree is safe, or the backlog is another. From any of its threads.
  std::function<void(const Backlog&)> changed{};
};

struct BackupStatus {
  std::optional<Tree> tree{};
  Backlog backlog{};          ///< finished, not safe; times are those of base::boot_ns()
  std::int64_t captured = 0;  ///< versions that this object has captured, in a tree or not yet
  std::int64_t trees = 0;     ///< that were recorded by this object
  bool looked = false;        ///< all that was there at its start has been captured, or cannot be
};

/// What became of the last files of a run that was halted.
struct Finished {
  std::vector<std::string> torn{};  ///< not sure to be whole versions, or parts of whole folders
  std::vector<std::string> left{};  ///< whole, but not safe: there was no time
  bool others = false;              ///< there are files of which it makes no version safe
};

class Backup {
 public:
  /// `last`: what is safe of this run already. Errors: the folder cannot be opened or watched.
  static Result<std::unique_ptr<Backup>> start(BackupOptions options, Safe& safe,
                                               std::optional<Tree> last = {});
  ~Backup();
  /// Any thread.
  BackupStatus status() const;
  /// The run was ended by force at `end` (base::boot_ns()): ends hearing and capturing. Returns the
  /// files in the folder that are not sure to be whole versions, or parts of whole folders; the
  /// versions before, as far as they are captured, are safe after flush(). None: nobody knows,
  /// since it could not be heard what happened. `until`: see Ledger::incomplete().
  std::optional<std::vector<std::string>> incomplete(Time end, Time until = INT64_MAX);
  /// How long it would take until all that is finished is safe, at the speed that was seen so far.
  std::chrono::milliseconds needs() const;
  /// The run was halted just now and will not go on: ends hearing, captures what it had finished,
  /// and sends that, for so long. If it cannot all be sent in that time, what was finished last
  /// goes first. None: nobody knows, since it could not be heard what happened; nothing more is
  /// sent then.
  std::optional<Finished> finish(std::chrono::milliseconds time);
  /// Waits until all that is decided is safe; error `canceled` once this object's end has begun, or
  /// after the time.
  Result<> flush(std::chrono::milliseconds time);

 private:
  struct Job {
    std::shared_ptr<PackFile> pack{};
    std::int64_t size = 0;
    std::optional<Tree> tree{};
    std::int64_t files = 0, bytes = 0;  ///< of the cut
    Time oldest = 0;
    std::vector<std::string> names{};  ///< of the files in it
  };
  /// Files that become safe together.
  struct Group {
    std::vector<std::string> paths{};
    std::int64_t bytes = 0, changed_ns = 0;
  };
  class Nodes;
  class Sent;

  Backup(BackupOptions options, Safe& safe);
  Result<> begin();
  void work();
  void send();
  Result<> take_over(const Tree& last);
  bool take_over_newest();
  bool start_over(bool lost);
  bool owes();
  bool is_gone(const Error& error) const;
  void pump();
  void capture(const Order& order);
  /// What became of it; none: it is captured.
  std::optional<Outcome> capture_link(const Order& order);
  std::optional<Outcome> capture_file(const Order& order);
  Result<spellfs::Entry> read(int fd, std::int64_t size, const Lease* lease);
  /// Than its version in the newest tree.
  bool is_shorter(const std::string& path, std::int64_t size) const;
  base::Fd clone(int fd);
  base::Fd copy_of(int fd, std::int64_t size, const Lease&);
  void publish();
  Result<> write_tree(const Cut& cut);
  Result<spellfs::PackWriter*> pack();
  Result<> close_pack(std::optional<Tree> tree, const Cut& cut);
  Result<> begin_pack();
  Result<spellfs::PackPlace> next_pack(std::int64_t size);
  void hand_over(Job job);
  void wait(std::optional<Time> until);
  void wake() const;
  bool has_room() const;
  bool few_wait() const;
  bool is_over() const;
  /// Nothing is captured any more.
  bool is_late() const;
  void end_work();
  std::int64_t speed() const;  ///< under the mutex; bytes a second
  void capture_rest();
  bool sent_by(Time until);
  std::optional<spellfs::Entry> capture_now(const std::string& path);
  std::vector<Group> newest_first();
  void send_newest(const std::vector<std::string>& torn, Time until,
                   std::vector<std::string>& left);
  void say(const std::string& line) const {
    if (options_.log) options_.log(line);
  }
  void say_not(const std::string& path, const Error& error);
  void update();

  BackupOptions options_;
  Safe& safe_;
  std::optional<Folder> folder_;
  std::unique_ptr<Ledger> ledger_;
  std::optional<Watch> watch_;
  base::Fd wake_;

  // Of the working thread.
  std::unique_ptr<Nodes> nodes_;
  std::unique_ptr<Sent> sent_;
  std::optional<Tree> newest_;  ///< that was made, be it safe or on its way
  std::optional<Cut> pending_;  ///< the next one, which could not be made yet
  std::set<std::string> owed_;  ///< of a tree that cannot be read: none is recorded without them
  std::int64_t trees_at_loss_ = -1;
  PackFiles pack_files_;
  std::shared_ptr<PackFile> pack_file_;
  std::unique_ptr<spellfs::PackWriter> pack_;
  std::shared_ptr<spellfs::SaveRoom> room_;
  Time free_at_ = 0;          ///< by the rate
  std::int64_t counted_ = 0;  ///< for it, of the file that is being read
  Time look_at_ = 0, heard_at_ = 0, tried_at_ = 0, told_age_ = 0;
  Time cut_from_ = 0;            ///< no tree before
  std::string waits_;            ///< why, as it was said
  std::optional<Time> tell_at_;  ///< that it is behind
  bool seen_ = false, looked_ = false;
  bool try_ = false;              ///< something happened since the last cut was tried
  const Lease* lease_ = nullptr;  ///< under which is being read
  int told_files_ = 0;
  bool torn_ = false;     ///< the pack, and what is held in it with it
  bool no_pack_ = false;  ///< it is the next pack that could not be had
  Time late_at_ = 0;      ///< finish() has begun, and ends then
  /// Large files whose writer did not wait for their reading: their next version is copied first.
  std::set<std::string> disturbed_{};
  bool clones_ = true, told_limit_ = false, told_leases_ = false;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Job> jobs_;
  std::int64_t spooled_ = 0;
  std::int64_t speed_bytes_ = 0, speed_ns_ = 0;  ///< of what was sent last
  bool stopping_ = false, over_ = false, lost_ = false;
  std::optional<Tree> last_;
  BackupStatus status_;
  Backlog waiting_;  ///< in the ledger
  std::thread worker_, sender_;
};

}  // namespace spell::backup
