#include "worker/live_backup.hpp"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <set>
#include <span>

#include "base/clock.hpp"
#include "base/count.hpp"
#include "base/error.hpp"
#include "base/file.hpp"
#include "base/text.hpp"
#include "exec/supervised.hpp"
#include "spellfs/remote_store.hpp"
#include "worker/save_rules.hpp"

namespace spell::worker {

namespace {

constexpr std::chrono::seconds backup_call_limit{60};
constexpr const char* safe_file = "/backup";
constexpr const char* incomplete_file = "/incomplete";
constexpr std::int64_t incomplete_limit = 1LL << 30;
/// Of the room that is there, what packs may take that wait to be sent.
constexpr std::int64_t spool_limit = 4LL << 30, spool_reserve = 1LL << 30;
constexpr std::chrono::seconds flush_limit{10};
/// Times of files are not those of the clock to the last millisecond.
constexpr std::int64_t clock_ns = 10'000'000;
/// What was changed so long before an end by force may have been closed by it.
const std::int64_t settle_ns = backup::LedgerOptions{}.settle;
/// A new folder in which something happened so long before is not known to be whole.
const std::int64_t quiet_ns = backup::LedgerOptions{}.quiet;

/// The folder of checkpoints, and those on the way to it.
bool leads_to_checkpoints(const std::string& path, const std::string& working_folder) {
  std::string checkpoints = "checkpoints";
  if (!working_folder.empty() && working_folder != ".")
    checkpoints = working_folder + "/" + checkpoints;
  return path == "checkpoints" || path == checkpoints || checkpoints.starts_with(path + "/");
}

Unsaved unsaved_of(const backup::Backlog& left) {
  return {left.files, left.bytes, left.oldest / 1000};
}

}  // namespace

Result<> write_backup(const std::string& run_folder, const backup::Tree& tree) {
  nlohmann::json text{{"outputs", tree.name.text()},
                      {"files", tree.files},
                      {"bytes", tree.bytes},
                      {"until_ns", tree.until_ns}};
  return base::write_file(run_folder + safe_file, text.dump());
}

std::optional<backup::Tree> read_backup(const std::string& run_folder) {
  auto text = base::read_file(run_folder + safe_file, 1 << 20);
  if (!text) return std::nullopt;
  auto j = nlohmann::json::parse(*text, nullptr, false);
  if (!j.is_object() || !j.contains("outputs") || !j["outputs"].is_string()) return std::nullopt;
  auto name = spellfs::Name::parse(j["outputs"].get_ref<const std::string&>());
  if (!name) return std::nullopt;
  auto number = [&](const char* key) {
    return j.contains(key) && j[key].is_number_integer() ? j[key].get<std::int64_t>() : 0;
  };
  return backup::Tree{*name, number("files"), number("bytes"), number("until_ns")};
}

std::unique_ptr<spellfs::ObjectSource> objects_of(Link& link, const model::StartCommand& start,
                                                  std::stop_token stop) {
  return spellfs::make_remote_store(
      [&link, run = start.run, epoch = start.epoch, stop](std::span<const spellfs::Name> names) {
        return link.read_objects(run, epoch, names, {backup_call_limit, stop});
      });
}

/// Calls come from the backup's threads.
class LiveBackup::Service final : public backup::Safe {
 public:
  Service(Link& link, const model::StartCommand& start, std::string run_folder,
          const spellfs::ObjectSource* source, std::stop_token stop,
          std::function<void(const std::string&)> log)
      : link_(link),
        run_(start.run),
        epoch_(start.epoch),
        folder_(std::move(run_folder)),
        remote_(source ? nullptr : objects_of(link, start, stop)),
        source_(source ? source : remote_.get()),
        stop_(std::move(stop)),
        log_(std::move(log)) {}

