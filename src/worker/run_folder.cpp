#include "worker/run_folder.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <memory>

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/hash.hpp"
#include "base/id.hpp"
#include "base/text.hpp"
#include "exec/spool.hpp"

namespace spell::worker {

namespace {

/// Of folders that wait for their removal.
constexpr std::string_view left_prefix = ".left-";
/// Long logs and large trees never come in here; a journal is some dozen lines.
constexpr std::int64_t journal_limit = 64 << 20, manifest_limit = 4LL << 30;

constexpr int spare_limit = 16;
constexpr mode_t spell_mode = 0755, tmp_mode = 0700;

/// A folder as mkdir makes it: empty, ours, of the usual mode, without attributes, and not grown by
/// what was in it once.
bool is_fresh(const std::string& path, mode_t mode) {
  struct stat st;
  if (::lstat(path.c_str(), &st) != 0 || st.st_mode != (S_IFDIR | mode) ||
      st.st_uid != ::geteuid() || st.st_gid != ::getegid() || st.st_size > 4096 ||
      ::llistxattr(path.c_str(), nullptr, 0) > 0)
    return false;
  std::unique_ptr<DIR, int (*)(DIR*)> folder(::opendir(path.c_str()), ::closedir);
  if (!folder) return false;
  while (dirent* entry = ::readdir(folder.get()))
    if (std::string_view name = entry->d_name; name != "." && name != "..") return false;
  return true;
}

/// Opened and closed: ext4 writes out what comes into a file between truncate(2) and the next
/// close(2) at once (auto_da_alloc), which a journal that nobody waits for need not be.
bool make_empty(const std::string& path) {
  return base::open(path, O_WRONLY | O_TRUNC | O_NOFOLLOW).ok();
}

/// Leaves only the empty spell/, tmp/, journal, spool and kept lock in a run's folder; false if
/// that takes more than deleting a few files.
bool make_spare(const std::string& path) {
  if (!is_fresh(path + "/spell", spell_mode) || !is_fresh(path + "/tmp", tmp_mode)) return false;
  std::unique_ptr<DIR, int (*)(DIR*)> folder(::opendir(path.c_str()), ::closedir);
  if (!folder) return false;
  while (dirent* entry = ::readdir(folder.get())) {
    std::string_view name = entry->d_name;
    if (name == "." || name == ".." || name == "spell" || name == "tmp") continue;
    std::string file = path + "/" + entry->d_name;
    if ((name == "journal" || name == "spool" || name == exec::kept_lock) && make_empty(file))
      continue;
    // Under another name: a lock says that a supervisor was here.
    std::string kept = path + "/" + exec::kept_lock;
    if (name == "lock" && make_empty(file) && ::rename(file.c_str(), kept.c_str()) == 0) continue;
    if (::unlinkat(::dirfd(folder.get()), entry->d_name, 0) != 0) return false;
  }
  return true;
}

Result<> make_empty_folder(const std::string& path, mode_t mode) {
  if (is_fresh(path, mode)) return ok();
  SPELL_TRY(base::remove_tree(path));
  // The mode is what is said here, whatever this process's umask.
  if (::mkdir(path.c_str(), mode) != 0 || ::chmod(path.c_str(), mode) != 0)
    return base::errno_error("make the folder " + path);
  return ok();
}

}  // namespace

Result<> Folders::make() const {
  SPELL_TRY(base::make_folders(folder_ + "/runs"));
  // What a worker that was killed had on its way is of no use to anybody. It may be much: clean()
  // has the time to remove it.
  std::string incoming = folder_ + "/incoming",
              left = folder_ + "/" + std::string(left_prefix) + base::Id::make().text();
  if (::rmdir(incoming.c_str()) != 0 && errno != ENOENT &&
      ::rename(incoming.c_str(), left.c_str()) != 0)
    return base::errno_error("move " + incoming);
  return base::make_folders(incoming);
}

void Folders::clean() const {
  std::unique_ptr<DIR, int (*)(DIR*)> folder(::opendir(folder_.c_str()), ::closedir);
  std::vector<std::string> left;
  while (dirent* entry = folder ? ::readdir(folder.get()) : nullptr)
    if (std::string_view name = entry->d_name; name.starts_with(left_prefix))
      left.push_back(folder_ + "/" + entry->d_name);
  // What cannot be removed is in nobody's way.
  for (auto& path : left) (void)base::remove_tree(path);
}

Result<base::Fd> Folders::create(const std::string& id, const std::string& lines) const {
  std::string coming = folder_ + "/incoming/" + id + ".new", folder = run(id);
  if (!take_spare(coming) && ::mkdir(coming.c_str(), 0700) != 0 && errno != EEXIST)
    return base::errno_error("make the folder " + coming);
  // Nobody looks for it before the folder has its name. Truncated only where that is needed: see
  // make_empty().
  auto journal = base::open(coming + "/journal", O_WRONLY | O_APPEND | O_CREAT, 0600);
  if (!journal) return journal.error();
  if (::lseek(journal->get(), 0, SEEK_END) != 0 && ::ftruncate(journal->get(), 0) != 0)
    return base::errno_error("write " + coming + "/journal");
  SPELL_TRY(base::write_all(journal->get(), lines));
  if (base::exists(folder)) SPELL_TRY(park(id, 0));
  if (::rename(coming.c_str(), folder.c_str()) != 0)
    return base::errno_error("make the folder " + folder);
  return journal;
}

// Making and removing folders and files is the dearest part of a short run on ext4, which looks
// long for an inode that was not freed just now. So a few folders of runs that left nothing are
// kept for the next, with the files that every run has; each place holds one, and a rename finds
// out.
bool Folders::take_spare(const std::string& path) const {
  // Where they are known to be comes first: a rename that fails is not free either.
  int known = *spares_;
  for (int i = 0; i < spare_limit; ++i) {
    int place = (known - 1 - i + spare_limit) % spare_limit;
    if (::rename(spare(place).c_str(), path.c_str()) != 0) continue;
    *spares_ = place;
    return true;
  }
  return false;
}

bool Folders::keep_spare(const std::string& path) const {
  if (!make_spare(path)) return false;
  int known = *spares_;
  for (int i = 0; i < spare_limit; ++i) {
    int place = (known + i) % spare_limit;
    if (::rename(path.c_str(), spare(place).c_str()) != 0) continue;
    *spares_ = place + 1;
    return true;
  }
  return false;
}

std::string Folders::spare(int place) const {
  return folder_ + "/incoming/spare-" + std::to_string(place);
}

Result<base::Fd> Folders::journal(const std::string& id) const {
  return base::open(run(id) + "/journal", O_WRONLY | O_APPEND);
}

Result<std::vector<Journal>> Folders::read(std::vector<std::string>& notes) const {
  std::string runs = folder_ + "/runs";
  std::unique_ptr<DIR, int (*)(DIR*)> folder(::opendir(runs.c_str()), ::closedir);
  if (!folder) return base::errno_error("read " + runs);
  std::vector<std::string> ids;
  while (dirent* entry = ::readdir(folder.get()))
    if (base::Id::parse(entry->d_name)) ids.push_back(entry->d_name);
  std::vector<Journal> found;
  for (auto& id : ids) {
    std::string path = run(id) + "/journal";
    auto text = base::read_file(path, journal_limit);
    auto journal = text ? read_journal(*text) : Result<Journal>(text.error());
    if (journal && journal->start.run != id)
      journal = base::error("bad_journal", "the journal is of run " + journal->start.run);
    if (!journal) {
      notes.push_back("run folder " + run(id) + " is put aside: " + journal.error().message());
      if (auto parked = park(id, 0); !parked) notes.push_back(parked.error().message());
      continue;
    }
    // A line that was cut short must not become the beginning of the next.
    if (auto whole = text->rfind('\n') + 1; whole != text->size())
      if (::truncate(path.c_str(), static_cast<off_t>(whole)) != 0)
        return base::errno_error("truncate " + path);
    found.push_back(std::move(*journal));
  }
  return found;
}

Result<> Folders::clear(const std::string& id) const {
  std::string folder = run(id);
  ::unlink((folder + "/manifest").c_str());
  SPELL_TRY(make_empty_folder(folder + "/spell", spell_mode));
  return make_empty_folder(folder + "/tmp", tmp_mode);
}

bool Folders::reuse(const std::string& id) const {
  std::string going = folder_ + "/incoming/" + id + ".gone";
  return ::rename(run(id).c_str(), going.c_str()) == 0 && keep_spare(going);
}

Result<> Folders::remove(const std::string& id) const {
  std::string going = folder_ + "/incoming/" + id + ".gone";
  if (::rename(run(id).c_str(), going.c_str()) != 0 && errno != ENOENT)
    return base::errno_error("remove " + run(id));
  return base::remove_tree(going);
}

Result<> Folders::park(const std::string& id, std::int64_t epoch) const {
  std::string parked = folder_ + "/runs/.parked";
  SPELL_TRY(base::make_folders(parked));
  std::string target = parked + "/" + id + "-" + std::to_string(epoch);
  SPELL_TRY(base::remove_tree(target));
  if (::rename(run(id).c_str(), target.c_str()) != 0 && errno != ENOENT)
    return base::errno_error("move " + run(id));
  return ok();
}

Result<base::Fd> Folders::temporary() const {
  std::string incoming = folder_ + "/incoming";
  auto file = base::open(incoming, O_TMPFILE | O_RDWR);
  if (file) return file;
  // Not every file system has unnamed files.
  std::string name = incoming + "/XXXXXX";
  base::Fd made(::mkostemp(name.data(), O_CLOEXEC));
  if (!made) return base::errno_error("make a file in " + incoming);
  ::unlink(name.c_str());
  return made;
}

// A record a file: "size mtime ctime inode mode:blob path NUL"; of older versions without ":blob".
Result<> write_manifest(const std::string& run_folder, const git::CheckoutManifest& manifest) {
  std::string text;
  char numbers[128];
  for (auto& [path, file] : manifest) {
    int size = std::snprintf(
        numbers, sizeof numbers, "%lld %lld %lld %llu %u:", static_cast<long long>(file.size),
        static_cast<long long>(file.mtime_ns), static_cast<long long>(file.ctime_ns),
        static_cast<unsigned long long>(file.inode), file.mode);
    text.append(numbers, static_cast<std::size_t>(size)).append(base::hex(file.blob));
    text.append(1, ' ').append(path).push_back('\0');
  }
  return base::write_file(run_folder + "/manifest", text, 0600, false);
}

Result<git::CheckoutManifest> read_manifest(const std::string& run_folder) {
  git::CheckoutManifest manifest;
  auto text = base::read_file(run_folder + "/manifest", manifest_limit);
  if (!text)
    return text.error().code() == "not_found" ? Result<git::CheckoutManifest>(manifest)
                                              : text.error();
  for (std::size_t at = 0; at < text->size();) {
    auto end = text->find('\0', at);
    git::CheckedOutFile file;
    long long size = 0, mtime = 0, ctime = 0;
    unsigned long long inode = 0;
    int used = 0;
    if (end == std::string::npos ||
        std::sscanf(text->c_str() + at, "%lld %lld %lld %llu %u%n", &size, &mtime, &ctime, &inode,
                    &file.mode, &used) != 5)
      return base::error("damaged", run_folder + "/manifest is damaged");
    auto path = at + static_cast<std::size_t>(used);
    constexpr std::size_t id_size = 40;
    if ((*text)[path] == ':') {
      if (end - path <= id_size || !base::unhex(std::string_view(*text).substr(path + 1, id_size),
                                                file.blob.data(), file.blob.size()))
        return base::error("damaged", run_folder + "/manifest is damaged");
      path += 1 + id_size;
    }
    if ((*text)[path] != ' ') return base::error("damaged", run_folder + "/manifest is damaged");
    file.size = size;
    file.mtime_ns = mtime;
    file.ctime_ns = ctime;
    file.inode = inode;
    ++path;
    manifest.emplace(text->substr(path, end - path), file);
    at = end + 1;
  }
  return manifest;
}

}  // namespace spell::worker
