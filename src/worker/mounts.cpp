#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/text.hpp"
#include "model/image.hpp"
#include "spellfs/tree.hpp"
#include "worker/copy_tree.hpp"
#include "worker/hooks.hpp"
#include "worker/mount_plan.hpp"
#include "worker/mount_record.hpp"

namespace spell::worker {

namespace {

Result<FoundMount> find_mount(const spellfs::ObjectSource& source,
                              const model::ResolvedMount& mount) {
  auto entry = entry_of(mount);
  if (!entry) return entry.error();
  // What a folder has in it only its tree says.
  if (entry && entry->type == spellfs::EntryType::folder) {
    entry = spellfs::find(source, entry->node, mount.below);
    if (!entry && entry.error().code() == "resource_not_found")
      return mount_failed(mount, "there is no such file or folder in it");
  }
  if (!entry && entry.error().code() == "canceled") return entry.error();
  if (!entry) return mount_failed(mount, entry.error().message());
  return FoundMount{mount, std::move(*entry)};
}

spellfs::KnownFile state_of_file(const struct stat& st) {
  auto ns = [](const timespec& t) {
    return static_cast<std::int64_t>(t.tv_sec) * 1'000'000'000 + t.tv_nsec;
  };
  return {st.st_size, ns(st.st_mtim), ns(st.st_ctim), st.st_ino, st.st_mode};
}

/// Makes what a mount below /spell is to lie on. No link is followed: a commit may bring any.
Result<> make_place(const std::string& top, const PlannedMount& planned, bool with_last,
                    MountRecord& record) {
  auto at = base::open(top, O_PATH | O_DIRECTORY);
  auto parts = base::split(planned.in_spell, '/');
  bool folder = planned.entry.type == spellfs::EntryType::folder;
  std::string path;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (!at) return mount_failed(planned.mount, at.error().message());
    bool last = i + 1 == parts.size(), wants_folder = !last || folder;
    if (last && !with_last) return ok();
    const char* name = parts[i].c_str();
    path += (path.empty() ? "" : "/") + parts[i];
    base::Fd file;
    bool made = wants_folder
                    ? ::mkdirat(at->get(), name, 0755) == 0
                    : static_cast<bool>(
                          file = base::Fd(::openat(at->get(), name,
                                                   O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644)));
    if (!made && errno != EEXIST)
      return mount_failed(planned.mount, base::errno_error("make it").message());
    if (made) ::fchmodat(at->get(), name, wants_folder ? 0755 : 0644, 0);
    struct stat st;
    if (::fstatat(at->get(), name, &st, AT_SYMLINK_NOFOLLOW) != 0)
      return mount_failed(planned.mount, base::errno_error("read " + path).message());
    if (wants_folder ? !S_ISDIR(st.st_mode) : !S_ISREG(st.st_mode))
      return mount_failed(planned.mount, std::string(S_ISLNK(st.st_mode)   ? "a link"
                                                     : S_ISDIR(st.st_mode) ? "a folder"
                                                                           : "a file") +
                                             " of the code is in the way (" + path + ")");
    if (made) record.places[wants_folder ? path + "/" : path] = state_of_file(st);
    if (wants_folder && !last)
      at = base::Fd(::openat(at->get(), name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  }
  return ok();
}

/// A copy takes the place of what is there; that is no output either.
Result<std::string> put_copy(const std::string& run_folder, const PlannedMount& planned,
                             const std::string& from, MountRecord& record, std::stop_token stop) {
  std::string target = run_folder + "/spell/" + planned.in_spell;
  MountRecord of_copy;  // what lies in a copy is no output as it is
  SPELL_TRY(make_place(run_folder + "/spell", planned, false, planned.inside ? of_copy : record));
  if (base::exists(target)) {
    std::string aside = run_folder + "/covered";
    SPELL_TRY(base::make_folders(aside));
    aside += "/" + std::to_string(record.copies.size());
    if (::rename(target.c_str(), aside.c_str()) != 0)
      return mount_failed(planned.mount, base::errno_error("move what is there").message());
  }
  if (!planned.inside) record.copies.push_back(planned.in_spell);
  auto copied = copy_tree(from, target, std::move(stop));
  if (!copied) return copied.error();
  return copied->files > 0 && copied->reflinked == copied->files ? ", by reflink" : ", as a copy";
}

Result<exec::MountSpec> lay(const std::string& run_folder, const PlannedMount& planned,
                            const std::string& from, std::size_t number) {
  exec::MountSpec spec{from, "", "", planned.mount.at};
  if (planned.way != MountWay::overlay) return spec;
  std::string own = run_folder + "/overlays/" + std::to_string(number);
  spec.upper = own + "/upper";
  spec.work = own + "/work";
  SPELL_TRY(base::make_folders(spec.upper));
  SPELL_TRY(base::make_folders(spec.work));
  // The top of an overlay has the upper folder's mode.
  if (::chmod(spec.upper.c_str(), 0755) != 0) return base::errno_error("change " + spec.upper);
  return spec;
}

}  // namespace

Result<std::vector<std::string>> mount(const Folders& folders, const Host& host,
                                       const model::StartCommand& start,
                                       const spellfs::ObjectSource& source, TreeCache& cache,
                                       std::stop_token stop) {
  if (!start.request.code || start.code_url.empty()) SPELL_TRY(folders.clear(start.run));
  std::string folder = folders.run(start.run);
  for (auto* before : {"/overlays", "/covered"}) SPELL_TRY(base::remove_tree(folder + before));

  std::vector<FoundMount> found;
  std::vector<std::string> notices;
  MountRecord record;
  if (!start.restore.empty()) {
    auto back = put_back(folders, start, source, stop);
    if (!back) return back.error();
    notices = std::move(*back);
  }
  for (auto& mount : start.mounts) {
    if (mount.at == model::image_source) continue;  // its environment is made of it
    if (mount.type == "machine") {
      if (host.capabilities.containment == exec::Containment::best_effort)
        return mount_failed(mount, "nothing can be mounted here, for " + host.capabilities.remedy);
      auto bind = bind_share(host.shares, mount);
      if (!bind) return bind.error();
      notices.push_back("Mounted " + mount.resource + " to " + mount.at + " (the machine's own" +
                        (bind->read_only ? ", read-only)" : ")"));
      record.binds.push_back(std::move(*bind));
      PlannedMount place;
      place.mount = mount;
      place.entry.type = spellfs::EntryType::folder;
      if (mount.at.starts_with("/spell/")) {
        place.in_spell = mount.at.substr(std::string_view("/spell/").size());
        SPELL_TRY(make_place(folder + "/spell", place, true, record));
      }
      continue;
    }
    auto one = find_mount(source, mount);
    if (!one) return one.error();
    found.push_back(std::move(*one));
  }
  auto plan = plan_mounts(std::move(found), host.capabilities);
  if (!plan) return plan.error();

  // Before a tree is made: whoever finds this folder knows what it uses.
  for (auto& planned : *plan) record.keys.push_back(planned.key);
  SPELL_TRY(write_mount_record(folder, record));
  for (auto& planned : *plan) {
    auto made = cache.use(
        start.run, planned.key, reckoned_size(planned.entry.size, planned.entry.files),
        [&](const std::string& path, std::stop_token token) -> Result<> {
          spellfs::RestoreOptions options;
          options.durable = true;
          options.stop = std::move(token);
          auto restored = spellfs::restore(source, planned.entry, path, options);
          if (!restored) return restored.error();
          return ok();
        },
        stop);
    if (!made)
      return made.error().code() == "canceled"
                 ? made.error()
                 : mount_failed(planned.mount, made.error().message());
    std::string notice = mount_notice(planned, made->was_there);
    if (planned.way == MountWay::copy) {
      auto how = put_copy(folder, planned, made->path, record, stop);
      if (!how)
        return how.error().code() == "canceled" || how.error().code() == "mount_failed"
                   ? how.error()
                   : mount_failed(planned.mount, how.error().message());
      notice += *how;
    } else {
      if (!planned.in_spell.empty() && !planned.inside)
        SPELL_TRY(make_place(folder + "/spell", planned, true, record));
      auto spec = lay(folder, planned, made->path, record.mounts.size());
      if (!spec) return spec.error();
      record.mounts.push_back(std::move(*spec));
    }
    notices.push_back(std::move(notice));
  }
  SPELL_TRY(write_mount_record(folder, record));
  bool read_only = std::any_of(plan->begin(), plan->end(), [](auto& planned) {
    return planned.entry.type == spellfs::EntryType::folder && planned.way == MountWay::read_only;
  });
  if (read_only)
    notices.push_back("mounts: read-only, for overlays are not to be had here (" +
                      host.capabilities.no_overlays + ")");
  return notices;
}

}  // namespace spell::worker
