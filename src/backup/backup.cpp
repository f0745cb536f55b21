#include "backup/backup.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <unistd.h>

#ifdef __linux__
#include <linux/fs.h>
#endif

#include <algorithm>
#include <cerrno>
#include <stop_token>
#include <unordered_map>
#include <unordered_set>

#include "backup/lease.hpp"
#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/text.hpp"

namespace spell::backup {

namespace {

constexpr Time second = 1'000 * ms;
/// Smaller files are read before a clone is made.
constexpr std::int64_t clone_from = 4 << 20;
/// Events are read in gusts: a program that writes much is not to be followed write by write.
constexpr Time gust = 10 * ms;
constexpr Time between_tries = 100 * ms;
/// Trees that wait to be sent, each in a file of its own; then the ledger gathers what comes.
constexpr int most_waiting = 2;
/// After a failure that passes.
constexpr Time again = second;
/// Smaller packs say more of the way's length than of its width.
constexpr std::int64_t measured_from = 256 << 10;
/// Bytes a second, where none was sent.
constexpr std::int64_t usual_speed = 20'000'000;
constexpr Time measured_for = 10 * second;
/// Memory of packs is kept for so long after the last of them was sent.
constexpr Time keep_memory = 10 * second;
/// Of what is not sent in its order: files that lie in one tree are as large together, or were
/// changed so shortly one after the other.
constexpr std::int64_t group_from = 1 << 20;
constexpr std::int64_t group_within_ns = 2 * second;
/// What waits for a while does so because it may change: not in a run that stands still.
constexpr Time whenever = INT64_MAX;
/// How often it is tried to capture a file of that.
constexpr int last_tries = 5;

}  // namespace

/// Folder nodes of the last trees, so that the next one is made without asking for them.
class Backup::Nodes final : public spellfs::ObjectSource {
 public:
  explicit Nodes(const spellfs::ObjectSource& behind) : behind_(behind) {}
  Result<std::string> get(spellfs::Kind kind, const spellfs::Name& name) const override {
    if (auto found = nodes_.find(name); found != nodes_.end()) return found->second;
    auto out = behind_.get(kind, name);
    failed_ = failed_ || !out;
    return out;
  }
  /// Something could not be read since the last call.
  bool take_failed() { return std::exchange(failed_, false); }
  void keep(const spellfs::Name& name, std::string bytes) {
    if (bytes_ > most) clear();
    bytes_ += bytes.size();
    nodes_.emplace(name, std::move(bytes));
  }
  void clear() {
    nodes_.clear();
    bytes_ = 0;
  }

 private:
  static constexpr std::size_t most = 32 << 20;
  const spellfs::ObjectSource& behind_;
  std::unordered_map<spellfs::Name, std::string, spellfs::NameHash> nodes_;
  std::size_t bytes_ = 0;
  mutable bool failed_ = false;
};

/// Names that need not be sent again, the last ones: about 16 GB of content.
class Backup::Sent {
 public:
  /// Those that were not in it, which are from now on.
  std::vector<spellfs::Name> add(std::span<const spellfs::Name> names) {
    std::vector<spellfs::Name> fresh;
    for (auto& name : names)
      if (names_.insert(name).second) {
        fresh.push_back(name);
        order_.push_back(name);
      }
    while (order_.size() > most) {
      names_.erase(order_.front());
      order_.pop_front();
    }
    return fresh;
  }
  void remove(const std::vector<spellfs::Name>& names) {
    for (auto& name : names) names_.erase(name);
  }
  void clear() {
    names_.clear();
    order_.clear();
  }

 private:
  static constexpr std::size_t most = 256 << 10;
  std::unordered_set<spellfs::Name, spellfs::NameHash> names_;
  std::deque<spellfs::Name> order_;
};

Backup::Backup(BackupOptions options, Safe& safe)
    : options_(std::move(options)),
      safe_(safe),
      nodes_(std::make_unique<Nodes>(safe.objects())),
      sent_(std::make_unique<Sent>()),
      pack_files_(options_.temporary, options_.in_memory) {
  if (!options_.rate) options_.rate = std::make_shared<Rate>();
}

Result<std::unique_ptr<Backup>> Backup::start(BackupOptions options, Safe& safe,
                                              std::optional<Tree> last) {
  std::unique_ptr<Backup> out(new Backup(std::move(options), safe));
  out->last_ = std::move(last);
  out->status_.tree = out->last_;
  SPELL_TRY(out->begin());
  out->worker_ = std::thread([backup = out.get()] { backup->work(); });
  out->sender_ = std::thread([backup = out.get()] { backup->send(); });
  return out;
}

Result<> Backup::begin() {
  auto folder = Folder::open(options_.folder);
  if (!folder) return folder.error();
  folder_ = std::move(*folder);
  wake_ = base::Fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake_) return base::errno_error("make the backup's wake-up");
  ledger_ = std::make_unique<Ledger>(options_.rules);
  auto watch = Watch::start(*folder_, *ledger_, options_.left_out);
  if (!watch) return watch.error();
  watch_.emplace(std::move(*watch));
  if (options_.rules.renames_only)
    say("/spell is on a network file system: while the run runs, only files that are renamed into "
        "place are backed up");
  return ok();
}

