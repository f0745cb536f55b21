#include "backup/ledger.hpp"

#include <algorithm>

#include "base/text.hpp"

namespace spell::backup {

namespace {

/// The kernel tells of a close before it counts the writer off: what is busy then may be free at
/// once.
constexpr Time busy_again[] = {20 * ms, 100 * ms, 500 * ms};
constexpr Time room_again = 500 * ms;
constexpr Time same_moment = 10 * ms;

std::string last_part(const std::string& path) { return path.substr(path.rfind('/') + 1); }

/// Those of a map by path that lie in a folder.
template <class Map>
auto range_below(Map& map, const std::string& folder) {
  return std::pair(map.lower_bound(folder + "/"), map.lower_bound(folder + "0"));
}

}  // namespace

/// What happens while one lives happens at once.
class Ledger::Together {
 public:
  explicit Together(Ledger& ledger) : ledger_(ledger), mine_(ledger.look_ == 0) {
    if (mine_) ledger_.begin_look();
  }
  ~Together() {
    if (mine_) ledger_.end_look();
  }

 private:
  Ledger& ledger_;
  const bool mine_;
};

// ---- numbers and their times

Seq Ledger::tick(Time now) {
  Seq seq = look_ ? look_ : ++clock_;
  if (!moments_.empty() && now - moments_.back().at < 0) now = moments_.back().at;
  if (moments_.empty() || now / same_moment != moments_.back().at / same_moment)
    moments_.push_back({now, seq});
  else
    moments_.back() = {now, seq};
  while (moments_.size() > 1 && moments_[1].at <= now - options_.patience) moments_.pop_front();
  return seq;
}

Seq Ledger::number_at(Time at) const {
  auto after = std::upper_bound(moments_.begin(), moments_.end(), at,
                                [](Time time, const Moment& moment) { return time < moment.at; });
  return after == moments_.begin() ? 0 : std::prev(after)->seq;
}

// ---- files

Ledger::File& Ledger::file(const std::string& path) {
  auto [at, made] = paths_.emplace(path, ids_ + 1);
  if (made) {
    File fresh;
    fresh.id = ++ids_;
    fresh.path = path;
    files_.emplace(fresh.id, std::move(fresh));
  }
  return files_.at(at->second);
}

Ledger::File* Ledger::find(std::int64_t id) {
  auto found = files_.find(id);
  return found == files_.end() ? nullptr : &found->second;
}

Ledger::File* Ledger::find(const std::string& path) {
  auto found = paths_.find(path);
  return found == paths_.end() ? nullptr : find(found->second);
}

const spellfs::KnownFile* Ledger::tree_state(const std::string& path) const {
  auto found = tree_.find(path);
  return found == tree_.end() ? nullptr : &found->second;
}

void Ledger::forget(File& file) {
  dequeue(file);
  paths_.erase(file.path);
  files_.erase(file.id);
}

void Ledger::enqueue(File& file) {
  dequeue(file);
  file.queued = std::max<Seq>(file.first, 1);
  queue_.emplace(file.queued, file.id);
}

void Ledger::postpone(File& file, Time until) {
  dequeue(file);
  file.later = until;
  later_.emplace(until, file.id);
}

void Ledger::dequeue(File& file) {
  if (file.queued) queue_.erase({file.queued, file.id});
  if (file.later) later_.erase({*file.later, file.id});
  file.queued = 0;
  file.later.reset();
}

/// Something was finished.
void Ledger::happened(File& file, Time now) {
  Seq seq = tick(now);
  if (!file.first) file.first = seq, file.first_at = now;
  if (file.held && file.held->seq < seq && !file.after) file.after = seq, file.after_at = now;
  if (file.capturing && file.vouched < seq && !file.fresh) file.fresh = seq, file.fresh_at = now;
  file.last = seq;
  file.last_at = now;
  file.dirty = false;
  file.tries = 0;
}

/// What happens next with a file: it is captured, it waits for an event, or it is of no interest.
void Ledger::settle_down(File& file) {
  if (file.capturing) return;
  bool due = file.first && !file.dirty && !file.removed && (!file.held || file.late);
  if (due) return enqueue(file);
  if (!file.first && !file.held && !file.dirty) return forget(file);
  if (!file.later) dequeue(file);
}

/// A file that grows: its next prefix is taken after a while, however often it is written to.
void Ledger::grow(File& file, Time now) {
  file.more = true;
  if (file.capturing || file.later || file.queued || file.held) return;
  Time began = file.captured_at ? file.captured_at : now - options_.growth / 2;
  postpone(file, std::max(now, began + options_.growth));
}

// ---- folders

std::map<std::string, Ledger::Unit>::iterator Ledger::unit_of(const std::string& path) {
  if (units_.empty()) return units_.end();
  for (std::size_t end = path.find('/'); end != std::string::npos; end = path.find('/', end + 1))
    if (auto found = units_.find(path.substr(0, end)); found != units_.end()) return found;
  return units_.find(path);
}

void Ledger::touch(const std::string& path, Time now) {
  if (auto unit = unit_of(path); unit != units_.end()) {
    unit->second.active_at = now;
    unit->second.whole = false;
  }
}

void Ledger::folder_made(const std::string& path, Time now, bool whole) {
  if (auto unit = unit_of(path); unit != units_.end()) return touch(path, now);
  if (options_.renames_only && !whole) return;
  if (options_.container && options_.container(path)) return;
  auto [from, to] = range_below(tree_, path);
  if (from != to) return;
  units_[path] = {now, now, whole};
}

std::map<std::string, Ledger::Members> Ledger::members() {
  std::map<std::string, Members> out;
  if (units_.empty()) return out;
  for (auto& [id, file] : files_) {
    auto unit = unit_of(file.path);
    if (unit == units_.end()) continue;
    auto& members = out[unit->first];
    bool growing = grows(file.path);
    if (file.dirty && !growing) members.open = true;
    if (!file.first) continue;
    if (!(file.held && !file.after) && !(growing && file.dirty)) members.missing = true;
    if (!members.first || file.first < members.first) members.first = file.first;
    members.last = std::max(members.last, file.last);
    if (file.held) members.last = std::max(members.last, file.held->seq);
  }
  return out;
}

bool Ledger::is_open(const std::string& folder) const {
  auto [from, to] = range_below(paths_, folder);
  return std::any_of(
      from, to, [&](auto& path) { return files_.at(path.second).dirty && !grows(path.first); });
}

Time Ledger::heard(Time now) const { return heard_until_ ? std::min(now, heard_until_) : now; }

bool Ledger::is_quiet(const Unit& unit, Time now) const {
  return heard(now) - unit.active_at >= options_.quiet;
}

bool Ledger::ready(const Unit& unit, const Members& members, Time now) const {
  return !members.open && !members.missing && (unit.whole || is_quiet(unit, now));
}

void Ledger::heard_until(Time now) {
  Time unheard = now - heard_until_ - options_.unheard;
  if (heard_until_ && unheard > 0)
    for (auto& [path, unit] : units_)
      for (auto* at : {&unit.made_at, &unit.active_at})
        *at = *at <= heard_until_ ? *at + unheard : std::max(*at, now - options_.unheard);
  heard_until_ = now;
}

// ---- what the program did

/// No capture of it, but it is known what became of it.
void Ledger::leave_out(const std::string& path, bool dirty, Time at) {
  if (!grows(path)) others_[path] = {dirty, at};
}

void Ledger::written(const std::string& path, Time now) {
  File* known = find(path);
  if (grows(path)) {
    File& file = known ? *known : this->file(path);
    if (!known) touch(path, now);
    file.dirty = true;
    file.removed = false;
    return grow(file, now);
  }
  if (options_.renames_only && !known) return leave_out(path, true, now);
  File& file = known ? *known : this->file(path);
  if (file.dirty) return;
  touch(path, now);
  file.dirty = true;
  file.removed = false;
  settle_down(file);
}

void Ledger::finished(const std::string& path, std::int64_t size, Time now, Way way,
                      std::optional<Time> changed) {
  if (options_.renames_only && way != Way::renamed) {
    if (File* known = find(path)) known->dirty = false, settle_down(*known);
    auto other = others_.find(path);
    bool open = way == Way::found && other != others_.end() && other->second.dirty;
    return leave_out(path, open, changed ? std::min(*changed, now) : now);
  }
  others_.erase(path);
  File& file = this->file(path);
  // Opened and closed again and again is how some logs are written.
  bool stirs = way != Way::found && !(grows(path) && (file.first || tree_state(path)));
  if (auto unit = unit_of(path); stirs && unit != units_.end() && !unit->second.whole)
    touch(path, now);
  happened(file, now);
  if (changed) file.last_at = std::min(*changed, now);
  file.way = way;
  file.size = size;
  file.removed = false;
  if (file.later) dequeue(file);
  settle_down(file);
}

void Ledger::moved(const std::string& from, const std::string& to, std::int64_t size, Time now) {
  if (from == to) return;
  // Both names change at once: one number for them.
  Together together(*this);
  File* source = find(from);
  bool known = source && source->first && !source->dirty && !source->removed && !source->after &&
               !tree_state(from);
  if (!known) {
    finished(to, size, now, Way::renamed);
    return gone(from, now);
  }
  others_.erase(to);
  touch(from, now);
  touch(to, now);
  Seq owed = source->first;
  Time owed_at = source->first_at;
  if (File* target = find(to)) {
    if (target->first && target->first < owed) owed = target->first, owed_at = target->first_at;
    forget(*target);
  }
  dequeue(*source);
  paths_.erase(from);
  paths_[to] = source->id;
  source->path = to;
  source->way = Way::renamed;
  source->size = size;
  bool same = source->capturing && source->vouched == source->last;
  happened(*source, now);
  if (same) source->fresh = 0;
  source->first = owed;
  source->first_at = owed_at;
  source->after = 0;
  if (source->held) {
    source->held->seq = source->last;
    source->held->entry->name = last_part(to);
  }
  if (same)
    source->vouched = source->last;
  else if (source->capturing && !source->fresh)
    source->fresh = source->last, source->fresh_at = now;
  settle_down(*source);
}

void Ledger::gone(const std::string& path, Time now) {
  others_.erase(path);
  File* known = find(path);
  bool stands = tree_state(path) != nullptr;
  if (!known && !stands) return;
  touch(path, now);
  Seq owed = 0;
  Time owed_at = 0;
  if (known) {
    owed = known->first;
    owed_at = known->first_at;
    // A capture under way is nobody's from here on.
    forget(*known);
  }
  if (!stands) return;
  File& file = this->file(path);
  file.first = owed;
  file.first_at = owed_at;
  happened(file, now);
  file.removed = true;
  file.held = Held{file.last, std::nullopt, {}};
}

void Ledger::folder_gone(const std::string& path, Time now) {
  std::vector<std::string> names;
  auto [from, to] = range_below(paths_, path);
  for (auto it = from; it != to; ++it) names.push_back(it->first);
  auto [tree_from, tree_to] = range_below(tree_, path);
  for (auto it = tree_from; it != tree_to; ++it) names.push_back(it->first);
  auto [others_from, others_to] = range_below(others_, path);
  others_.erase(others_from, others_to);
  Together together(*this);
  for (auto& name : names) gone(name, now);
  auto [units_from, units_to] = range_below(units_, path);
  units_.erase(units_from, units_to);
  units_.erase(path);
}

// ---- captures

std::optional<Order> Ledger::next(Time now) {
  while (!later_.empty() && later_.begin()->first <= now) {
    File& file = *find(later_.begin()->second);
    dequeue(file);
    enqueue(file);
  }
  if (queue_.empty()) return std::nullopt;
  File& file = *find(queue_.begin()->second);
  dequeue(file);
  file.capturing = true;
  file.vouched = file.last;
  file.fresh = 0;
  file.more = false;
  return Order{file.id, file.path, file.way, file.dirty && grows(file.path)};
}

bool Ledger::expects(const std::string& path, const spellfs::KnownFile& state) const {
  auto found = paths_.find(path);
  if (found == paths_.end()) {
    auto* stands = tree_state(path);
    return stands && *stands == state;
  }
  auto& file = files_.at(found->second);
  if (file.dirty || file.removed) return false;
  if (file.held) return !file.after && file.held->state == state;
  return file.first != 0;
}

std::vector<std::string> Ledger::names() const {
  std::set<std::string> out;
  for (auto& [path, state] : tree_) out.insert(path);
  for (auto& [path, id] : paths_) out.insert(path);
  return {out.begin(), out.end()};
}

bool Ledger::unchanged(std::int64_t id) {
  File* file = find(id);
  if (!file || !file->capturing || file->held) return false;
  file->capturing = false;
  file->first = file->fresh;
  file->first_at = file->fresh_at;
  settle_down(*file);
  return true;
}

void Ledger::begun(std::int64_t id, Time now) {
  File* file = find(id);
  if (!file || !file->capturing) return;
  // It was written to without being opened: truncate(2).
  if (file->dirty && !grows(file->path)) happened(*file, now);
  file->vouched = file->last;
  file->fresh = 0;
}

void Ledger::captured(std::int64_t id, spellfs::Entry entry, const spellfs::KnownFile& state,
                      Time now) {
  File* file = find(id);
  if (!file || !file->capturing) return;
  file->capturing = false;
  file->captured_at = now;
  file->tries = 0;
  entry.name = last_part(file->path);
  if (!file->vouched || (file->dirty && grows(file->path))) {
    // Closed while its prefix was read: the whole of it is to be read.
    if (file->fresh) return settle_down(*file);
    // A prefix: finished by being taken.
    file->vouched = tick(now);
    file->first = file->vouched;
    file->first_at = now;
    file->last = std::max(file->last, file->vouched);
    file->last_at = now;
  }
  file->size = state.size;
  file->late = false;
  file->held = Held{file->vouched, std::move(entry), state};
  file->after = file->fresh;
  file->after_at = file->fresh_at;
  settle_down(*file);
}

void Ledger::not_captured(std::int64_t id, Outcome outcome, Time now) {
  File* file = find(id);
  if (!file || !file->capturing) return;
  file->capturing = false;
  // Of a file that grows the prefix will do.
  bool held_open =
      outcome == Outcome::busy || outcome == Outcome::disturbed || outcome == Outcome::no_lease;
  if (held_open && !file->fresh && grows(file->path)) {
    file->dirty = true;
    return grow(*file, now);
  }
  switch (outcome) {
    case Outcome::busy:
      if (file->tries < static_cast<int>(std::size(busy_again)))
        return postpone(*file, now + busy_again[file->tries++]);
      file->dirty = true;
      return settle_down(*file);
    case Outcome::disturbed:
      // Its writer may have come and gone already.
      if (!file->fresh) file->dirty = true;
      return settle_down(*file);
    case Outcome::gone:
      // The event that says where to is on its way.
      file->dirty = true;
      return settle_down(*file);
    case Outcome::later:
      return postpone(*file, now + room_again);
    case Outcome::no_lease:
      leave_out(file->path, false, file->last_at);
      [[fallthrough]];
    case Outcome::unreadable:
      file->first = file->after = 0;
      file->held.reset();
      file->dirty = false;
      return settle_down(*file);
  }
}

// ---- trees

bool Ledger::holds_any() const {
  return std::any_of(files_.begin(), files_.end(),
                     [](auto& entry) { return entry.second.held.has_value(); });
}

std::optional<Cut> Ledger::cut(Time now, bool halted) {
  cut_at_.reset();
  if (!holds_any()) return std::nullopt;

  Seq most = halted ? clock_ : number_at(now - options_.settle);
  Seq overtaken = halted ? clock_ : number_at(now - options_.patience);
  for (auto it = units_.begin(); it != units_.end();) {
    auto& [path, unit] = *it;
    if (unit.whole || heard(now) - unit.made_at < options_.unrest || is_open(path)) {
      ++it;
      continue;
    }
    notes_.push_back(base::to_utf8(path) + "/ has not been quiet for " +
                     std::to_string(options_.quiet / 1'000'000'000) +
                     " s: its files are backed up one by one");
    it = units_.erase(it);
  }
  std::vector<Forbidden> forbidden;
  auto never_from = [&](Seq from) { most = std::min(most, from - 1); };

  auto units = members();
  std::set<std::string> waiting;
  for (auto& [path, unit] : units_) {
    auto found = units.find(path);
    if (found == units.end() || !found->second.first) continue;
    auto& all = found->second;
    if (ready(unit, all, now)) {
      forbidden.push_back({all.first, all.last});
      continue;
    }
    waiting.insert(path);
    bool made = halted || all.open || (!unit.whole && !is_quiet(unit, now));
    Seq from = made ? std::max(all.first, overtaken + 1) : all.first;
    never_from(from);
    if (all.open || unit.whole) continue;
    if (!is_quiet(unit, now))
      wake(std::min(std::max(unit.active_at + options_.quiet, now), now + options_.unheard / 2));
    if (Time at = unit.made_at + options_.unrest; at > now) wake(at);
  }
  auto waits = [&](const File& file) {
    if (waiting.empty()) return false;
    auto unit = unit_of(file.path);
    return unit != units_.end() && waiting.contains(unit->first);
  };
  for (auto& [id, file] : files_) {
    if (!file.first) continue;
    auto unit = unit_of(file.path);
    if (unit != units_.end()) continue;
    // A version that is lost holds up others only so long; one that waits for its turn, until then.
    bool grown = file.dirty && grows(file.path);
    auto hold_up = [&](Seq from) {
      if (grown) return;
      never_from(file.dirty ? std::max(from, overtaken + 1) : from);
    };
    if (!file.held) {
      hold_up(file.first);
      continue;
    }
    if (file.first < file.held->seq) forbidden.push_back({file.first, file.held->seq});
    if (file.after) hold_up(file.after);
  }
  std::sort(forbidden.begin(), forbidden.end(),
            [](const Forbidden& a, const Forbidden& b) { return a.from > b.from; });
  Seq number = most;
  for (auto& none : forbidden)
    if (none.from <= number && number < none.to) number = none.from - 1;

  Cut out;
  out.number = number;
  std::vector<std::int64_t> taken;
  bool left = false;
  for (auto& [id, file] : files_) {
    if (!file.held) continue;
    if (file.held->seq > number || waits(file)) {
      left = true;
      // Others wait for the version behind this one: it is taken in its place.
      if (file.after && !file.late) {
        file.late = true;
        settle_down(file);
      }
      continue;
    }
    if (!out.oldest || file.first_at < out.oldest) out.oldest = file.first_at;
    if (file.held->entry)
      tree_[file.path] = file.held->state;
    else
      tree_.erase(file.path);
    out.changes[file.path] = std::move(file.held->entry);
    taken.push_back(id);
  }
  for (auto id : taken) {
    File& file = *find(id);
    file.held.reset();
    file.first = file.after;
    file.first_at = file.after_at;
    file.after = 0;
    file.late = false;
    if (file.dirty && file.more) grow(file, now);
    settle_down(file);
  }
  // What is in a tree is no new folder any more.
  for (auto it = units_.begin(); it != units_.end();) {
    auto [from, to] = range_below(tree_, it->first);
    if (from == to) {
      ++it;
      continue;
    }
    it = units_.erase(it);
  }
  if (left) {
    // What may change by time alone: something settles, or has been waited for long enough.
    for (auto& moment : moments_) {
      if (moment.at > now - options_.settle) {
        wake(moment.at + options_.settle);
        break;
      }
    }
    for (auto& moment : moments_)
      if (moment.at > now - options_.patience) {
        wake(moment.at + options_.patience);
        break;
      }
  }
  if (out.changes.empty()) return std::nullopt;
  return out;
}

std::optional<Time> Ledger::wake_at() const {
  auto at = cut_at_;
  if (!queue_.empty()) at = 0;
  if (!later_.empty() && (!at || later_.begin()->first < *at)) at = later_.begin()->first;
  return at;
}

Backlog Ledger::backlog() const {
  Backlog out;
  for (auto& [id, file] : files_) {
    if (!file.first || file.removed) continue;
    ++out.files;
    out.bytes += file.size;
    if (!out.oldest || file.first_at < out.oldest) out.oldest = file.first_at;
  }
  return out;
}

std::vector<std::string> Ledger::incomplete(
    Time end, bool heard, const std::function<bool(const std::string& path)>& shrunk, Time until,
    bool halted) const {
  const Time settle = halted ? 0 : options_.settle;
  std::set<std::string> out, torn_units, all;
  auto unit_of_path = [&](const std::string& path) {
    return const_cast<Ledger*>(this)->unit_of(path);
  };
  auto spared = [&](Time at) { return at <= end - settle || at >= until; };
  auto judge = [&](const std::string& path, bool complete) {
    all.insert(path);
    if (complete) return;
    out.insert(path);
    if (auto unit = unit_of_path(path); unit != units_.end()) torn_units.insert(unit->first);
  };
  for (auto& [path, other] : others_) judge(path, !other.dirty && spared(other.last_at));
  for (auto& [id, file] : files_) {
    if (file.removed || (grows(file.path) && !(shrunk && shrunk(file.path)))) continue;
    // Whoever had it open at the end would have closed it by that.
    bool closed = heard || file.way != Way::found || (file.held && !file.after);
    bool settled = closed && spared(file.last_at);
    judge(file.path, !file.dirty && (settled || file.way == Way::renamed || !file.first));
  }
  for (auto& [path, unit] : units_)
    if (!unit.whole && unit.active_at > end - options_.quiet && unit.active_at < until)
      torn_units.insert(path);
  for (auto& path : all)
    if (auto unit = unit_of_path(path); unit != units_.end() && torn_units.contains(unit->first))
      out.insert(path);
  return {out.begin(), out.end()};
}

std::string Ledger::unit_with(const std::string& path) {
  auto unit = unit_of(path);
  return unit == units_.end() ? "" : unit->first;
}

std::vector<std::string> Ledger::unsaved() const {
  std::vector<std::string> out;
  for (auto& [id, file] : files_)
    if (file.first && !file.removed) out.push_back(file.path);
  return out;
}

}  // namespace spell::backup
