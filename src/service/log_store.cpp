#include "service/log_store.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <vector>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/file.hpp"
#include "model/log.hpp"

namespace spell::service {

namespace {

std::int64_t shifted(std::int64_t time_us, std::int64_t shift_us, std::int64_t latest_us) {
  std::int64_t out;
  if (__builtin_add_overflow(time_us, shift_us, &out)) return latest_us;
  return std::clamp<std::int64_t>(out, 0, latest_us);
}

constexpr std::size_t open_files = 128;

}  // namespace

LogStore::LogStore(std::string folder) : folder_(std::move(folder)) {}

std::string LogStore::path_of(const std::string& run) const {
  // The last digits of an id are random, the first are its time.
  auto id = std::min(run.size(), run.find('.'));
  return folder_ + "/" + run.substr(id - 2, 2) + "/" + run;
}

Result<std::shared_ptr<LogFile>> LogStore::open(const std::string& run, bool create) {
  std::unique_lock lock(mutex_);
  opened_.wait(lock, [&] { return !opening_.contains(run); });
  if (auto found = files_.find(run); found != files_.end()) return found->second;
  std::string path = path_of(run);
  bool fresh = !base::exists(path);
  if (fresh && !create) return std::shared_ptr<LogFile>();
  std::string parent = path.substr(0, path.rfind('/'));
  if (fresh) {
    bool new_parent = !base::exists(parent);
    SPELL_TRY(base::make_folders(parent));
    if (new_parent) SPELL_TRY(base::sync_folder(folder_));
  }
  opening_.insert(run);
  lock.unlock();
  auto opened = LogFile::open(path);
  lock.lock();
  opening_.erase(run);
  opened_.notify_all();
  if (!opened) return opened.error();
  if (fresh) SPELL_TRY(base::sync_folder(parent));
  std::shared_ptr<LogFile> file = std::move(*opened);
  files_[run] = file;
  recent_.push_front(run);
  // The oldest are closed, but for those that somebody is using: a file has one owner of its end.
  for (auto at = recent_.end(); files_.size() > open_files && at != recent_.begin();) {
    --at;
    auto found = files_.find(*at);
    if (found != files_.end() && found->second.use_count() > 1) continue;
    if (found != files_.end()) files_.erase(found);
    at = recent_.erase(at);
  }
  return file;
}

Result<std::int64_t> LogStore::append(const std::string& run, std::int64_t offset,
                                      std::string frames, std::int64_t shift_us,
                                      const std::function<void()>& written, std::int64_t latest_us,
                                      std::int64_t limit) {
  // Checks all before anything is written; shifts the times in place.
  std::int64_t output = offset;
  std::vector<std::int64_t> starts;
  for (std::size_t at = 0; at < frames.size();) {
    if (frames.size() - at < model::frame_header_size)
      return base::error("bad_frame", "the log ends in the middle of a frame");
    auto header =
        model::parse_frame_header(std::string_view(frames).substr(at, model::frame_header_size));
    if (!header) return header.error();
    if (header->kind != model::FrameKind::output || header->size == 0)
      return base::error("bad_frame", "only output frames with bytes in them are taken");
    if (header->sequence != static_cast<std::uint64_t>(output))
      return base::error("bad_frame", "the frame for byte " + std::to_string(output) +
                                          " says byte " + std::to_string(header->sequence));
    if (frames.size() - at - model::frame_header_size < header->size)
      return base::error("bad_frame", "the log ends in the middle of a frame");
    header->time_us = shifted(header->time_us, shift_us, latest_us);
    model::put_frame_header(frames.data() + at, *header);
    at += model::frame_header_size + header->size;
    output += header->size;
  }
  if (output > limit)
    return base::error("too_large",
                       "this run may bring " + std::to_string(limit) + " bytes of these, no more");
  auto opened = open(run, !frames.empty());
  if (!opened) return opened.error();
  if (!*opened) return std::int64_t{0};
  LogFile& file = **opened;
  auto stored = file.append(offset, frames);
  if (!stored) return stored;
  if (written) written();
  SPELL_TRY(file.sync());
  return stored;
}

Result<std::int64_t> LogStore::size(const std::string& run) {
  auto file = open(run, false);
  if (!file) return file.error();
  return *file ? (*file)->size() : std::int64_t{0};
}

Result<std::string> LogStore::read(const std::string& run, std::int64_t from, std::int64_t until,
                                   std::size_t limit) {
  auto opened = open(run, false);
  if (!opened) return opened.error();
  if (!*opened) return std::string();
  return (*opened)->read(from, until, limit);
}

Result<std::int64_t> LogStore::tail(const std::string& run, std::int64_t lines) {
  auto opened = open(run, false);
  if (!opened) return opened.error();
  if (!*opened) return std::int64_t{0};
  const std::int64_t end = (*opened)->size();
  const auto parts = (*opened)->parts();
  if (lines <= 0) return end;
  std::int64_t until = end;
  for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
    // The output of one part in one piece.
    std::string text;
    while (*part + static_cast<std::int64_t>(text.size()) < until) {
      auto frames = read(run, *part + static_cast<std::int64_t>(text.size()), until, 1 << 20);
      if (!frames) return frames.error();
      if (frames->empty()) break;
      model::FrameParser parser;
      parser.feed(*frames);
      for (;;) {
        auto frame = parser.next();
        if (!frame) return frame.error();
        if (!*frame) break;
        text += (*frame)->payload;
      }
    }
    for (std::size_t i = text.size(); i-- > 0;) {
      std::int64_t at = *part + static_cast<std::int64_t>(i);
      if (text[i] != '\n' || at == end - 1)
        continue;  // the newline at the very end closes the last line
      if (--lines == 0) return at + 1;
    }
    until = *part;
  }
  return std::int64_t{0};
}