Backup::~Backup() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = over_ = true;
  }
  changed_.notify_all();
  wake();
  if (worker_.joinable()) worker_.join();
  if (sender_.joinable()) sender_.join();
}

void Backup::wake() const {
  std::uint64_t one = 1;
  (void)!::write(wake_.get(), &one, sizeof one);
}

bool Backup::is_over() const {
  std::lock_guard lock(mutex_);
  return over_;
}

bool Backup::is_late() const { return late_at_ != 0 ? base::boot_ns() >= late_at_ : is_over(); }

bool Backup::has_room() const {
  {
    std::lock_guard lock(mutex_);
    if (spooled_ >= options_.spool) return false;
  }
  return !options_.room || options_.room();
}

bool Backup::few_wait() const {
  std::lock_guard lock(mutex_);
  return std::count_if(jobs_.begin(), jobs_.end(), [](auto& job) { return job.tree.has_value(); }) <
         most_waiting;
}

BackupStatus Backup::status() const {
  std::lock_guard lock(mutex_);
  auto out = status_;
  out.backlog = waiting_;
  for (auto& job : jobs_) {
    out.backlog.files += job.files;
    out.backlog.bytes += job.bytes;
    if (job.oldest && (!out.backlog.oldest || job.oldest < out.backlog.oldest))
      out.backlog.oldest = job.oldest;
  }
  return out;
}

void Backup::end_work() {
  {
    std::lock_guard lock(mutex_);
    over_ = true;
  }
  changed_.notify_all();
  wake();
  if (worker_.joinable()) worker_.join();
}

std::optional<std::vector<std::string>> Backup::incomplete(Time end, Time until) {
  end_work();
  // Nor does it know what is safe where it could not be read yet.
  if (!watch_ || (!seen_ && newest_)) return std::nullopt;
  // What the end itself closed.
  watch_->pump();
  bool heard = !watch_->is_blind() && !watch_->is_limited();
  if (!seen_ || !heard) watch_->look();
  auto shrunk = [&](const std::string& path) {
    auto st = folder_->state(path);
    return st && is_shorter(path, st->st_size);
  };
  auto out = ledger_->incomplete(end, heard, shrunk, until);
  if (out.empty() || torn_) return out;
  if (pending_) publish();
  if (!pending_ && (pending_ = ledger_->cut(end))) publish();
  return out;
}

// ---- the end of a run that was halted

std::int64_t Backup::speed() const {
  if (speed_ns_ == 0) return usual_speed;
  auto seconds = static_cast<double>(speed_ns_) / static_cast<double>(second);
  return std::max<std::int64_t>(
      1, static_cast<std::int64_t>(static_cast<double>(speed_bytes_) / seconds));
}

std::chrono::milliseconds Backup::needs() const {
  std::lock_guard lock(mutex_);
  return std::chrono::milliseconds((spooled_ + waiting_.bytes) * 1000 / speed());
}

bool Backup::sent_by(Time until) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, std::chrono::nanoseconds(until - base::boot_ns()),
                           [&] { return jobs_.empty() || stopping_ || lost_; }) &&
         jobs_.empty() && !lost_;
}

std::optional<Finished> Backup::finish(std::chrono::milliseconds time) {
  Time until = base::boot_ns() + std::chrono::nanoseconds(time).count();
  end_work();
  if (!watch_ || (!seen_ && newest_)) return std::nullopt;
  Lease::hold_signals();
  late_at_ = until;
  watch_->pump();
  bool heard = !watch_->is_blind() && !watch_->is_limited();
  if (!seen_ || !heard) watch_->look();
  // Not before that: what was heard last has its time.
  Time halted = base::boot_ns();
  auto waiting = ledger_->backlog();
  bool fits;
  {
    std::lock_guard lock(mutex_);
    waiting_ = waiting;
    fits = (spooled_ + waiting.bytes) * 1000 / speed() <= (until - base::boot_ns()) / ms;
  }
  if (fits && !torn_) capture_rest();
  Finished out;
  out.others = ledger_->leaves_any();
  // After the captures: whoever has a file open is found by them.
  out.torn = ledger_->incomplete(
      halted, heard,
      [&](const std::string& path) {
        auto st = folder_->state(path);
        return st && is_shorter(path, st->st_size);
      },
      INT64_MAX, true);
  if (!fits || torn_) {
    send_newest(out.torn, until, out.left);
    return out;
  }
  // One that could not be made a moment ago comes first.
  if (pending_) publish();
  if (!pending_ && (pending_ = ledger_->cut(halted, true))) publish();
  bool sent = sent_by(until);
  out.left = ledger_->unsaved();
  {
    std::unique_lock lock(mutex_);
    if (std::exchange(lost_, false)) {
      lock.unlock();
      out.left.clear();
      send_newest(out.torn, until, out.left);
      return out;
    }
    if (!sent)
      for (auto& job : jobs_) out.left.insert(out.left.end(), job.names.begin(), job.names.end());
    if (pending_)
      for (auto& [path, entry] : pending_->changes)
        if (entry) out.left.push_back(path);
    stopping_ = !jobs_.empty();
  }
  std::sort(out.left.begin(), out.left.end());
  out.left.erase(std::unique(out.left.begin(), out.left.end()), out.left.end());
  std::erase_if(out.left, [&](auto& path) {
    return std::binary_search(out.torn.begin(), out.torn.end(), path);
  });
  return out;
}

