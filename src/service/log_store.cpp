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

constexpr std::int64_t index_step = 256 << 10;
constexpr std::size_t open_files = 128;

struct Mark {
  std::int64_t file = 0, output = 0;
};

std::string encode(const Mark& mark) {
  std::string out(16, '\0');
  for (int i = 0; i < 8; ++i) {
    out[i] = static_cast<char>(static_cast<std::uint64_t>(mark.file) >> (8 * i));
    out[8 + i] = static_cast<char>(static_cast<std::uint64_t>(mark.output) >> (8 * i));
  }
  return out;
}

Mark decode(const unsigned char* p) {
  std::uint64_t file = 0, output = 0;
  for (int i = 7; i >= 0; --i) file = file << 8 | p[i], output = output << 8 | p[8 + i];
  return {static_cast<std::int64_t>(file), static_cast<std::int64_t>(output)};
}
}  // namespace

struct LogStore::File {
  std::mutex mutex;
  base::Fd data, index;
  std::int64_t file_size = 0, output_size = 0;
  std::vector<Mark> marks{Mark{}};

  /// Finds the end of the last whole frame and cuts off what a power loss left behind it.
  Result<> load(const std::string& path) {
    struct stat st;
    if (::fstat(data.get(), &st) != 0) return base::errno_error("read " + path);
    if (auto stored = base::read_file(path + ".idx")) {
      auto* bytes = reinterpret_cast<const unsigned char*>(stored->data());
      for (std::size_t at = 0; at + 16 <= stored->size(); at += 16) {
        Mark mark = decode(bytes + at);
        if (mark.file <= marks.back().file || mark.file > st.st_size ||
            mark.output <= marks.back().output)
          break;
        marks.push_back(mark);
      }
    }
    // A mark counts only if a frame with that sequence begins there.
    while (marks.size() > 1) {
      char head[model::frame_header_size];
      auto n = base::pread_full(data.get(), head, sizeof head, marks.back().file);
      if (n && *n == sizeof head)
        if (auto header = model::parse_frame_header({head, sizeof head});
            header && header->sequence == static_cast<std::uint64_t>(marks.back().output))
          break;
      marks.pop_back();
    }
    file_size = marks.back().file;
    output_size = marks.back().output;
    std::vector<Mark> found;
    for (;;) {
      char head[model::frame_header_size];
      auto n = base::pread_full(data.get(), head, sizeof head, file_size);
      if (!n) return n.error();
      if (*n < sizeof head) break;
      auto header = model::parse_frame_header({head, sizeof head});
      std::int64_t end =
          header ? file_size + static_cast<std::int64_t>(sizeof head + header->size) : 0;
      if (!header || header->kind != model::FrameKind::output || header->size == 0 ||
          header->sequence != static_cast<std::uint64_t>(output_size) || end > st.st_size)
        break;
      if (file_size - marks.back().file >= index_step) marks.push_back({file_size, output_size});
      file_size = end;
      output_size += header->size;
    }
    if (file_size < st.st_size && ::ftruncate(data.get(), file_size) != 0)
      return base::errno_error("shorten " + path);
    return ok();
  }
};

LogStore::LogStore(std::string folder) : folder_(std::move(folder)) {}

std::string LogStore::path_of(const std::string& run) const {
  // The last digits of an id are random, the first are its time.
  auto id = std::min(run.size(), run.find('.'));
  return folder_ + "/" + run.substr(id - 2, 2) + "/" + run;
}