Result<> LogStore::remove(const std::string& run) {
  std::unique_lock lock(mutex_);
  for (auto& kept : {run, metrics_of(run)}) {
    opened_.wait(lock, [&] { return !opening_.contains(kept); });
    files_.erase(kept);
    recent_.remove(kept);
    std::string path = path_of(kept);
    for (auto& name : LogFile::names(path))
      if (::unlink(name.c_str()) != 0 && errno != ENOENT)
        return base::errno_error("remove " + name);
  }
  return ok();
}

Result<std::int64_t> LogStore::sweep(
    const std::function<Result<bool>(const std::string& run)>& known) {
  std::map<std::string, std::int64_t> found;
  each_file([&](const std::string& run, std::int64_t size) { found[run] += size; });
  std::int64_t freed = 0;
  for (auto& [run, size] : found) {
    auto wanted = known(run);
    if (!wanted) return wanted.error();
    if (*wanted) continue;
    SPELL_TRY(remove(run));
    freed += size;
  }
  return freed;
}

Result<LogFile::Sound> LogStore::check(const std::string& run, std::stop_token stop) const {
  return LogFile::check(path_of(run), std::move(stop));
}

std::int64_t LogStore::stored_bytes() const {
  std::int64_t total = 0;
  each_file([&](const std::string&, std::int64_t size) { total += size; });
  return total;
}

std::int64_t LogStore::stored_bytes(const std::string& run) const {
  std::int64_t total = 0;
  struct stat st;
  for (auto& kept : {run, metrics_of(run)})
    for (auto& name : LogFile::names(path_of(kept)))
      if (::lstat(name.c_str(), &st) == 0) total += st.st_blocks * 512;
  return total;
}

void LogStore::each_file(
    const std::function<void(const std::string& run, std::int64_t size)>& see) const {
  DIR* top = ::opendir(folder_.c_str());
  if (!top) return;
  while (dirent* entry = ::readdir(top)) {
    if (entry->d_name[0] == '.') continue;
    DIR* folder = ::opendir((folder_ + "/" + entry->d_name).c_str());
    if (!folder) continue;
    while (dirent* file = ::readdir(folder)) {
      struct stat st;
      if (file->d_name[0] == '.' ||
          ::fstatat(::dirfd(folder), file->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        continue;
      std::string run = file->d_name;
      run.resize(std::min(run.size(), run.find('.')));
      if (run.size() != 32) continue;  // no id: nothing of ours
      see(run, st.st_blocks * 512);
    }
    ::closedir(folder);
  }
  ::closedir(top);
}

}  // namespace spell::service