void Backup::capture_rest() {
  std::map<std::int64_t, int> tries;
  while (!is_late()) {
    auto order = ledger_->next(whenever);
    if (!order || tries[order->id]++ >= last_tries) return;
    capture(*order);
  }
}

/// All that is not in the newest tree, the last first; a new folder is one.
std::vector<Backup::Group> Backup::newest_first() {
  std::map<std::string, Group> units;
  while (auto order = ledger_->next(whenever)) {
    auto st = folder_->state(order->path);
    if (!st) continue;
    auto unit = ledger_->unit_with(order->path);
    auto& group = units[unit.empty() ? order->path : unit];
    auto state = spellfs::state_of(*st);
    group.paths.push_back(order->path);
    group.bytes += state.size;
    group.changed_ns = std::max(group.changed_ns, state.ctime_ns);
  }
  std::vector<Group> sorted, out;
  for (auto& [name, group] : units) sorted.push_back(std::move(group));
  std::sort(sorted.begin(), sorted.end(),
            [](auto& a, auto& b) { return a.changed_ns > b.changed_ns; });
  // What names the newest checkpoint is small, and comes to nothing without it.
  std::int64_t last_ns = 0;
  for (auto& group : sorted) {
    bool joins = !out.empty() && out.back().bytes < group_from &&
                 last_ns - group.changed_ns < group_within_ns;
    last_ns = group.changed_ns;
    if (!joins) {
      out.push_back(std::move(group));
      continue;
    }
    out.back().bytes += group.bytes;
    out.back().paths.insert(out.back().paths.end(), group.paths.begin(), group.paths.end());
  }
  return out;
}

/// From the tree that is safe, one after the other. What that one has besides stays in it.
void Backup::send_newest(const std::vector<std::string>& torn, Time until,
                         std::vector<std::string>& left) {
  {
    std::unique_lock lock(mutex_);
    // What is on its way now is not taken back.
    while (jobs_.size() > 1) {
      spooled_ -= jobs_.back().size;
      jobs_.pop_back();
    }
  }
  if (!sent_by(until)) {
    for (auto& path : ledger_->unsaved()) left.push_back(path);
    std::lock_guard lock(mutex_);
    stopping_ = true;
    return;
  }
  {
    std::lock_guard lock(mutex_);
    newest_ = status_.tree;
  }
  pack_.reset();
  pack_file_.reset();
  pending_.reset();
  sent_->clear();
  torn_ = false;
  watch_.reset();
  ledger_ = std::make_unique<Ledger>(options_.rules);
  auto watch = Watch::start(*folder_, *ledger_, options_.left_out);
  for (auto& [path, state] : options_.known) ledger_->in_tree(path, state);
  if (!watch || (newest_ && !take_over(*newest_))) {
    left.push_back("all that was not safe yet");
    return;
  }
  watch_.emplace(std::move(*watch));
  watch_->look();
  for (auto& group : newest_first()) {
    std::erase_if(group.paths,
                  [&](auto& path) { return std::binary_search(torn.begin(), torn.end(), path); });
    if (group.paths.empty()) continue;
    auto time = until - base::boot_ns();
    bool fits;
    {
      std::lock_guard lock(mutex_);
      fits = group.bytes * 1000 / speed() <= time / ms;
    }
    Cut cut;
    cut.oldest = base::boot_ns();
    for (auto& path : group.paths) {
      if (fits && !is_late())
        if (auto entry = capture_now(path)) {
          cut.changes[path] = std::move(*entry);
          continue;
        }
      left.push_back(path);
    }
    // A part of it would be worth less than the version before.
    bool whole = cut.changes.size() == group.paths.size();
    if (whole && write_tree(cut) && sent_by(until)) continue;
    pack_.reset();
    pack_file_.reset();
    sent_->clear();  // what was in the pack has not been sent
    if (!whole)
      for (auto& [path, entry] : cut.changes) left.push_back(path);
    else
      left.insert(left.end(), group.paths.begin(), group.paths.end());
    std::lock_guard lock(mutex_);
    newest_ = status_.tree;
    lost_ = false;
    if (!jobs_.empty()) stopping_ = true;
  }
  std::sort(left.begin(), left.end());
}

