#include <dirent.h>

#include <memory>
#include <set>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/file.hpp"
#include "base/text.hpp"
#include "spellfs/tree.hpp"
#include "worker/hooks.hpp"
#include "worker/live_backup.hpp"
#include "worker/pack_sender.hpp"
#include "worker/save_rules.hpp"

namespace spell::worker {

namespace {
bool is_empty(const std::string& path) {
  std::unique_ptr<DIR, int (*)(DIR*)> folder(::opendir(path.c_str()), ::closedir);
  if (!folder) return false;
  while (dirent* entry = ::readdir(folder.get()))
    if (std::string_view name = entry->d_name; name != "." && name != "..") return false;
  return true;
}

/// The versions that are safe of what was being written when the run was ended by force.
Result<spellfs::Changes> earlier_versions(const std::string& run_folder,
                                          const std::vector<std::string>& incomplete,
                                          const spellfs::ObjectSource& objects) {
  spellfs::Changes out;
  auto safe = incomplete.empty() ? std::nullopt : read_backup(run_folder);
  if (!safe) return out;
  for (auto& path : incomplete) {
    auto entry = spellfs::find(objects, safe->name, path);
    // Of a service that was restored from before.
    bool none =
        !entry && (entry.error().code() == "resource_not_found" || backup::is_lost(entry.error()));
    if (none) continue;
    if (!entry) return entry.error();
    if (entry->type != spellfs::EntryType::folder) out.emplace(path, std::move(*entry));
  }
  return out;
}

}  // namespace

bool leaves_nothing(const Folders& folders, const std::string& run) {
  return !base::exists(folders.run(run) + "/manifest") && is_empty(folders.run(run) + "/spell");
}

Result<SaveOutcome> save(const Folders& folders, const model::StartCommand& start, Link& link,
                         const CallOptions& call, const spellfs::ObjectSource& objects,
                         SaveProgress progress) {
  std::int64_t began = base::boot_ns();
  std::string folder = folders.run(start.run), top = folder + "/spell";
  spellfs::SaveOptions options;
  options.stop = call.stop;
  options.progress = std::move(progress);
  auto rules = read_save_rules(folders, start);
  if (!rules) return rules.error();
  for (auto& path : rules->copies) SPELL_TRY(base::remove_tree(top + "/" + path));
  auto aside = set_aside(folder);
  if (!aside) return aside.error();
  options.known = std::move(rules->known);
  // A file of the commit that was only touched, or written anew as it was, is no output.
  options.same = [&](const std::string& path, int below, const std::string& name) {
    auto file = rules->manifest.find(path);
    return file != rules->manifest.end() && git::has_content(file->second, below, name);
  };

  SaveOutcome out;
  out.saved.incomplete = aside->moved;
  if (!rules->all)
    options.skip_folders.assign(std::begin(spellfs::usually_left_out),
                                std::end(spellfs::usually_left_out));
  if (!rules->problem.empty()) out.saved.skipped.push_back(rules->problem);
  std::set<std::string> stuck;
  for (auto& [path, why] : aside->stuck) {
    stuck.insert(path);
    out.saved.skipped.push_back(base::to_utf8(path) + ": " + why);
  }
  if (!rules->ignored.empty() || !stuck.empty())
    options.ignore = [&](const std::string& path, bool is_folder) {
      return stuck.contains(path) || rules->ignores(path, is_folder);
    };
  options.missing = [&](std::span<const spellfs::Name> names) {
    return link.missing(start.run, start.epoch, names, call);
  };

  PackSender sender(folders, link, start, call);
  auto first = sender.open();
  if (!first) return first.error();
  auto writer = std::make_unique<spellfs::PackWriter>(
      *first, [&](std::int64_t size) { return sender.next(size); });
  auto result = spellfs::save(top, options, *writer);
  if (!result) return result.error();
  SPELL_TRY(sender.wait());
  if (auto earlier = earlier_versions(folder, aside->paths, objects); !earlier) {
    return earlier.error();
  } else if (!earlier->empty()) {
    // What was saved is to be read, so it has to be there.
    if (writer->objects() > 0) {
      auto size = writer->finish();
      if (!size) return size.error();
      auto next = sender.next(*size);
      if (!next) return next.error();
      SPELL_TRY(sender.wait());
      writer = std::make_unique<spellfs::PackWriter>(
          *next, [&](std::int64_t full) { return sender.next(full); });
    }
    auto root = spellfs::edit(objects, result->tree, *earlier, *writer);
    if (!root) return root.error();
    result->tree = root->node;
    result->files = root->files;
    result->bytes = root->size;
    SPELL_TRY(sender.wait());
  }

  if (result->tree) out.saved.tree = result->tree->text();
  out.saved.files = result->files;
  out.saved.bytes = result->bytes;
  out.saved.fresh_bytes = result->fresh_bytes;
  out.saved.new_bytes = result->new_bytes;
  out.saved.left_out = result->left_out;
  out.saved.skipped.insert(out.saved.skipped.end(),
                           std::make_move_iterator(result->skipped.begin()),
                           std::make_move_iterator(result->skipped.end()));
  out.saved.push = writer->objects() > 0;
  if (out.saved.push) {
    auto size = writer->finish();
    if (!size) return size.error();
    out.pack = {sender.take(), *size};
  }
  out.saved.took_us = (base::boot_ns() - began) / 1000;
  return out;
}

}  // namespace spell::worker
