#include "backup/watch.hpp"

#include <fcntl.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "spellfs/object.hpp"

namespace spell::backup {

namespace {

constexpr std::uint32_t wanted = IN_CREATE | IN_MODIFY | IN_CLOSE_WRITE | IN_MOVED_FROM |
                                 IN_MOVED_TO | IN_DELETE | IN_ONLYDIR | IN_EXCL_UNLINK;

std::string join_path(const std::string& folder, const std::string& name) {
  return folder.empty() ? name : folder + "/" + name;
}

}  // namespace

Result<Watch> Watch::start(const Folder& folder, Ledger& ledger, LeftOut left_out) {
  Watch out(folder, ledger, std::move(left_out));
  out.events_ = base::Fd(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!out.events_) return base::errno_error("watch " + folder.path());
  return out;
}

bool Watch::leaves_out(const std::string& path, bool is_folder) const {
  auto depth = std::count(path.begin(), path.end(), '/') + 1;
  return depth >= spellfs::max_depth || (left_out_ && left_out_(path, is_folder));
}

bool Watch::watch(const base::Fd& folder, const std::string& path) {
  // By descriptor: the path may lead elsewhere by now.
  auto name = "/proc/self/fd/" + std::to_string(folder.get());
  int id = ::inotify_add_watch(events_.get(), name.c_str(), wanted);
  if (id < 0) {
    limited_ = limited_ || errno == ENOSPC;
    return false;
  }
  if (auto old = paths_.find(id); old != paths_.end() && old->second != path)
    watches_.erase(old->second);
  paths_[id] = path;
  watches_[path] = id;
  return true;
}

/// A folder is not there any more. `for_good`: nor anywhere else here.
void Watch::leave(const std::string& folder, bool for_good) {
  auto drop = [&](std::map<std::string, int>::iterator at) {
    if (for_good) ::inotify_rm_watch(events_.get(), at->second);
    if (for_good) paths_.erase(at->second);
    return watches_.erase(at);
  };
  if (auto itself = watches_.find(folder); itself != watches_.end()) drop(itself);
  for (auto at = watches_.lower_bound(folder + "/");
       at != watches_.end() && at->first.starts_with(folder + "/");)
    at = drop(at);
}

void Watch::file_arrived(const std::string& path, const struct stat& st, Time now, Arrival how) {
  if (leaves_out(path, false)) return;
  bool link = S_ISLNK(st.st_mode);
  if (!link && !S_ISREG(st.st_mode)) return;
  if (how != Arrival::renamed && ledger_->expects(path, spellfs::state_of(st))) return;
  // The file's times are those of the day.
  std::optional<Time> changed;
  if (how == Arrival::looked)
    changed = now - std::max<Time>(0, base::unix_us() * 1000 - spellfs::state_of(st).ctime_ns);
  ledger_->finished(path, st.st_size, now,
                    link || how == Arrival::renamed ? Way::renamed : Way::found, changed);
}

/// A folder with all below: it is watched first and listed then.
void Watch::arrive(const std::string& top, Time now, Arrival how) {
  std::vector<std::string> waiting{top};
  while (!waiting.empty()) {
    auto path = std::move(waiting.back());
    waiting.pop_back();
    if (!path.empty() && leaves_out(path, true)) continue;
    base::Fd folder = folder_->open_folder(path);
    if (!folder) continue;
    bool fresh = !path.empty() && (how != Arrival::looked || !watches_.contains(path));
    if (fresh) ledger_->folder_made(path, now, how == Arrival::renamed);
    watch(folder, path);
    for (auto& name : names_in(folder)) {
      auto below = join_path(path, name);
      struct stat st;
      if (::fstatat(folder.get(), name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) continue;
      if (S_ISDIR(st.st_mode))
        waiting.push_back(below);
      else
        file_arrived(below, st, now, how);
    }
  }
}

void Watch::look() {
  // What is still in the queue is seen by the look itself.
  pump();
  Time now = base::boot_ns();
  blind_ = false;
  limited_ = false;
  ledger_->begin_look();
  arrive("", now, Arrival::looked);
  for (auto& path : ledger_->names())
    if (!folder_->state(path)) ledger_->gone(path, now);
  ledger_->end_look();
}

void Watch::pump() {
  alignas(inotify_event) char buffer[64 << 10];
  for (;;) {
    Time asked = base::boot_ns();
    ssize_t size = ::read(events_.get(), buffer, sizeof buffer);
    if (size < 0 && errno == EINTR) continue;
    // This thread may have stood still since: nothing happened later than now, or earlier unheard.
    Time now = base::boot_ns();
    if (size <= 0) {
      settle_move(now);
      return ledger_->heard_until(asked);
    }
    for (char* at = buffer; at < buffer + size;) {
      auto* event = reinterpret_cast<const inotify_event*>(at);
      at += sizeof(inotify_event) + event->len;
      if (event->mask & IN_Q_OVERFLOW) {
        blind_ = true;
        continue;
      }
      auto folder = paths_.find(event->wd);
      if (event->mask & IN_IGNORED) {
        if (folder == paths_.end()) continue;
        if (auto named = watches_.find(folder->second);
            named != watches_.end() && named->second == event->wd)
          watches_.erase(named);
        paths_.erase(folder);
        continue;
      }
      if (folder == paths_.end() || event->len == 0) continue;
      on(event->mask, event->cookie, join_path(folder->second, event->name), now);
    }
  }
}

/// The second half did not come: it went away.
void Watch::settle_move(Time now) {
  if (!moving_) return;
  auto move = std::move(*moving_);
  moving_.reset();
  if (move.folder) {
    leave(move.path, true);
    ledger_->folder_gone(move.path, now);
  } else {
    ledger_->gone(move.path, now);
  }
}

void Watch::on(std::uint32_t mask, std::uint32_t cookie, const std::string& path, Time now) {
  bool folder = mask & IN_ISDIR;
  if ((mask & IN_MOVED_TO) && moving_ && moving_->cookie == cookie) {
    auto from = std::move(moving_->path);
    moving_.reset();
    if (folder) {
      leave(from, false);
      ledger_->folder_gone(from, now);
      return arrive(path, now, Arrival::renamed);
    }
    auto st = folder_->state(path);
    bool counts = st && (S_ISREG(st->st_mode) || S_ISLNK(st->st_mode)) && !leaves_out(path, false);
    return counts ? ledger_->moved(from, path, st->st_size, now) : ledger_->gone(from, now);
  }
  settle_move(now);
  if (mask & IN_MOVED_FROM) {
    moving_ = Move{cookie, path, folder};
  } else if (!folder) {
    on_file(mask, path, now);
  } else if (mask & IN_CREATE) {
    arrive(path, now, Arrival::made);
  } else if (mask & IN_MOVED_TO) {
    arrive(path, now, Arrival::renamed);
  } else if (mask & IN_DELETE) {
    leave(path, true);
    ledger_->folder_gone(path, now);
  }
}

void Watch::on_file(std::uint32_t mask, const std::string& path, Time now) {
  if (mask & IN_DELETE) return ledger_->gone(path, now);
  if (leaves_out(path, false)) return;
  if (mask & IN_MODIFY) return ledger_->written(path, now);
  auto st = folder_->state(path);
  if (!st) return;  // an event that says so is on its way
  if (S_ISLNK(st->st_mode)) return ledger_->finished(path, st->st_size, now, Way::renamed);
  if (!S_ISREG(st->st_mode)) return;
  if (mask & IN_CLOSE_WRITE) return ledger_->finished(path, st->st_size, now, Way::closed);
  if (mask & IN_MOVED_TO) return ledger_->finished(path, st->st_size, now, Way::renamed);
  // A second name of a file that is there is never closed.
  if (st->st_nlink > 1) return ledger_->finished(path, st->st_size, now, Way::found);
  ledger_->written(path, now);
}

}  // namespace spell::backup
