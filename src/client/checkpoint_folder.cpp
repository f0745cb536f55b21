// A program's own checkpoints: written beside, made durable, then named.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/text.hpp"
#include "spell/checkpoint.hpp"

namespace spell {

namespace {

constexpr std::string_view prefix = "step-", part = ".part";

/// The step of a name "step-20.pt"; none: it is no checkpoint of ours.
std::optional<std::int64_t> step_of(std::string_view name) {
  if (!name.starts_with(prefix)) return std::nullopt;
  name.remove_prefix(prefix.size());
  auto digits = name.substr(0, name.find_first_not_of("0123456789"));
  if (digits.empty() || (digits.size() < name.size() && name[digits.size()] != '.'))
    return std::nullopt;
  return base::parse_int(digits);
}

/// What is left of a commit that was cut off: ".step-20.pt.part".
bool is_left_over(std::string_view name) {
  return name.starts_with(".") && name.ends_with(part) && step_of(name.substr(1)).has_value();
}

struct Content {
  std::vector<CheckpointFolder::Entry> entries;  ///< by step
  std::vector<std::string> left_overs;           ///< paths
};

Result<Content> read_folder(const std::string& path) {
  Content content;
  DIR* folder = ::opendir(path.c_str());
  if (!folder && errno == ENOENT) return content;
  if (!folder) return base::errno_error("read " + path);
  while (dirent* entry = ::readdir(folder)) {
    std::string name = entry->d_name;
    if (auto step = step_of(name)) content.entries.push_back({*step, path + "/" + name});
    if (is_left_over(name)) content.left_overs.push_back(path + "/" + name);
  }
  ::closedir(folder);
  std::sort(content.entries.begin(), content.entries.end(),
            [](auto& a, auto& b) { return std::pair(a.step, a.path) < std::pair(b.step, b.path); });
  return content;
}

Result<> sync_file(const std::string& path) {
  auto file = base::open(path, O_RDONLY);
  if (!file)
    return base::error(file.error().code(),
                       "the checkpoint's writer has written nothing: " + file.error().message());
  struct stat st;
  if (::fstat(file->get(), &st) != 0) return base::errno_error("look at " + path);
  if (!S_ISREG(st.st_mode))
    return base::error("invalid_request", "the checkpoint's writer has made no file of " + path);
  if (::fsync(file->get()) != 0) return base::errno_error("sync " + path);
  return ok();
}

}  // namespace

CheckpointFolder::CheckpointFolder(std::string path, int keep, std::string suffix)
    : path_(std::move(path)), suffix_(std::move(suffix)), keep_(std::max(keep, 1)) {
  while (path_.size() > 1 && path_.back() == '/') path_.pop_back();
}

CheckpointFolder CheckpointFolder::from_environment(int keep, std::string suffix) {
  const char* path = ::getenv("SPELL_CHECKPOINTS");
  return CheckpointFolder(path && *path ? path : "checkpoints", keep, std::move(suffix));
}

Result<std::vector<CheckpointFolder::Entry>> CheckpointFolder::list() const {
  auto content = read_folder(path_);
  if (!content) return content.error();
  return std::move(content->entries);
}

Result<std::optional<CheckpointFolder::Entry>> CheckpointFolder::latest() const {
  auto entries = list();
  if (!entries) return entries.error();
  if (entries->empty()) return std::optional<Entry>();
  return std::optional<Entry>(entries->back());
}

Result<CheckpointFolder::Entry> CheckpointFolder::commit(std::int64_t step,
                                                         const Writer& writer) const {
  if (step < 0)
    return base::error("invalid_request",
                       "a checkpoint's step is 0 or more, not " + std::to_string(step));
  if (!suffix_.empty() && (suffix_[0] != '.' || suffix_.find('/') != std::string::npos))
    return base::error("invalid_request",
                       "a checkpoint's suffix begins with '.', such as .pt; not " + suffix_);
  SPELL_TRY(base::make_folders(path_, 0777));
  std::string name = std::string(prefix) + std::to_string(step) + suffix_;
  std::string path = path_ + "/" + name;
  std::string temporary = path_ + "/." + name + std::string(part);
  ::unlink(temporary.c_str());
  auto done = writer(temporary);
  if (done) done = sync_file(temporary);
  if (done && ::rename(temporary.c_str(), path.c_str()) != 0)
    done = base::errno_error("write " + path);
  if (!done) {
    (void)base::remove_tree(temporary);
    return done.error();
  }
  SPELL_TRY(base::sync_folder(path_));
  // What cannot be removed is only room.
  if (auto content = read_folder(path_)) {
    std::erase_if(content->entries, [&](auto& entry) { return entry.path == path; });
    auto spare = std::ssize(content->entries) - (keep_ - 1);
    for (std::ptrdiff_t i = 0; i < spare; ++i)
      (void)base::remove_tree(content->entries[static_cast<std::size_t>(i)].path);
    for (auto& left : content->left_overs) (void)base::remove_tree(left);
  }
  return Entry{step, path};
}

Result<CheckpointFolder::Entry> CheckpointFolder::commit(std::int64_t step,
                                                         const StreamWriter& writer) const {
  return commit(step, Writer([&](const std::string& path) -> Result<> {
                  errno = 0;
                  std::ofstream out(path, std::ios::binary);
                  if (out) writer(out);
                  out.close();
                  if (!out) return base::errno_error("write " + path, errno ? errno : EIO);
                  return ok();
                }));
}

}  // namespace spell