Result<std::shared_ptr<LogStore::File>> LogStore::open(const std::string& run, bool create) {
  std::lock_guard lock(mutex_);
  if (auto found = files_.find(run); found != files_.end()) return found->second;
  std::string path = path_of(run);
  if (!create && !base::exists(path)) return std::shared_ptr<File>();
  std::string parent = path.substr(0, path.rfind('/'));
  bool fresh = create && !base::exists(path);
  if (fresh) {
    bool new_parent = !base::exists(parent);
    SPELL_TRY(base::make_folders(parent));
    if (new_parent) SPELL_TRY(base::sync_folder(folder_));
  }
  auto file = std::make_shared<File>();
  auto data = base::open(path, O_RDWR | O_CREAT);
  if (!data) return data.error();
  file->data = std::move(*data);
  auto index = base::open(path + ".idx", O_WRONLY | O_CREAT | O_APPEND);
  if (!index) return index.error();
  file->index = std::move(*index);
  if (fresh)
    SPELL_TRY(base::sync_folder(parent));
  else
    SPELL_TRY(file->load(path));
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
  File& file = **opened;
  std::unique_lock lock(file.mutex);
  if (offset == file.output_size && !frames.empty()) {
    if (auto done = base::pwrite_all(file.data.get(), frames, file.file_size); !done) {
      (void)::ftruncate(file.data.get(), file.file_size);
      return done.error();
    }
    std::string marks;
    std::int64_t at = file.file_size, position = offset;
    for (std::size_t i = 0; i < frames.size();) {
      if (at - file.marks.back().file >= index_step) {
        file.marks.push_back({at, position});
        marks += encode(file.marks.back());
      }
      auto header =
          *model::parse_frame_header(std::string_view(frames).substr(i, model::frame_header_size));
      i += model::frame_header_size + header.size;
      at += static_cast<std::int64_t>(model::frame_header_size) + header.size;
      position += header.size;
    }
    if (!marks.empty())
      (void)base::write_all(file.index.get(),
                            marks);  // only a short cut: found again by reading the file
    file.file_size = at;
    file.output_size = output;
  }
  std::int64_t stored = file.output_size;
  lock.unlock();
  if (written) written();
  if (::fdatasync(file.data.get()) != 0) return base::errno_error("sync the log of a run");
  return stored;
}

Result<std::int64_t> LogStore::size(const std::string& run) {
  auto file = open(run, false);
  if (!file) return file.error();
  if (!*file) return std::int64_t{0};
  std::lock_guard lock((*file)->mutex);
  return (*file)->output_size;
}

Result<std::string> LogStore::read(const std::string& run, std::int64_t from, std::int64_t until,
                                   std::size_t limit) {
  auto opened = open(run, false);
  if (!opened) return opened.error();
  if (!*opened) return std::string();
  File& file = **opened;
  Mark mark;
  std::int64_t file_end;
  {
    std::lock_guard lock(file.mutex);
    until = std::min(until, file.output_size);
    if (from >= until) return std::string();
    auto after =
        std::upper_bound(file.marks.begin(), file.marks.end(), from,
                         [](std::int64_t value, const Mark& m) { return value < m.output; });
    mark = *std::prev(after);
    file_end = file.file_size;
  }
  // Steps over whole frames by their headers until the one that holds `from`.
  model::FrameHeader header;
  for (;;) {
    char head[model::frame_header_size];
    auto n = base::pread_full(file.data.get(), head, sizeof head, mark.file);
    if (!n) return n.error();
    auto parsed = model::parse_frame_header({head, *n});
    if (!parsed)
      return base::error(
          "damaged", "the log of run " + run + " is damaged at byte " + std::to_string(mark.file));
    header = *parsed;
    if (mark.output + static_cast<std::int64_t>(header.size) > from) break;
    mark.file += static_cast<std::int64_t>(model::frame_header_size) + header.size;
    mark.output += header.size;
  }
  std::string raw(static_cast<std::size_t>(std::min<std::int64_t>(
                      file_end - mark.file,
                      static_cast<std::int64_t>(limit + model::frame_header_size + header.size))),
                  '\0');
  auto n = base::pread_full(file.data.get(), raw.data(), raw.size(), mark.file);
  if (!n) return n.error();
  raw.resize(*n);
  // The common case, whole frames from the start on, is returned as it was read.
  std::string out;
  std::size_t at = 0;
  std::int64_t position = mark.output;
  bool whole = from == mark.output;
  while (raw.size() - at >= model::frame_header_size) {
    auto parsed =
        model::parse_frame_header(std::string_view(raw).substr(at, model::frame_header_size));
    if (!parsed) return base::error("damaged", "the log of run " + run + " is damaged");
    std::size_t next = at + model::frame_header_size + parsed->size;
    if (next > raw.size() || position >= until) break;
    std::int64_t first = std::max(from, position),
                 last = std::min<std::int64_t>(until, position + parsed->size);
    bool partial = first != position || last != position + parsed->size;
    if (partial && whole) {
      out.assign(raw, 0, at);
      whole = false;
    }
    if (!whole) {
      model::FrameHeader piece = *parsed;
      piece.sequence = static_cast<std::uint64_t>(first);
      model::append_frame(
          out, piece,
          std::string_view(raw).substr(
              at + model::frame_header_size + static_cast<std::size_t>(first - position),
              static_cast<std::size_t>(last - first)));
    }
    at = next;
    position += parsed->size;
  }
  if (!whole) return out;
  raw.resize(at);
  return raw;
}