  Result<> send_pack(const backup::PackFile& pack, std::int64_t size) override {
    CallOptions call{std::nullopt, stop_};
    auto bytes = pack.bytes(size);
    return bytes.empty() ? link_.send_pack(run_, epoch_, pack.fd(), size, call)
                         : link_.send_pack(run_, epoch_, bytes, call);
  }
  Result<> record(const backup::Tree& tree) override {
    // Before the service has it: whatever becomes of its answer, nothing older takes its place.
    SPELL_TRY(write_backup(folder_, tree));
    model::SyncRequest request;
    auto& report = request.reports.emplace_back();
    report.run = run_;
    report.epoch = epoch_;
    report.backup = model::RunBackup{tree.name.text(), tree.files, tree.bytes};
    auto answer = link_.sync(request, {backup_call_limit, stop_});
    if (!answer && answer.error().code() == "invalid_request" &&
        answer.error().message().find("backup") != std::string::npos) {
      // Of a service that is older; what was sent need not be sent at the end.
      if (!std::exchange(told_, true))
        log_("the service does not take backups while runs run: " + answer.error().message());
      return ok();
    }
    if (!answer) return answer.error();
    if (auto refused = answer->refused.find(run_); refused != answer->refused.end())
      return base::error(refused->second, "the service does not want run " + run_ + " any more");
    return ok();
  }
  const spellfs::ObjectSource& objects() const override { return *source_; }