std::optional<spellfs::Entry> Backup::capture_now(const std::string& path) {
  base::Fd file = folder_->open_file(path);
  struct stat st;
  if (!file) {
    auto link = folder_->state(path);
    auto target = folder_->target(path);
    if (!link || !target || !S_ISLNK(link->st_mode)) return std::nullopt;
    spellfs::Entry entry;
    entry.type = spellfs::EntryType::link;
    entry.mode = link->st_mode & 07777;
    entry.mtime_ns = spellfs::state_of(*link).mtime_ns;
    entry.target = *target;
    entry.name = path.substr(path.rfind('/') + 1);
    return entry;
  }
  if (::fstat(file.get(), &st) != 0 || !S_ISREG(st.st_mode)) return std::nullopt;
  Lease lease(file.get());
  bool grows = options_.rules.grows && options_.rules.grows(path);
  if (lease.answer() == Lease::Answer::busy && !grows) return std::nullopt;
  auto entry = read(file.get(), st.st_size, nullptr);
  if (!entry) return std::nullopt;
  auto state = spellfs::state_of(st);
  entry->mode = state.mode;
  entry->mtime_ns = state.mtime_ns;
  entry->name = path.substr(path.rfind('/') + 1);
  return std::move(*entry);
}

Result<> Backup::flush(std::chrono::milliseconds time) {
  std::unique_lock lock(mutex_);
  bool done = changed_.wait_for(lock, time, [&] { return jobs_.empty() || stopping_; });
  if (done && jobs_.empty()) return ok();
  return base::error("canceled", "not all of the backup is safe yet");
}

// ---- hearing and deciding

void Backup::work() {
  Lease::hold_signals();
  newest_ = last_;
  // What the one before this said last, nobody knows.
  if (newest_) told_age_ = std::chrono::nanoseconds(options_.behind_after).count() + 1;
  if (!take_over_newest()) return;
  // It is not known whether the service has heard of it.
  if (newest_) hand_over({nullptr, 0, newest_});
  while (!is_over()) {
    bool lost;
    {
      std::lock_guard lock(mutex_);
      lost = std::exchange(lost_, false);
    }
    if ((lost || torn_) && !start_over(lost)) return;
    Time now = base::boot_ns();
    if (watch_->is_blind() || now >= look_at_) {
      watch_->look();
      seen_ = true;
      look_at_ = now + std::chrono::nanoseconds(options_.look).count();
      try_ = true;
      if (watch_->is_limited() && !std::exchange(told_limit_, true))
        say("the limit of inotify watches is reached (fs.inotify.max_user_watches): what is not "
            "watched is looked at every " +
            std::to_string(options_.look.count()) + " s");
    } else {
      pump();
    }
    bool free = now >= free_at_ && has_room();
    bool captured = false;
    if (free) {
      if (auto order = ledger_->next(now)) {
        capture(*order);
        captured = try_ = true;
      } else if (!std::exchange(looked_, true)) {
        std::lock_guard lock(mutex_);
        status_.looked = true;
      }
    }
    now = base::boot_ns();
    auto at = ledger_->wake_at();
    Time next = std::max(tried_at_ + between_tries, cut_from_);
    bool due = try_ || pending_ || (at && *at <= now) || (tell_at_ && *tell_at_ <= now);
    if (due && now >= next) {
      tried_at_ = now;
      try_ = false;
      if (!few_wait()) cut_from_ = now + again;
      // It lived after `now`: what was closed well before was not closed by its end.
      else if (!pending_ && (!ledger_->holds_any() || !options_.alive || options_.alive()))
        pending_ = ledger_->cut(now);
      if (pending_) publish();
      for (auto& note : ledger_->take_notes()) say(note);
      update();
      next = std::max(tried_at_ + between_tries, cut_from_);
    }
    if (captured) continue;
    at = ledger_->wake_at();
    // What becomes due meanwhile is said, if not captured.
    if (at && !free && *at <= now) at = now >= free_at_ ? now + 500 * ms : free_at_;
    // A cut is not tried all the time; a capture that is due does not wait for that.
    if (at && *at <= now) at = next;
    if (try_ || pending_) at = std::min(at.value_or(next), next);
    if (tell_at_) at = std::min(at.value_or(*tell_at_), std::max(*tell_at_, next));
    if (auto idle = pack_files_.idle_since()) {
      Time end = *idle + keep_memory;
      if (now >= end) {
        pack_files_.free_idle();
        room_.reset();
      } else {
        at = std::min(at.value_or(end), end);
      }
    }
    wait(std::min(at.value_or(look_at_), look_at_));
  }
}

