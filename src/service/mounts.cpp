#include "service/mounts.hpp"

#include "base/error.hpp"
#include "model/image.hpp"
#include "model/status.hpp"
#include "service/resource_path.hpp"

namespace spell::service {

void describe(model::ResolvedMount& mount, const spellfs::Entry& entry) {
  bool folder = entry.type == spellfs::EntryType::folder;
  mount.type = folder ? "folder" : "file";
  mount.node = folder || entry.size > 0 ? entry.node.text() : "";
  mount.size = entry.size;
  mount.files = entry.files;
  mount.mode = entry.mode;
  mount.modified_us = entry.mtime_ns / 1000;
}

namespace {

Result<model::ResolvedMount> resolve_one(Context& context, const std::string& owner,
                                         const std::string& asked) {
  model::ResolvedMount mount;
  mount.resource = asked;
  auto path = model::mount_resource(asked);
  if (!path) return path.error();
  if (path->starts_with(model::machine_scheme)) {  // what it has there only the machine can tell
    mount.resource = *path;
    mount.type = "machine";
    return mount;
  }
  auto place =
      context.readers.with([&](store::Reader& reader) { return resolve(reader, owner, *path); });
  if (!place) {
    bool known =
        place.error().code() == "resource_not_found" || place.error().code() == "invalid_path";
    return known ? model::not_mountable(asked, "") : place.error();
  }
  if (place->kind != ResourcePath::Kind::tree)
    return model::not_mountable(asked, "name a run's outputs or an upload");
  mount.resource = place->path;
  if (place->run != 0 && !model::is_final(place->run_status)) {
    mount.run = place->run;
    mount.below = place->below;
    return mount;
  }
  if (!place->root)
    return model::not_mountable(asked, "run " + std::to_string(place->run) + " saved no files");
  auto entry = entry_at(context.objects, *place);
  if (!entry)
    return entry.error().code() == "resource_not_found" ? model::not_mountable(asked, "")
                                                        : entry.error();
  if (entry->type == spellfs::EntryType::link)
    return model::not_mountable(asked, "it is a link; name what it leads to");
  describe(mount, *entry);
  return mount;
}

}  // namespace

Result<Mounts> resolve_mounts(Context& context, const Submission& submission) {
  auto& owner = submission.owner;
  auto& request = submission.request;
  auto targets = model::mount_targets(request);
  if (!targets) return targets.error();
  Mounts mounts;
  auto asked = request.mounts;
  if (auto image = model::image_resource(request.image); !image.empty()) {
    asked.push_back({image, std::string(model::image_source)});
    targets->push_back(asked.back().at);
  }
  for (std::size_t i = 0; i < asked.size(); ++i) {
    if (i == request.mounts.size() && submission.image) {
      mounts.list.push_back(*submission.image);
      break;
    }
    auto mount = resolve_one(context, owner, asked[i].resource);
    if (!mount && i == request.mounts.size() && mount.error().code() == "invalid_mount")
      return base::error("invalid_request", "image '" + request.image + "': there is no resource " +
                                                asked[i].resource +
                                                "; `spell ls uploads` lists what was uploaded");
    if (!mount) return mount.error();
    if (mount->type == "machine" && i == request.mounts.size())
      return model::not_mountable(asked[i].resource, "an image is a run's output or an upload");
    mount->at = (*targets)[i];
    if (auto name = spellfs::Name::parse(mount->node)) {
      mounts.pins->push_back(context.objects.pin({*name}));
      // What was removed before the pin held it is not found again.
      auto again = resolve_one(context, owner, asked[i].resource);
      if (!again) return again.error();
      if (again->node != mount->node) {
        again->at = mount->at;
        mount = std::move(again);
        if (auto other = spellfs::Name::parse(mount->node))
          mounts.pins->push_back(context.objects.pin({*other}));
      }
    }
    mounts.list.push_back(std::move(*mount));
  }
  if (auto fine = model::check_nesting(mounts.list); !fine) return fine.error();
  return mounts;
}

}  // namespace spell::service
