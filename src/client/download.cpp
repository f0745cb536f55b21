// Copies resources into the file system. Whatever names the service sends: nothing is written
// outside the destination. Every step is relative to an open folder, takes one plain name, and
// follows no link; a file appears under its name when it is whole.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/hash.hpp"
#include "base/text.hpp"
#include "client/file_reader.hpp"
#include "client/listing.hpp"

namespace spell {

namespace {

using namespace detail;
using base::Fd;

timespec time_of(const std::optional<Time>& time) {
  if (!time) return {0, UTIME_OMIT};
  auto ns = std::chrono::floor<std::chrono::nanoseconds>(time->time_since_epoch()).count();
  auto seconds = ns / 1'000'000'000 - (ns % 1'000'000'000 < 0);
  return {static_cast<time_t>(seconds), static_cast<long>(ns - seconds * 1'000'000'000)};
}

/// Mode and time as they were stored. A file system that has no modes is no reason to fail.
void restore(int fd, const ResourceInfo& info) {
  (void)!::fchmod(fd, info.mode & 0777);
  timespec times[2] = {{0, UTIME_OMIT}, time_of(info.modified_at)};
  (void)!::futimens(fd, times);
}

/// A name in an open folder, and how it is shown.
struct Spot {
  int folder;
  std::string name, shown;
};

/// Removes a temporary file that did not get its name.
class Temporary {
 public:
  explicit Temporary(const Spot& spot)
      : spot_(spot), name_(".spell-" + base::hex(base::random_bytes(8)) + ".part") {}
  ~Temporary() {
    if (!named_) ::unlinkat(spot_.folder, name_.c_str(), 0);
  }
  Temporary(const Temporary&) = delete;
  const char* name() const { return name_.c_str(); }
  Result<> give_name() {
    if (::renameat(spot_.folder, name_.c_str(), spot_.folder, spot_.name.c_str()) != 0)
      return base::errno_error("write " + spot_.shown);
    named_ = true;
    return ok();
  }

 private:
  const Spot& spot_;
  std::string name_;
  bool named_ = false;
};

class Download {
 public:
  Download(Connection& connection, const DownloadOptions& options, const Limit& limit)
      : connection_(connection), options_(options), limit_(limit) {}

  /// Makes `spot` what `info` is, with all below.
  Result<> fetch(const std::string& path, const ResourceInfo& info, const Spot& spot) {
    switch (info.type) {
      case EntryType::file:
        return fetch_file(path, info, spot);
      case EntryType::link:
        return make_link(info, spot);
      case EntryType::folder:
        return fetch_folder(path, info, spot);
    }
    return ok();
  }
  /// For the progress: what a folder holds, as far as it is known.
  void expect(const ResourceInfo& info) {
    if (info.type == EntryType::file) total_ += info.size;
  }
  std::int64_t files() const { return files_; }

 private:
  /// False: the user wants to keep what is there.
  Result<bool> may_write(const Spot& spot) {
    struct stat st;
    if (::fstatat(spot.folder, spot.name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
      if (errno == ENOENT) return true;
      return base::errno_error("write " + spot.shown);
    }
    if (S_ISDIR(st.st_mode))
      return base::error("file_exists", spot.shown + " is a folder; move it away first");
    if (options_.force) return true;
    if (options_.ask) return options_.ask(spot.shown);
    return base::error("file_exists", spot.shown + " exists already; -f overwrites it");
  }

  Result<> fetch_file(const std::string& path, const ResourceInfo& info, const Spot& spot) {
    auto may = may_write(spot);
    if (!may) return may.error();
    if (!*may) return tell(info.size);
    Temporary part(spot);
    Fd file(::openat(spot.folder, part.name(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                     0600));
    if (!file) return base::errno_error("write " + spot.shown);
    auto write = [&](std::string_view piece) -> Result<> {
      if (auto written = base::write_all(file.get(), piece); !written)
        return base::error(written.error().code(), spot.shown + ": " + written.error().message());
      return tell(static_cast<std::int64_t>(piece.size()));
    };
    SPELL_TRY(read_resource(connection_, path, write, limit_));
    restore(file.get(), info);
    SPELL_TRY(part.give_name());
    ++files_;
    return ok();
  }

  Result<> make_link(const ResourceInfo& info, const Spot& spot) {
    auto may = may_write(spot);
    if (!may) return may.error();
    if (!*may) return ok();
    Temporary part(spot);
    if (::symlinkat(info.link_target.c_str(), spot.folder, part.name()) != 0)
      return base::errno_error("make the link " + spot.shown);
    SPELL_TRY(part.give_name());
    ++files_;
    return ok();
  }

  Result<> fetch_folder(const std::string& path, const ResourceInfo& info, const Spot& spot) {
    bool made = ::mkdirat(spot.folder, spot.name.c_str(), 0700) == 0;
    if (!made && errno != EEXIST) return base::errno_error("make the folder " + spot.shown);
    Fd folder(
        ::openat(spot.folder, spot.name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!folder)
      return base::error("file_exists",
                         spot.shown + " is there already and is no folder; move it away first");
    auto listing = list_all(connection_, path, limit_);
    if (!listing) return listing.error();
    for (auto& entry : listing->entries) expect(entry);
    for (auto& entry : listing->entries) {
      if (entry.path.empty() || entry.path.find('/') != std::string::npos ||
          !base::safe_relative_path(entry.path))
        return base::error("invalid_answer", "the service sent the name '" +
                                                 base::to_utf8(entry.path) + "' in " + path +
                                                 ", which is none of a file");
      SPELL_TRY(fetch(path + "/" + entry.path, entry,
                      {folder.get(), entry.path, spot.shown + "/" + entry.path}));
    }
    // Last, since writing into the folder changes its time, and its mode may forbid it.
    if (made) restore(folder.get(), info);
    return ok();
  }

  Result<> tell(std::int64_t bytes) {
    done_ += bytes;
    if (options_.progress) options_.progress(done_, total_);
    return ok();
  }

  Connection& connection_;
  const DownloadOptions& options_;
  const Limit& limit_;
  std::int64_t done_ = 0, total_ = 0, files_ = 0;
};

/// The last part of a path without '/' at its end.
std::string base_name(const std::string& path) { return path.substr(path.rfind('/') + 1); }

}  // namespace

Result<std::int64_t> Resources::download(const std::string& path, const std::string& destination,
                                         const DownloadOptions& options, CallOptions call) const {
  Limit limit(call, connection_->waiter());
  auto plain = plain_path(path);
  if (!plain) return plain.error();
  if (plain->find('/') == std::string::npos)
    return base::error("invalid_path",
                       "'" + path + "' is more than one resource; copy one, like runs/7");
  auto listing = list_all(*connection_, *plain, limit);
  if (!listing) return listing.error();

  // Into a folder that is there, or under a new name beside others; only this part of the way may
  // lead over links.
  std::string into = destination.empty() ? "." : destination, name = base_name(*plain);
  struct stat st;
  if (::stat(into.c_str(), &st) != 0 || !S_ISDIR(st.st_mode)) {
    while (into.size() > 1 && into.back() == '/') into.pop_back();
    auto slash = into.rfind('/');
    name = into.substr(slash + 1);
    into = slash == std::string::npos ? "." : slash == 0 ? "/" : into.substr(0, slash);
  }
  auto folder = base::open(into, O_RDONLY | O_DIRECTORY);
  if (!folder) return folder.error();
  if (!base::safe_relative_path(name) || name.empty())
    return base::error("invalid_path", "'" + destination + "' is no name for a file");

  Download download(*connection_, options, limit);
  download.expect(listing->resource);
  SPELL_TRY(download.fetch(*plain, listing->resource,
                           {folder->get(), name, into == "." ? name : into + "/" + name}));
  return download.files();
}

}  // namespace spell