void Backup::wait(std::optional<Time> until) {
  Time now = base::boot_ns();
  // The next gust.
  if (heard_at_ + gust > now) Lease::wait(std::chrono::nanoseconds(heard_at_ + gust - now));
  now = base::boot_ns();
  pollfd events[2] = {{watch_->fd(), POLLIN, 0}, {wake_.get(), POLLIN, 0}};
  int timeout = -1;
  if (until)
    timeout = static_cast<int>(std::clamp<Time>((*until - now + ms - 1) / ms, 0, 3'600'000));
  ::poll(events, 2, timeout);
  if (events[1].revents) {
    std::uint64_t counter;
    (void)!::read(wake_.get(), &counter, sizeof counter);
    try_ = true;
  }
  if (events[0].revents) {
    heard_at_ = base::boot_ns();
    try_ = true;
  }
}

void Backup::pump() { watch_->pump(); }

void Backup::update() {
  auto backlog = ledger_->backlog();
  bool other;
  {
    std::lock_guard lock(mutex_);
    other = waiting_ != backlog;
    waiting_ = backlog;
  }
  auto all = status().backlog;
  if (other && options_.changed) options_.changed(all);
  const Time from = std::chrono::nanoseconds(options_.behind_after).count();
  Time age = all.oldest ? base::boot_ns() - all.oldest : 0;
  bool caught_up = age < from && told_age_ > from;
  if (age >= std::max(from, told_age_) || caught_up) {
    told_age_ = caught_up ? from : 2 * age;
    if (options_.behind)
      options_.behind(caught_up ? Backlog{} : all, std::chrono::seconds(age / second));
  }
  tell_at_.reset();
  if (all.oldest) tell_at_ = all.oldest + std::max(from, told_age_);
}

/// What a Backup before this one has made.
Result<> Backup::take_over(const Tree& last) {
  struct Waiting {
    std::string path;
    spellfs::Entry folder;
  };
  spellfs::Entry root;
  root.type = spellfs::EntryType::folder;
  root.node = last.name;
  std::vector<Waiting> folders{{"", root}};
  while (!folders.empty()) {
    auto next = std::move(folders.back());
    folders.pop_back();
    SPELL_TRY(spellfs::each_entry(*nodes_, next.folder, [&](spellfs::Entry& entry) -> Result<> {
      auto path = next.path.empty() ? entry.name : next.path + "/" + entry.name;
      if (entry.type == spellfs::EntryType::folder) {
        folders.push_back({path, entry});
        return ok();
      }
      spellfs::KnownFile state;
      state.size = entry.size;
      state.mtime_ns = entry.mtime_ns;
      // Its ctime tells whether it is what was captured.
      if (auto st = folder_->state(path)) {
        auto here = spellfs::state_of(*st);
        bool as_saved = here.mtime_ns == entry.mtime_ns && here.mode == entry.mode &&
                        here.ctime_ns < last.until_ns &&
                        (S_ISLNK(st->st_mode) ? entry.type == spellfs::EntryType::link
                                              : here.size == entry.size);
        if (as_saved) state = here;
      }
      ledger_->in_tree(path, state);
      return ok();
    }));
  }
  return ok();
}

/// Not there, rather than not to be had now or still on its way.
bool Backup::is_gone(const Error& error) const {
  std::lock_guard lock(mutex_);
  return jobs_.empty() && is_lost(error);
}

/// The ledger begins with the newest tree; false: this is over. One that nobody can read any more
/// is given up, all that is here is sent once more then.
bool Backup::take_over_newest() {
  for (auto& [path, state] : options_.known) ledger_->in_tree(path, state);
  while (newest_) {
    auto taken = take_over(*newest_);
    if (taken) break;
    if (is_gone(taken.error())) {
      say("the backup begins anew: " + taken.error().message());
      newest_.reset();
      break;
    }
    std::unique_lock lock(mutex_);
    if (changed_.wait_for(lock, std::chrono::nanoseconds(again), [&] { return over_; }))
      return false;
  }
  return true;
}

