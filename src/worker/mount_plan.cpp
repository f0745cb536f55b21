#include "worker/mount_plan.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "base/hash.hpp"
#include "base/text.hpp"

namespace spell::worker {

namespace {

constexpr std::string_view spell = "/spell/";

bool is_below(std::string_view path, std::string_view folder) {
  return path.size() > folder.size() && path.starts_with(folder) && path[folder.size()] == '/';
}

}  // namespace

Error mount_failed(const model::ResolvedMount& mount, const std::string& why) {
  return base::error("mount_failed",
                     "Cannot mount resource '" + mount.resource + "' on " + mount.at + ": " + why);
}

Result<spellfs::Entry> entry_of(const model::ResolvedMount& mount) {
  spellfs::Entry entry;
  bool folder = mount.type == "folder";
  auto node = spellfs::Name::parse(mount.node);
  if (!node && (folder || !mount.node.empty() || mount.size > 0))
    return mount_failed(mount, "the service did not say what it is");
  if (node) entry.node = *node;
  entry.type = folder ? spellfs::EntryType::folder : spellfs::EntryType::file;
  entry.mode = static_cast<std::uint32_t>(mount.mode) & 0777;
  entry.mtime_ns = mount.modified_us * 1000;
  entry.size = mount.size;
  entry.files = mount.files;
  return entry;
}

std::string cache_key(const spellfs::Entry& entry) {
  if (entry.type == spellfs::EntryType::folder) return "t" + entry.node.text();
  std::string of = entry.node.text() + " " + std::to_string(entry.size) + " " +
                   std::to_string(entry.mode) + " " + std::to_string(entry.mtime_ns);
  return "f" + base::hex(base::sha256(of));
}

Result<std::vector<PlannedMount>> plan_mounts(std::vector<FoundMount> found,
                                              const exec::Capabilities& machine) {
  bool mounts = machine.containment != exec::Containment::best_effort;
  std::sort(found.begin(), found.end(), [](const FoundMount& a, const FoundMount& b) {
    return a.mount.at < b.mount.at;  // a path is less than those below it
  });
  std::vector<PlannedMount> out;
  for (auto& [mount, entry] : found) {
    PlannedMount planned;
    bool folder = entry.type == spellfs::EntryType::folder;
    if (entry.type == spellfs::EntryType::link)
      return mount_failed(mount, "it is a link; name what it leads to");
    if (mount.at.starts_with(spell)) planned.in_spell = mount.at.substr(spell.size());
    if (!mounts && planned.in_spell.empty())
      return mount_failed(mount, "only paths below /spell can be had here, for " + machine.remedy);
    for (auto& outer : out) {
      if (!is_below(mount.at, outer.mount.at)) continue;
      if (outer.entry.type != spellfs::EntryType::folder)
        return mount_failed(
            mount, outer.mount.resource + " is mounted on " + outer.mount.at + " and is a file");
      planned.inside = true;
    }
    if (folder) {
      // One tree, whatever name it was saved under; the top is the run's to write in.
      entry.mode = 0755;
      entry.name.clear();
    }
    planned.key = cache_key(entry);
    planned.way = !mounts                      ? MountWay::copy
                  : folder && machine.overlays ? MountWay::overlay
                                               : MountWay::read_only;
    planned.mount = std::move(mount);
    planned.entry = std::move(entry);
    out.push_back(std::move(planned));
  }
  return out;
}

std::string mount_notice(const PlannedMount& planned, bool was_cached) {
  auto& entry = planned.entry;
  bool folder = entry.type == spellfs::EntryType::folder;
  std::string text = std::string(planned.way == MountWay::copy ? "Copied " : "Mounted ") +
                     planned.mount.resource + " to " + planned.mount.at + " (";
  if (folder) text += std::to_string(entry.files) + (entry.files == 1 ? " file, " : " files, ");
  text += base::format_size(entry.size);
  if (folder && planned.way == MountWay::read_only) text += ", read-only";
  return text + ")" + (was_cached ? ", from the cache" : "");
}

}  // namespace spell::worker
