// Copies resources into the file system, out of the tree itself: names, times and holes are as they
// were saved. Whatever the service sends: nothing is written outside the destination. Every step is
// relative to an open folder, takes one plain name, and follows no link; a file appears under its
// name when it is whole. What is here already, byte for byte, is not fetched: so an interrupted
// copy goes on where it was, without any record of it.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/hash.hpp"
#include "base/text.hpp"
#include "client/fetcher.hpp"
#include "client/file_node.hpp"
#include "client/listing.hpp"
#include "spellfs/tree.hpp"

namespace spell {

namespace {

using namespace detail;
using base::Fd;
using Folder = std::shared_ptr<TargetFolder>;
using spellfs::Entry;
using Type = spellfs::EntryType;

/// Deeper than any tree that the service keeps.
constexpr int most_levels = 300;
/// A folder of this mode is being filled by a copy, or by one that was interrupted: nobody else
/// makes such, and its own mode might forbid to write into it.
constexpr mode_t being_filled = 01700;

bool is_being_filled(const struct stat& st) {
  return S_ISDIR(st.st_mode) && (st.st_mode & 07777) == being_filled && st.st_uid == ::geteuid();
}

class Download {
 public:
  Download(Connection& connection, std::string path, const std::string& tree,
           const DownloadOptions& options, const Limit& limit)
      : connection_(connection),
        path_(std::move(path)),
        options_(options),
        fetcher_(connection, path_, tree, options.parallel, limit,
                 [this](const Fetcher::Totals& totals) {
                   if (options_.progress) options_.progress(totals.done, totals.total);
                 }) {}

  /// The tree's entry of what the service says of the resource.
  Result<Entry> entry_of(const Stated& info) {
    Entry entry;
    entry.name = path_.substr(path_.rfind('/') + 1);
    entry.type = info.type == EntryType::folder ? Type::folder
                 : info.type == EntryType::link ? Type::link
                                                : Type::file;
    entry.mode = info.mode;
    entry.size = info.size;
    entry.target = info.link_target;
    auto now = std::chrono::floor<Time::duration>(std::chrono::system_clock::now());
    entry.mtime_ns =
        std::chrono::nanoseconds(info.modified_at.value_or(now).time_since_epoch()).count() +
        info.modified_ns;
    auto node = spellfs::Name::parse(info.node);
    if (node) entry.node = *node;
    if (!node && entry.type == Type::file && entry.size > 0)
      return base::error("invalid_answer", "the service did not say what " + path_ + " is");
    // The rest stands in the folder that it is in.
    auto slash = path_.rfind('/');
    if (slash == std::string::npos) return entry;
    auto parent = stat_resource(connection_, path_.substr(0, slash), fetcher_.limit());
    auto folder = parent ? spellfs::Name::parse(parent->node) : std::nullopt;
    if (!folder || parent->type != EntryType::folder) return entry;
    auto found = spellfs::find(fetcher_.objects(), *folder, entry.name);
    return found && found->type == entry.type && found->node == entry.node ? *found : entry;
  }

  /// Makes `name` in `into` what `entry` is, with all below.
  Result<> fetch(const Entry& entry, const Folder& into, const std::string& name, int level = 0) {
    FileSpot spot{into->fd.get(), name, into->below(name)};
    switch (entry.type) {
      case Type::file:
        return fetch_file(entry, into, spot);
      case Type::link:
        return make_link(entry, spot);
      case Type::folder:
        return fetch_folder(entry, spot, level);
    }
    return ok();
  }
  void expect(std::int64_t bytes) { fetcher_.expect(bytes); }
  Result<DownloadInfo> finish() {
    SPELL_TRY(fetcher_.finish());
    return DownloadInfo{links_ + fetcher_.files(), fetcher_.bytes(), present_};
  }

 private:
  enum class What { fetch, keep };

  Result<> fetch_file(const Entry& entry, const Folder& into, const FileSpot& spot) {
    auto what = look(entry, spot);
    if (!what) return what.error();
    if (*what == What::fetch) return fetcher_.push(into, spot.name, entry);
    fetcher_.add_done(entry.size);
    return ok();
  }

  Result<> make_link(const Entry& entry, const FileSpot& spot) {
    auto what = look(entry, spot);
    if (!what) return what.error();
    if (*what == What::keep) return ok();
    std::string part = ".spell-" + base::hex(base::random_bytes(8)) + ".part";
    if (::symlinkat(entry.target.c_str(), spot.folder, part.c_str()) != 0)
      return base::errno_error("make the link " + spot.shown);
    timespec times[2] = {{0, UTIME_OMIT}, time_of(entry.mtime_ns)};
    (void)!::utimensat(spot.folder, part.c_str(), times, AT_SYMLINK_NOFOLLOW);
    if (::renameat(spot.folder, part.c_str(), spot.folder, spot.name.c_str()) != 0) {
      Error e = base::errno_error("write " + spot.shown);
      ::unlinkat(spot.folder, part.c_str(), 0);
      return e;
    }
    ++links_;
    return ok();
  }