/// What was captured and is in no tree is captured once more. `lost`: nor is what was sent there
/// for sure, but for what is in a tree that is safe. False: this is over.
bool Backup::start_over(bool lost) {
  torn_ = false;
  pack_.reset();
  pack_file_.reset();
  pending_.reset();
  sent_->clear();
  std::set<std::string> before = owed_;
  for (auto& path : ledger_->names())
    if (ledger_->tree_state(path)) before.insert(path);
  if (lost) {
    nodes_->clear();
    std::lock_guard lock(mutex_);
    jobs_.clear();
    spooled_ = 0;
    lost_ = false;
    newest_ = status_.tree;
    // Nor did it help to send all that came after that one.
    if (trees_at_loss_ == status_.trees) newest_.reset();
    trees_at_loss_ = status_.trees;
  }
  // Before the ledger that it tells, and its descriptor before the next one's.
  watch_.reset();
  ledger_ = std::make_unique<Ledger>(options_.rules);
  auto watch = Watch::start(*folder_, *ledger_, options_.left_out);
  if (!watch) {
    say("the backup ends: " + watch.error().message());
    return false;
  }
  watch_.emplace(std::move(*watch));
  look_at_ = 0;
  seen_ = false;
  if (!take_over_newest()) return false;
  owed_ = newest_ ? std::set<std::string>() : std::move(before);
  return true;
}

/// Of a tree that could be read no more something was safe that is here and not captured yet.
bool Backup::owes() {
  std::erase_if(owed_, [&](auto& path) {
    return ledger_->tree_state(path) != nullptr || !folder_->state(path);
  });
  return !owed_.empty();
}

// ---- capturing

void Backup::capture(const Order& order) {
  auto failed = capture_file(order);
  if (failed) return ledger_->not_captured(order.id, *failed, base::boot_ns());
  std::lock_guard lock(mutex_);
  ++status_.captured;
}

std::optional<Outcome> Backup::capture_link(const Order& order) {
  auto st = folder_->state(order.path);
  auto target = folder_->target(order.path);
  if (!st || !target || !S_ISLNK(st->st_mode)) return Outcome::gone;
  pump();
  ledger_->begun(order.id, base::boot_ns());
  spellfs::Entry entry;
  entry.type = spellfs::EntryType::link;
  entry.mode = st->st_mode & 07777;
  entry.mtime_ns = spellfs::state_of(*st).mtime_ns;
  entry.target = *target;
  ledger_->captured(order.id, std::move(entry), spellfs::state_of(*st), base::boot_ns());
  return std::nullopt;
}

std::optional<Outcome> Backup::capture_file(const Order& order) {
  base::Fd file = folder_->open_file(order.path);
  if (!file) {
    if (errno == ELOOP) return capture_link(order);
    if (errno == ENOENT || errno == ENOTDIR) return Outcome::gone;
    say_not(order.path, base::errno_error("open"));
    return Outcome::unreadable;
  }
  struct stat st;
  if (::fstat(file.get(), &st) != 0 || !S_ISREG(st.st_mode)) return Outcome::unreadable;
  std::optional<Lease> lease;
  bool vouched = false, wanted = false;
  if (!order.prefix) {
    lease.emplace(file.get());
    if (lease->answer() == Lease::Answer::busy) return Outcome::busy;
    vouched = lease->answer() == Lease::Answer::granted;
    if (!vouched && order.way != Way::renamed) {
      if (!std::exchange(told_leases_, true))
        say("there are no leases for files here: while the run runs, only those that are renamed "
            "into place are backed up");
      return Outcome::no_lease;
    }
  }
  // Made anew in place: no prefix of it, until it is closed or longer.
  if (order.prefix && is_shorter(order.path, st.st_size)) return Outcome::busy;
  // All that led to this version is told before it counts.
  pump();
  if (!order.prefix) ledger_->begun(order.id, base::boot_ns());
  if (::fstat(file.get(), &st) != 0) return Outcome::gone;
  auto state = spellfs::state_of(st);
  if (auto* stands = ledger_->tree_state(order.path); stands && *stands == state)
    if (ledger_->unchanged(order.id)) return std::nullopt;

  base::Fd copy;
  if (vouched && st.st_size >= clone_from) copy = clone(file.get());
  if (vouched && !copy && disturbed_.contains(order.path))
    copy = copy_of(file.get(), st.st_size, *lease);
  if (copy) lease->give_back();
  auto entry =
      read(copy ? copy.get() : file.get(), st.st_size, copy || !vouched ? nullptr : &*lease);
  if (lease) {
    wanted = lease->is_wanted();
    lease->give_back();
  }
  if (!entry) {
    bool canceled = entry.error().code() == "canceled";
    if (canceled && wanted && st.st_size >= clone_from) disturbed_.insert(order.path);
    if (canceled) return is_over() && !wanted ? Outcome::later : Outcome::disturbed;
    say_not(order.path, entry.error());
    return torn_ || no_pack_ ? Outcome::later : Outcome::unreadable;
  }
  if (!vouched && !order.prefix) {
    struct stat after;
    if (::fstat(file.get(), &after) != 0 || spellfs::state_of(after) != state)
      return Outcome::disturbed;
  }
  entry->mode = state.mode;
  entry->mtime_ns = state.mtime_ns;
  Time now = base::boot_ns();
  free_at_ = std::max(free_at_, options_.rate->take(entry->size - counted_, now));
  ledger_->captured(order.id, std::move(*entry), state, now);
  return std::nullopt;
}