Result<std::int64_t> LogStore::tail(const std::string& run, std::int64_t lines) {
  auto opened = open(run, false);
  if (!opened) return opened.error();
  if (!*opened) return std::int64_t{0};
  std::vector<Mark> marks;
  std::int64_t end;
  {
    std::lock_guard lock((*opened)->mutex);
    marks = (*opened)->marks;
    end = (*opened)->output_size;
  }
  if (lines <= 0) return end;
  std::int64_t until = end;
  for (auto mark = marks.rbegin(); mark != marks.rend(); ++mark) {
    // One stretch between two marks, its output in one piece.
    std::string text;
    while (mark->output + static_cast<std::int64_t>(text.size()) < until) {
      auto frames =
          read(run, mark->output + static_cast<std::int64_t>(text.size()), until, 1 << 20);
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
      std::int64_t at = mark->output + static_cast<std::int64_t>(i);
      if (text[i] != '\n' || at == end - 1)
        continue;  // the newline at the very end closes the last line
      if (--lines == 0) return at + 1;
    }
    until = mark->output;
  }
  return std::int64_t{0};
}

Result<> LogStore::remove(const std::string& run) {
  std::lock_guard lock(mutex_);
  for (auto& kept : {run, metrics_of(run)}) {
    files_.erase(kept);
    recent_.remove(kept);
    std::string path = path_of(kept);
    for (auto& name : {path, path + ".idx"})
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

Result<std::int64_t> LogStore::check(const std::string& run) const {
  std::string path = path_of(run);
  auto file = base::open(path, O_RDONLY);
  if (!file && file.error().code() == "not_found") return std::int64_t{0};
  if (!file) return file.error();
  struct stat st;
  if (::fstat(file->get(), &st) != 0) return base::errno_error("read " + path);
  std::int64_t at = 0, output = 0;
  for (char head[model::frame_header_size];;) {
    auto n = base::pread_full(file->get(), head, sizeof head, at);
    if (!n) return n.error();
    if (*n < sizeof head) return output;
    auto header = model::parse_frame_header({head, sizeof head});
    if (!header || header->sequence != static_cast<std::uint64_t>(output)) return output;
    at += static_cast<std::int64_t>(sizeof head + header->size);
    if (at > st.st_size) return output;
    output += header->size;
  }
}

std::int64_t LogStore::stored_bytes() const {
  std::int64_t total = 0;
  each_file([&](const std::string&, std::int64_t size) { total += size; });
  return total;
}

std::int64_t LogStore::stored_bytes(const std::string& run) const {
  std::int64_t total = 0;
  std::string path = path_of(run), metrics = path_of(metrics_of(run));
  struct stat st;
  for (auto& name : {path, path + ".idx", metrics, metrics + ".idx"})
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