  /// What is to be done where there may be something.
  Result<What> look(const Entry& entry, const FileSpot& spot) {
    struct stat st;
    if (::fstatat(spot.folder, spot.name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
      if (errno == ENOENT) return What::fetch;
      return base::errno_error("write " + spot.shown);
    }
    if (S_ISDIR(st.st_mode))
      return base::error("file_exists", spot.shown + " is a folder; move it away first");
    auto present = is_present(entry, spot, st);
    if (!present) return present.error();
    if (*present) {
      ++present_;
      return What::keep;
    }
    if (options_.force) return What::fetch;
    if (options_.ask) return options_.ask(spot.shown) ? What::fetch : What::keep;
    return base::error("file_exists", spot.shown + " exists already; -f overwrites it");
  }

  Result<bool> is_present(const Entry& entry, const FileSpot& spot, const struct stat& st) {
    if (entry.type == Type::link && S_ISLNK(st.st_mode)) {
      std::string target(entry.target.size() + 1, '\0');
      auto n = ::readlinkat(spot.folder, spot.name.c_str(), target.data(), target.size());
      return n >= 0 && target.substr(0, static_cast<std::size_t>(n)) == entry.target;
    }
    if (entry.type != Type::file || !S_ISREG(st.st_mode) || st.st_size != entry.size) return false;
    Fd file(
        ::openat(spot.folder, spot.name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    if (!file) return false;
    auto same = has_content(file.get(), entry.size, entry.size > 0 ? entry.node.text() : "",
                            fetcher_.limit().stop());
    if (!same && same.error().code() == "canceled") return same.error();
    if (!same || !*same) return false;
    if (options_.force) restore_state(file.get(), entry);
    return true;
  }

  Result<> fetch_folder(const Entry& entry, const FileSpot& spot, int level) {
    if (level > most_levels)
      return base::error("invalid_answer", path_ + " has too many folders within each other");
    auto folder = std::make_shared<TargetFolder>();
    folder->shown = spot.shown;
    folder->entry = entry;
    folder->failed = &fetcher_.failed();
    bool made = ::mkdirat(spot.folder, spot.name.c_str(), 0700) == 0;
    if (!made && errno != EEXIST) return base::errno_error("make the folder " + spot.shown);
    folder->fd = Fd(
        ::openat(spot.folder, spot.name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    struct stat st;
    if (!folder->fd || ::fstat(folder->fd.get(), &st) != 0)
      return base::error("file_exists",
                         spot.shown + " is there already and is no folder; move it away first");
    if (made) (void)!::fchmod(folder->fd.get(), being_filled);
    folder->restore = made || is_being_filled(st);
    auto filled = fill(folder, level);
    if (!filled) fetcher_.give_up();
    return filled;
  }

  Result<> fill(const Folder& folder, int level) {
    if (folder->entry.node == spellfs::Name{}) return ok();  // of a run that has saved nothing
    return spellfs::each_entry(fetcher_.objects(), folder->entry, [&](Entry& entry) -> Result<> {
      if (entry.name.empty() || entry.name.find('/') != std::string::npos ||
          !base::safe_relative_path(entry.name))
        return base::error("invalid_answer", "the service sent the name '" +
                                                 base::to_utf8(entry.name) + "' in " + path_ +
                                                 ", which is none of a file");
      return fetch(entry, folder, entry.name, level + 1);
    });
  }

  Connection& connection_;
  const std::string path_;
  const DownloadOptions& options_;
  Fetcher fetcher_;
  std::int64_t links_ = 0, present_ = 0;
};

/// The last part of a path without '/' at its end.
std::string base_name(const std::string& path) { return path.substr(path.rfind('/') + 1); }

}  // namespace

Result<DownloadInfo> Resources::fetch(const std::string& path, const std::string& destination,
                                      const DownloadOptions& options, CallOptions call) const {
  Limit limit(call, connection_->waiter());
  auto plain = plain_path(path);
  if (!plain) return plain.error();
  for (std::string_view collection : {"", "runs", "uploads", "public"})
    if (*plain == collection)
      return base::error("invalid_path",
                         "'" + path + "' is more than one resource; copy one, like runs/7");
  auto info = stat_resource(*connection_, *plain, limit);
  if (!info) return info.error();

  // Into a folder that is there, or under a new name beside others; only this part of the way may
  // lead over links.
  std::string into = destination.empty() ? "." : destination, name = base_name(*plain);
  struct stat st;
  bool is_there = ::stat(into.c_str(), &st) == 0 && S_ISDIR(st.st_mode);
  // A new name that an interrupted copy has begun to fill is still a new name.
  bool goes_on = is_there && info->type == EntryType::folder && is_being_filled(st);
  if (!is_there || goes_on) {
    while (into.size() > 1 && into.back() == '/') into.pop_back();
    auto slash = into.rfind('/');
    name = into.substr(slash + 1);
    into = slash == std::string::npos ? "." : slash == 0 ? "/" : into.substr(0, slash);
  }
  auto opened = base::open(into, O_RDONLY | O_DIRECTORY);
  if (!opened) return opened.error();
  if (!base::safe_relative_path(name) || name.empty())
    return base::error("invalid_path", "'" + destination + "' is no name for a file");
  auto folder = std::make_shared<TargetFolder>();
  folder->fd = std::move(*opened);
  folder->shown = into == "." ? "" : into;

  Download download(*connection_, *plain, info->node, options, limit);
  auto entry = download.entry_of(*info);
  if (!entry) return entry.error();
  download.expect(info->bytes > 0 ? info->bytes : info->size);
  SPELL_TRY(download.fetch(*entry, folder, name));
  return download.finish();
}

Result<std::int64_t> Resources::download(const std::string& path, const std::string& destination,
                                         const DownloadOptions& options, CallOptions call) const {
  auto info = fetch(path, destination, options, call);
  if (!info) return info.error();
  return info->files;
}

}  // namespace spell