bool Backup::is_shorter(const std::string& path, std::int64_t size) const {
  auto* stands = ledger_->tree_state(path);
  return stands && size < stands->size;
}

/// A copy that shares the file's blocks; none where the file system cannot.
base::Fd Backup::clone(int fd) {
#ifdef FICLONE
  if (clones_) {
    auto copy = options_.temporary();
    if (copy && ::ioctl(copy->get(), FICLONE, fd) == 0) return std::move(*copy);
    clones_ = false;
  }
#endif
  (void)fd;
  return {};
}

/// A copy in the spool; none where there is no room, or where the writer would wait too long.
base::Fd Backup::copy_of(int fd, std::int64_t size, const Lease& lease) {
  constexpr std::int64_t piece = 8 << 20;
  {
    std::lock_guard lock(mutex_);
    if (spooled_ + size > options_.spool) return {};
  }
  auto copy = options_.temporary();
  if (!copy) return {};
  std::optional<Time> wanted;
  for (off_t at = 0; at < size;) {
    Time now = base::boot_ns();
    if (!wanted && lease.is_wanted()) wanted = now;
    if (wanted && now - *wanted > std::chrono::nanoseconds(options_.yield).count()) return {};
    ssize_t n = ::sendfile(copy->get(), fd, &at,
                           static_cast<std::size_t>(std::min<std::int64_t>(piece, size - at)));
    if (n == 0 || (n < 0 && errno != EINTR)) return {};
    pump();
  }
  return std::move(*copy);
}

Result<spellfs::Entry> Backup::read(int fd, std::int64_t size, const Lease* lease) {
  no_pack_ = false;
  auto writer = pack();
  if (!writer) return writer.error();
  std::vector<spellfs::Name> added;
  std::stop_source stop;
  std::optional<Time> wanted;
  counted_ = 0;
  spellfs::SaveOptions options;
  options.threads = 2;
  options.ask_bytes = options.write_bytes = 1 << 20;
  options.stop = stop.get_token();
  if (!room_) room_ = spellfs::make_save_room();
  options.room = room_;
  options.missing =
      [&](std::span<const spellfs::Name> names) -> Result<std::vector<spellfs::Name>> {
    auto fresh = sent_->add(names);
    added.insert(added.end(), fresh.begin(), fresh.end());
    return fresh;
  };
  options.progress = [&](std::int64_t, std::int64_t bytes) {
    free_at_ = options_.rate->take(bytes - std::exchange(counted_, bytes), base::boot_ns());
    for (;;) {
      Time now = base::boot_ns();
      if (lease && lease->is_wanted()) {
        if (!wanted) wanted = now;
        if (now - *wanted > std::chrono::nanoseconds(options_.yield).count()) stop.request_stop();
      }
      if (is_late()) stop.request_stop();
      pump();
      // The rate is an average over some seconds: a lease is better short than gentle, and who
      // waits for it, or has little time, does not wait for that.
      bool hurries = wanted || late_at_ != 0 || stop.stop_requested();
      if (hurries || free_at_ - now <= 4 * second) return;
      Lease::wait(std::chrono::nanoseconds(200 * ms));
    }
  };
  lease_ = lease;
  auto entry = spellfs::save_open_file(fd, size, options, **writer);
  lease_ = nullptr;
  if (entry) return entry;
  // Not all of them were written.
  sent_->remove(added);
  // What the next pack would have been is not there; or this one may be torn, and what is held in
  // it lost with it.
  if (!pack_file_) pack_.reset();
  if (entry.error().code() == "disk_full") {
    torn_ = true;
    free_at_ = cut_from_ = base::boot_ns() + std::chrono::nanoseconds(options_.again).count();
  }
  return entry;
}

void Backup::say_not(const std::string& path, const Error& error) {
  constexpr int most = 20;
  if (told_files_++ < most) say("not backed up: " + base::to_utf8(path) + ": " + error.message());
}

Result<spellfs::PackWriter*> Backup::pack() {
  if (!pack_) {
    SPELL_TRY(begin_pack());
    pack_ = std::make_unique<spellfs::PackWriter>(
        pack_file_->place(), [this](std::int64_t size) { return next_pack(size); });
  }
  return pack_.get();
}

Result<> Backup::begin_pack() {
  auto file = pack_files_.take();
  no_pack_ = !file;
  if (!file) return file.error();
  pack_file_ = std::move(*file);
  return ok();
}