 private:
  Link& link_;
  const std::string run_;
  const std::int64_t epoch_;
  const std::string folder_;
  std::unique_ptr<spellfs::ObjectSource> remote_;
  const spellfs::ObjectSource* source_;
  std::stop_token stop_;
  std::function<void(const std::string&)> log_;
  bool told_ = false;
};

LiveBackup::LiveBackup() = default;
LiveBackup::~LiveBackup() {
  stop_.request_stop();
  backup_.reset();
}

Result<std::shared_ptr<LiveBackup>> LiveBackup::start(const Folders& folders,
                                                      const model::StartCommand& start, Link& link,
                                                      const spellfs::ObjectSource* source,
                                                      std::shared_ptr<backup::Rate> rate,
                                                      std::stop_token stop, const Tell& tell) {
  auto read = read_save_rules(folders, start);
  if (!read) return read.error();
  auto rules = std::make_shared<SaveRules>(std::move(*read));
  std::string folder = folders.run(start.run);
  std::shared_ptr<LiveBackup> out(new LiveBackup());
  out->chained_.emplace(std::move(stop), [to = out->stop_]() mutable { to.request_stop(); });
  out->folder_ = folder;
  out->service_ =
      std::make_unique<Service>(link, start, folder, source, out->stop_.get_token(), tell.says);

  backup::BackupOptions options;
  options.folder = folder + "/spell";
  options.temporary = [folders] { return folders.temporary(); };
  options.rules.renames_only = base::is_network_file_system(options.folder);
  options.rules.grows = [rules](const std::string& path) { return rules->growing.contain(path); };
  options.rules.container = [at = start.request.folder](const std::string& path) {
    return leads_to_checkpoints(path, at);
  };
  for (auto& [path, state] : rules->known)
    if (!path.ends_with('/')) options.known.emplace(path, state);
  options.left_out = [rules](const std::string& path, bool is_folder) {
    return rules->leaves_out(path, is_folder);
  };
  options.rate = std::move(rate);
  options.alive = [folder] { return exec::command_lives(folder); };
  if (auto room = base::free_bytes(folder); room >= 0) {
    options.spool = std::min(spool_limit, room / 4);
    // The disk is that of all runs, and of their logs.
    options.room = [folder, left = std::min(spool_reserve, room / 4)] {
      auto now = base::free_bytes(folder);
      return now < 0 || now > left;
    };
  }
  options.log = tell.says;
  options.changed = [unsaved = tell.unsaved](const backup::Backlog& left) {
    unsaved(unsaved_of(left));
  };
  options.behind = [behind = tell.behind](const backup::Backlog& left, std::chrono::seconds age) {
    if (left.files == 0) return behind("");
    behind("the backup is behind: " + base::format_size(left.bytes) + " in " +
           base::count(left.files, "file") + " not safe yet, the oldest for " +
           std::to_string(age.count()) + " s");
  };
  auto started = backup::Backup::start(std::move(options), *out->service_, read_backup(folder));
  if (!started) return started.error();
  out->backup_ = std::move(*started);
  return out;
}

Unsaved LiveBackup::unsaved() const { return unsaved_of(backup_->status().backlog); }

std::optional<std::vector<std::string>> LiveBackup::incomplete(std::int64_t end_us,
                                                               std::int64_t until_us) {
  return backup_->incomplete(end_us * 1000, until_us * 1000);
}

Result<> LiveBackup::flush() {
  auto done = backup_->flush(flush_limit);
  return done ? ok() : Result<>(base::error("timeout", done.error().message()));
}

namespace {

Result<> write_paths(const std::string& run_folder, const std::vector<std::string>& paths) {
  std::string text;
  for (auto& path : paths) text.append(path).push_back('\0');
  return base::write_file(run_folder + incomplete_file, text);
}

}  // namespace

Result<Flushed> LiveBackup::finish(std::chrono::milliseconds time) {
  Flushed out;
  auto finished = backup_->finish(time);
  if (!finished) return out;
  SPELL_TRY(write_paths(folder_, finished->torn));
  // Of what it never captures the save may still make something safe.
  out.known = !finished->others;
  out.torn = std::move(finished->torn);
  out.left = std::move(finished->left);
  // What stands in the run's folder may have been on its way only.
  if (auto safe = backup_->status().tree) {
    out.tree = safe->name.text();
    out.files = safe->files;
    out.bytes = safe->bytes;
  }
  return out;
}

// ---- ends by force

namespace {

using Files = std::map<std::string, spellfs::Entry>;

Result<Files> files_of(const spellfs::ObjectSource& objects, const spellfs::Name& tree) {
  Files out;
  spellfs::Entry root;
  root.type = spellfs::EntryType::folder;
  root.node = tree;
  std::vector<std::pair<std::string, spellfs::Entry>> folders{{"", root}};
  while (!folders.empty()) {
    auto [path, folder] = std::move(folders.back());
    folders.pop_back();
    SPELL_TRY(spellfs::each_entry(objects, folder, [&, &path = path](spellfs::Entry& entry) {
      auto below = path.empty() ? entry.name : path + "/" + entry.name;
      if (entry.type == spellfs::EntryType::folder)
        folders.emplace_back(below, entry);
      else
        out.emplace(below, entry);
      return ok();
    }));
  }
  return out;
}

/// What is not as the run found it, and was changed when `asked` says (of the time of day).
std::map<std::string, spellfs::KnownFile> changed(const std::string& top, const SaveRules& rules,
                                                  const std::function<bool(std::int64_t)>& asked) {
  std::map<std::string, spellfs::KnownFile> out;
  std::vector<std::string> folders{""};
  while (!folders.empty()) {
    auto folder = std::move(folders.back());
    folders.pop_back();
    base::Fd open(
        ::open((top + "/" + folder).c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!open) continue;
    for (auto& name : backup::names_in(open)) {
      auto path = folder.empty() ? name : folder + "/" + name;
      struct stat st;
      if (::fstatat(open.get(), name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) continue;
      if (rules.leaves_out(path, S_ISDIR(st.st_mode))) continue;
      if (S_ISDIR(st.st_mode)) {
        folders.push_back(path);
        continue;
      }
      if (!S_ISREG(st.st_mode) || rules.growing.contain(path)) continue;
      auto here = spellfs::state_of(st);
      auto known = rules.known.find(path);
      bool as_found = known != rules.known.end() && known->second == here;
      if (!as_found && asked(here.ctime_ns)) out.emplace(path, here);
    }
  }
  return out;
}

/// Whether there is nothing at the path, nor a file or link where a folder on its way was.
bool has_gone(const std::string& top, const std::string& path) {
  for (auto end = path.find('/');; end = path.find('/', end + 1)) {
    struct stat st;
    if (::lstat((top + path.substr(0, end)).c_str(), &st) != 0) return true;
    if (end == std::string::npos || !S_ISDIR(st.st_mode)) return false;
  }
}

/// The topmost folder on the way to a file that the run has made, and that is whole or not at all;
/// "": none.
std::string made_with(const std::string& path, const SaveRules& rules,
                      const std::string& working_folder) {
  for (auto end = path.find('/'); end != std::string::npos; end = path.find('/', end + 1)) {
    auto folder = path.substr(0, end + 1);
    auto known = rules.known.lower_bound(folder);
    if (known != rules.known.end() && known->first.starts_with(folder)) continue;
    folder.pop_back();
    if (!leads_to_checkpoints(folder, working_folder)) return folder + "/";
  }
  return {};
}

/// Of what a run has made, what may not have been whole yet at its end, by its times alone.
std::vector<std::string> newest(const std::map<std::string, spellfs::KnownFile>& files,
                                std::int64_t end_ns, const SaveRules& rules,
                                const std::string& working_folder) {
  std::map<std::string, std::int64_t> folders;
  for (auto& [path, state] : files) {
    auto& changed_ns = folders[made_with(path, rules, working_folder)];
    changed_ns = std::max(changed_ns, state.ctime_ns);
  }
  std::vector<std::string> out;
  for (auto& [path, state] : files) {
    auto folder = made_with(path, rules, working_folder);
    bool torn =
        folder.empty() ? state.ctime_ns > end_ns - settle_ns : folders[folder] > end_ns - quiet_ns;
    if (torn) out.push_back(path);
  }
  return out;
}

/// What the end of a run that nobody heard may have torn, see write_incomplete().
Result<std::vector<std::string>> suspects(const std::string& run_folder, const SaveRules& rules,
                                          const std::string& working_folder, End end,
                                          const std::optional<backup::Tree>& last,
                                          const spellfs::ObjectSource& objects) {
  std::vector<std::string> out;
  std::int64_t shift_ns = end.shift_ns.value_or(base::unix_us() * 1000 - base::boot_ns());
  std::int64_t end_ns = shift_ns + end.at_us * 1000, torn_ns = shift_ns + end.torn_us * 1000;
  auto around_stop = [&](std::int64_t at) {
    return end.torn_us > 0 && at > torn_ns - settle_ns && at < torn_ns + settle_ns;
  };
  auto files = changed(run_folder + "/spell", rules, [&](std::int64_t at) {
    return end.forced || at > end_ns + clock_ns || around_stop(at);
  });
  if (!last && end.forced) return newest(files, end_ns, rules, working_folder);
  Files safe;
  if (last && !files.empty()) {
    auto read = files_of(objects, last->name);
    if (!read && !backup::is_lost(read.error())) return read.error();
    if (read) safe = std::move(*read);
  }
  for (auto& [path, here] : files) {
    auto saved = safe.find(path);
    bool there = saved != safe.end() && saved->second.type == spellfs::EntryType::file;
    bool same = there && saved->second.size == here.size &&
                saved->second.mtime_ns == here.mtime_ns && saved->second.mode == here.mode;
    // Of a command that ended by itself what has no version before it is better than nothing.
    if (!same && (there || end.forced)) out.push_back(path);
  }
  return out;
}

/// Versions that the run has taken away since are older than what is put aside: where anything is,
/// they come back, so that nothing that is safe is lost.
Result<> write_gone(const std::string& run_folder, const spellfs::ObjectSource& objects) {
  auto text = base::read_file(run_folder + incomplete_file, incomplete_limit);
  if (!text) return text.error();
  auto last = read_backup(run_folder);
  if (text->empty() || !last) return ok();
  auto safe = files_of(objects, last->name);
  if (!safe) return backup::is_lost(safe.error()) ? ok() : Result<>(safe.error());
  auto paths = base::split(*text, '\0');
  paths.pop_back();  // behind the last NUL
  std::set<std::string> known(paths.begin(), paths.end());
  std::size_t before = paths.size();
  for (auto& [path, entry] : *safe)
    if (!known.contains(path) && has_gone(run_folder + "/spell/", path)) paths.push_back(path);
  return paths.size() == before ? ok() : write_paths(run_folder, paths);
}

}  // namespace

Result<> write_incomplete(const Folders& folders, const model::StartCommand& start,
                          LiveBackup* live, End end, const spellfs::ObjectSource& objects) {
  std::string folder = folders.run(start.run);
  auto flush = [&]() -> Result<> {
    if (live) SPELL_TRY(live->flush());
    return end.forced && base::exists(folder + incomplete_file) ? write_gone(folder, objects)
                                                                : ok();
  };
  if (base::exists(folder + incomplete_file)) return flush();
  auto last = read_backup(folder);
  // What has no version before it is better than nothing. A run that ended before its backup began
  // is one of these, unless its host has: nobody knows then what that interrupted.
  bool unheard = live || end.shift_ns;
  if (!last && !(end.forced && unheard)) return ok();
  auto found = live && end.forced ? live->incomplete(end.at_us) : std::nullopt;
  if (!found) {
    auto rules = read_save_rules(folders, start);
    if (!rules) return rules.error();
    // It has heard what was torn, but not what became of it after the end.
    std::optional<std::vector<std::string>> heard;
    if (live && end.torn_us > 0)
      heard = live->incomplete(end.torn_us, end.torn_us + settle_ns / 1000);
    else if (live)
      (void)live->incomplete(end.at_us);
    auto since = end;
    if (heard) since.torn_us = 0;
    auto torn = suspects(folder, *rules, start.request.folder, since, last, objects);
    if (!torn) return torn.error();
    if (heard && !heard->empty()) {
      auto safe = files_of(objects, last->name);
      if (!safe && !backup::is_lost(safe.error())) return safe.error();
      for (auto& path : *heard)
        if (safe && safe->contains(path)) torn->push_back(path);
    }
    std::sort(torn->begin(), torn->end());
    torn->erase(std::unique(torn->begin(), torn->end()), torn->end());
    if (!end.forced && torn->empty()) return ok();
    found = std::move(*torn);
  }
  SPELL_TRY(write_paths(folder, *found));
  return flush();
}

namespace {

/// The folder that a path lies in, below an open one; no part of it is followed if it is a link.
/// `make`: folders that are missing are made.
base::Fd open_parent(const base::Fd& top, const std::string& path, std::string& name, bool make) {
  auto parts = base::split(path, '/');
  name = parts.back();
  base::Fd folder(::fcntl(top.get(), F_DUPFD_CLOEXEC, 3));
  for (std::size_t i = 0; folder && i + 1 < parts.size(); ++i) {
    if (make) ::mkdirat(folder.get(), parts[i].c_str(), 0755);
    folder = base::Fd(
        ::openat(folder.get(), parts[i].c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  }
  return folder;
}

bool is_there(const base::Fd& folder, const std::string& name) {
  struct stat st;
  return folder && ::fstatat(folder.get(), name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0;
}

}  // namespace

/// Folders that were changed after `since_ns` (of the time of day) and that nothing is in, any more
/// or yet: a program would take one for a checkpoint.
static void remove_emptied(const base::Fd& top, const std::string& path, std::int64_t since_ns) {
  std::vector<std::string> young;
  std::error_code none;
  for (std::filesystem::recursive_directory_iterator
           at(path, std::filesystem::directory_options::skip_permission_denied, none),
       end;
       !none && at != end; at.increment(none)) {
    struct stat st;
    if (::lstat(at->path().c_str(), &st) == 0 && S_ISDIR(st.st_mode) &&
        spellfs::state_of(st).mtime_ns > since_ns)
      young.push_back(at->path().string().substr(path.size() + 1));
  }
  // Those below come after.
  for (auto it = young.rbegin(); it != young.rend(); ++it)
    for (auto folder = *it; !folder.empty();) {
      std::string name;
      auto parent = open_parent(top, folder, name, false);
      if (!parent || ::unlinkat(parent.get(), name.c_str(), AT_REMOVEDIR) != 0) break;
      auto end = folder.rfind('/');
      folder.resize(end == std::string::npos ? 0 : end);
    }
}

Result<SetAside> set_aside(const std::string& run_folder) {
  SetAside out;
  auto text = base::read_file(run_folder + incomplete_file, incomplete_limit);
  if (!text) return text.error().code() == "not_found" ? Result<SetAside>(out) : text.error();
  auto top = base::open(run_folder + "/spell", O_RDONLY | O_DIRECTORY);
  if (!top) return top.error();
  for (std::size_t at = 0, end; (end = text->find('\0', at)) != std::string::npos; at = end + 1) {
    auto path = text->substr(at, end - at);
    out.paths.push_back(path);
    std::string name, aside = std::string(incomplete_folder) + "/" + path;
    auto from = open_parent(*top, path, name, false);
    if (!is_there(from, name)) {
      auto to = open_parent(*top, aside, name, false);
      out.moved += is_there(to, name);
      continue;
    }
    auto to = open_parent(*top, aside, name, true);
    if (to && ::renameat(from.get(), name.c_str(), to.get(), name.c_str()) == 0)
      ++out.moved;
    else
      out.stuck.emplace_back(
          path, "it was being written at the end; " +
                    base::errno_error(std::string("move it to ") + incomplete_folder).message());
  }
  auto last = read_backup(run_folder);
  remove_emptied(*top, run_folder + "/spell", last ? last->until_ns - quiet_ns : 0);
  return out;
}

// ---- disks that have lost their power

namespace {

/// Whether the file has what its safe version has, and perhaps more behind it.
bool begins_as(const base::Fd& file, const spellfs::Entry& safe, const base::Fd& nowhere) {
  struct stat st;
  if (!file || ::fstat(file.get(), &st) != 0 || !S_ISREG(st.st_mode) || st.st_size < safe.size)
    return false;
  spellfs::PackWriter pack(nowhere.get());
  spellfs::SaveOptions options;
  options.missing = [](std::span<const spellfs::Name>) { return std::vector<spellfs::Name>(); };
  auto here = spellfs::save_open_file(file.get(), safe.size, options, pack);
  return here && here->size == safe.size && here->node == safe.node;  // else it cannot be read
}

}  // namespace

Result<> write_lost(const Folders& folders, const model::StartCommand& start,
                    const spellfs::ObjectSource& objects) {
  std::string folder = folders.run(start.run);
  auto last = read_backup(folder);
  if (!last) return ok();
  auto text = base::read_file(folder + incomplete_file, incomplete_limit);
  if (!text && text.error().code() != "not_found") return text.error();
  std::string lost = text.value_or("");
  auto safe = files_of(objects, last->name);
  if (!safe) return backup::is_lost(safe.error()) ? ok() : Result<>(safe.error());
  auto top = base::open(folder + "/spell", O_RDONLY | O_DIRECTORY);
  if (!top) return top.error();
  auto nowhere = folders.temporary();
  if (!nowhere) return nowhere.error();
  std::set<std::string> known;
  for (auto& path : base::split(lost, '\0')) known.insert(path);
  for (auto& [path, entry] : *safe) {
    if (known.contains(path)) continue;
    std::string name;
    auto parent = open_parent(*top, path, name, false);
    bool there = is_there(parent, name);
    if (there && entry.type == spellfs::EntryType::file) {
      base::Fd file(
          ::openat(parent.get(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
      there = begins_as(file, entry, *nowhere);
    }
    if (!there) lost.append(path).push_back('\0');
  }
  return lost.empty() ? ok() : base::write_file(folder + incomplete_file, lost);
}

}  // namespace spell::worker
