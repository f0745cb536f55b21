// What an interrupted run had saved, into the /spell of the run that goes on from it.
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include <memory>

#include "base/clock.hpp"
#include "base/count.hpp"
#include "base/error.hpp"
#include "base/file.hpp"
#include "base/text.hpp"
#include "spellfs/tree.hpp"
#include "worker/hooks.hpp"
#include "worker/live_backup.hpp"

namespace spell::worker {

namespace {

Result<std::vector<std::string>> sorted_names(const std::string& path) {
  std::unique_ptr<DIR, int (*)(DIR*)> folder(::opendir(path.c_str()), ::closedir);
  if (!folder) return base::errno_error("read " + path);
  std::vector<std::string> names;
  while (dirent* entry = ::readdir(folder.get()))
    if (std::string_view name = entry->d_name; name != "." && name != "..")
      names.emplace_back(name);
  return names;
}

Result<> set_mode(const std::string& path, ::mode_t mode) {
  return ::chmod(path.c_str(), mode & 07777) == 0 ? ok()
                                                  : Result<>(base::errno_error("change " + path));
}

/// Moves what `from` is to `to`, in whose place it comes; what only `to` has of a folder stays. A
/// folder is that of the two that is at `to`, never what a link there leads to.
Result<> merge(const std::string& from, const std::string& to) {
  struct stat st, there;
  if (::lstat(from.c_str(), &st) != 0) return base::errno_error("read " + from);
  bool folder = S_ISDIR(st.st_mode);
  // Nobody moves a folder that he may not write to, nor anything out of it.
  if (folder) SPELL_TRY(set_mode(from, st.st_mode | 0700));
  bool both = folder && ::lstat(to.c_str(), &there) == 0 && S_ISDIR(there.st_mode);
  if (both) {
    auto names = sorted_names(from);
    if (!names) return names.error();
    for (auto& name : *names) SPELL_TRY(merge(from + "/" + name, to + "/" + name));
    timespec times[2] = {st.st_atim, st.st_mtim};
    if (::utimensat(AT_FDCWD, to.c_str(), times, AT_SYMLINK_NOFOLLOW) != 0)
      return base::errno_error("set the times of " + to);
  } else {
    SPELL_TRY(base::remove_tree(to));
    if (::rename(from.c_str(), to.c_str()) != 0) return base::errno_error("move to " + to);
  }
  return folder ? set_mode(to, st.st_mode) : ok();
}

}  // namespace

Result<std::vector<std::string>> put_back(const Folders& folders, const model::StartCommand& start,
                                          const spellfs::ObjectSource& source,
                                          std::stop_token stop) {
  auto tree = spellfs::Name::parse(start.restore);
  if (!tree)
    return base::error("damaged", "'" + start.restore + "' does not name what is to be put back");
  std::string folder = folders.run(start.run), aside = folder + "/restored";
  SPELL_TRY(base::remove_tree(aside));
  SPELL_TRY(base::make_folders(aside));
  auto entries = spellfs::list(source, *tree);
  if (!entries) return entries.error();
  backup::Tree safe{*tree};
  for (auto& entry : *entries) {
    if (entry.name == incomplete_folder) continue;
    auto path = aside + "/" + entry.name;
    spellfs::RestoreOptions options;
    options.stop = stop;
    auto restored = spellfs::restore(source, entry, path, options);
    if (!restored) return restored.error();
    safe.files += restored->files;
    safe.bytes += restored->bytes;
    SPELL_TRY(merge(path, folder + "/spell/" + entry.name));
  }
  SPELL_TRY(base::remove_tree(aside));
  // It is safe already: the backup goes on from here.
  safe.until_ns = base::unix_us() * 1000;
  SPELL_TRY(write_backup(folder, safe));
  return std::vector{"Put back " + base::count(safe.files, "file") + ", " +
                     base::format_size(safe.bytes) + ", of the run that this one goes on from"};
}

}  // namespace spell::worker