/// A pack is full in the middle of a file. Called by a thread of the save.
Result<spellfs::PackPlace> Backup::next_pack(std::int64_t size) {
  hand_over({std::exchange(pack_file_, {}), size});
  Time wanted = 0;
  while (!has_room()) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::milliseconds(50));
    if (late_at_ ? base::boot_ns() >= late_at_ : over_)
      return base::error("canceled", "the backup ends");
    if (!lease_ || !lease_->is_wanted()) continue;
    Time now = base::boot_ns();
    if (!wanted) wanted = now;
    if (now - wanted > std::chrono::nanoseconds(options_.yield).count())
      return base::error("canceled", "a writer waits for the file");
  }
  SPELL_TRY(begin_pack());
  return pack_file_->place();
}

// ---- trees

/// Makes the next tree of what was decided, later if it cannot be made now.
void Backup::publish() {
  (void)nodes_->take_failed();
  auto written = write_tree(*pending_);
  Time now = base::boot_ns();
  if (written) {
    pending_.reset();
    waits_.clear();
    cut_from_ = now + std::chrono::nanoseconds(options_.between).count();
    return;
  }
  if (waits_ != written.error().message()) say("the backup waits: " + written.error().message());
  waits_ = written.error().message();
  cut_from_ = now + again;
  bool unread = nodes_->take_failed() && !is_gone(written.error());
  if (unread || no_pack_) return;
  torn_ = true;
  free_at_ = cut_from_ = now + std::chrono::nanoseconds(options_.again).count();
}

Result<> Backup::write_tree(const Cut& cut) {
  no_pack_ = false;
  auto writer = pack();
  if (!writer) return writer.error();
  auto before = newest_ ? std::optional(newest_->name) : std::nullopt;
  auto root = spellfs::edit(*nodes_, before, cut.changes, **writer);
  if (!root) return root.error();
  std::optional<Tree> tree;
  if (before != root->node)
    tree = Tree{root->node, root->files, root->size, base::unix_us() * 1000};
  SPELL_TRY(close_pack(owes() ? std::nullopt : tree, cut));
  if (tree) newest_ = tree;
  return ok();
}

Result<> Backup::close_pack(std::optional<Tree> tree, const Cut& cut) {
  Job job;
  job.tree = tree;
  if (pack_->objects() > 0) {
    auto size = pack_->finish();
    if (!size) return size.error();
    SPELL_TRY(spellfs::each_folder_node(pack_file_->fd(), *size,
                                        [&](const spellfs::Name& name, std::string bytes) {
                                          nodes_->keep(name, std::move(bytes));
                                        }));
    job.pack = std::exchange(pack_file_, {});
    job.size = *size;
    pack_.reset();
  }
  for (auto& [path, entry] : cut.changes)
    if (entry) {
      ++job.files;
      job.bytes += entry->size;
      job.names.push_back(path);
    }
  job.oldest = cut.oldest;
  if (job.pack || job.tree) hand_over(std::move(job));
  return ok();
}

void Backup::hand_over(Job job) {
  {
    std::lock_guard lock(mutex_);
    spooled_ += job.size;
    jobs_.push_back(std::move(job));
  }
  changed_.notify_all();
}

// ---- sending

void Backup::send() {
  std::unique_lock lock(mutex_);
  auto delay = std::chrono::milliseconds(100);
  for (;;) {
    changed_.wait(lock, [&] { return stopping_ || !jobs_.empty(); });
    if (stopping_) return;
    Job job = jobs_.front();
    lock.unlock();
    Result<> done = ok();
    Time began = base::boot_ns();
    if (job.pack) done = safe_.send_pack(*job.pack, job.size);
    Time took = base::boot_ns() - began;
    bool measured = done && job.size >= measured_from;
    if (done && job.tree) done = safe_.record(*job.tree);
    lock.lock();
    if (measured) {
      if (speed_ns_ > measured_for) speed_bytes_ /= 2, speed_ns_ /= 2;
      speed_bytes_ += job.size;
      speed_ns_ += took;
    }
    // Begun anew meanwhile.
    bool mine = !jobs_.empty() && jobs_.front().pack == job.pack &&
                jobs_.front().tree.has_value() == job.tree.has_value() &&
                (!job.tree || jobs_.front().tree->name == job.tree->name);
    if (!mine) continue;
    if (done) {
      delay = std::chrono::milliseconds(100);
      spooled_ -= job.size;
      jobs_.pop_front();
      job.pack.reset();
      if (job.tree) {
        status_.tree = job.tree;
        ++status_.trees;
      }
      lock.unlock();
      changed_.notify_all();
      wake();
      if (options_.changed) options_.changed(status().backlog);
      lock.lock();
    } else if (done.error().code() == "incomplete_pack" || done.error().code() == "bad_pack") {
      lost_ = true;
      jobs_.clear();
      spooled_ = 0;
      changed_.notify_all();
      wake();
    } else {
      changed_.wait_for(lock, delay, [&] { return stopping_; });
      delay = std::min(delay * 2, std::chrono::milliseconds(10'000));
    }
  }
}

}  // namespace spell::backup
