#include "service/resource_path.hpp"

#include "base/error.hpp"
#include "base/text.hpp"
#include "service/chain.hpp"
#include "spellfs/tree.hpp"

namespace spell::service {

namespace {

constexpr std::size_t page = 1000;
constexpr std::string_view workflow_uploads = "workflows";

std::string rest_of(const std::vector<std::string>& parts, std::size_t from) {
  return base::join({parts.begin() + static_cast<std::ptrdiff_t>(from), parts.end()}, "/");
}

Result<ResourcePath> of_run(store::Reader& reader, const std::string& owner, ResourcePath place,
                            const std::vector<std::string>& parts) {
  place.kind = ResourcePath::Kind::runs;
  if (parts.size() == 1) return place;
  std::string_view asked = parts[1];
  bool of_chain = asked.ends_with('+');
  if (of_chain) asked.remove_suffix(1);
  auto number = base::parse_int(asked);
  if (!number || *number < 1) return resource_not_found(place.path);
  auto find = [&](std::int64_t of) -> Result<std::optional<store::RunRecord>> {
    auto found = reader.find_run(owner, of);
    if (found && !*found) return resource_not_found(place.path);
    return found;
  };
  auto run = of_chain ? end_of_chain(find, *number) : find(*number);
  if (!run) return run.error();
  place.kind = ResourcePath::Kind::tree;
  place.run = (*run)->number;
  place.run_status = (*run)->status;
  place.below = rest_of(parts, 2);
  auto tree = spellfs::Name::parse((*run)->outputs);
  if (!tree) return place;
  spellfs::Entry& root = place.root.emplace();
  root.name = parts[1];
  root.type = spellfs::EntryType::folder;
  root.mode = 0755;
  root.mtime_ns = (*run)->ended_us * 1000;
  root.size = (*run)->output_bytes;
  root.files = (*run)->output_files;
  root.node = *tree;
  return place;
}

Result<ResourcePath> of_upload(store::Reader& reader, ResourcePath place,
                               const std::vector<std::string>& parts) {
  if (parts.size() == 1) return place;
  // What belongs to a workflow has a name of three parts.
  bool of_workflow = parts.size() >= 4 && parts[1] == workflow_uploads;
  std::string name =
      of_workflow ? base::join({parts.begin() + 1, parts.begin() + 4}, "/") : parts[1];
  auto upload = reader.find_upload(place.owner, name);
  if (!upload) return upload.error();
  if (!*upload) return resource_not_found(place.path);
  place.kind = ResourcePath::Kind::tree;
  place.upload = name;
  place.below = rest_of(parts, of_workflow ? 4 : 2);
  place.root = root_of(**upload);
  return place;
}

/// As find(), where a name that is no UTF-8 may be given as it is shown.
Result<spellfs::Entry> find_shown(const spellfs::ObjectSource& objects, const spellfs::Name& tree,
                                  const std::string& path) {
  constexpr std::string_view replaced = "\xEF\xBF\xBD";
  auto entry = spellfs::find(objects, tree, path);
  if (entry || entry.error().code() != "resource_not_found" ||
      path.find(replaced) == std::string::npos)
    return entry;
  entry = spellfs::find(objects, tree, "");
  for (auto& part : base::split(path, '/')) {
    if (!entry) return entry;
    if (entry->type != spellfs::EntryType::folder) return resource_not_found(path);
    auto folder = entry->node;
    entry = spellfs::find(objects, folder, part);
    if (entry || part.find(replaced) == std::string::npos) continue;
    for (std::string after;;) {
      auto names = spellfs::list(objects, folder, after, page);
      if (!names) return names.error();
      for (auto& child : *names)
        if (base::to_utf8(child.name) == part) entry = child;
      if (entry || names->size() < page) break;
      after = names->back().name;
    }
  }
  return entry;
}

}  // namespace

std::string workflow_upload(std::int64_t workflow, std::string_view name) {
  return std::string(workflow_uploads) + "/" + std::to_string(workflow) + "/" + std::string(name);
}

bool valid_upload_name(std::string_view name) {
  if (auto parts = base::split(name, '/'); parts.size() == 3 && parts[0] == workflow_uploads)
    return base::parse_int(parts[1]).value_or(0) > 0 && valid_upload_name(parts[2]);
  if (name.empty() || name == "." || name == ".." || name.size() > 255) return false;
  if (!base::valid_text(name)) return false;
  for (std::size_t i = 0; i < name.size(); ++i) {
    auto c = static_cast<unsigned char>(name[i]);
    if (c < 0x20 || c == 0x7f || c == '/' || c == ':') return false;
    // U+0080 to U+009F
    if (c == 0xC2 && static_cast<unsigned char>(name[i + 1]) < 0xA0) return false;
  }
  return true;
}

spellfs::Entry root_of(const store::UploadRecord& upload) {
  spellfs::Entry root;
  root.name = upload.name;
  root.type = upload.type == "folder" ? spellfs::EntryType::folder : spellfs::EntryType::file;
  root.mode = static_cast<std::uint32_t>(upload.mode);
  root.mtime_ns = upload.modified_us * 1000 + upload.modified_ns;
  root.size = upload.size;
  root.files = root.type == spellfs::EntryType::folder ? upload.files : 0;
  if (auto node = spellfs::Name::parse(upload.node)) root.node = *node;
  return root;
}

Error resource_not_found(const std::string& path) {
  return base::error("resource_not_found",
                     "there is no '" + path + "'; `spell ls` shows what there is");
}

Result<ResourcePath> resolve(store::Reader& reader, const std::string& owner,
                             const std::string& path) {
  if (!base::safe_relative_path(path))
    return base::error("invalid_path", "'" + path + "' is no path of a resource");
  ResourcePath place;
  place.path = path;
  if (path.empty()) return place;
  auto parts = base::split(path, '/');
  place.owner = parts[0] == "public" ? std::string(public_owner) : owner;
  place.kind = parts[0] == "public" ? ResourcePath::Kind::shared : ResourcePath::Kind::uploads;
  if (parts[0] == "runs") return of_run(reader, owner, std::move(place), parts);
  if (parts[0] == "uploads" || parts[0] == "public")
    return of_upload(reader, std::move(place), parts);
  auto link = reader.find_link(owner, parts[0]);
  if (!link) return link.error();
  if (!*link) return resource_not_found(path);
  // What a link names has no alias in it, so this ends.
  std::string named = (*link)->resource;
  if (parts.size() > 1) named += "/" + rest_of(parts, 1);
  return resolve(reader, owner, named);
}

Result<spellfs::Entry> entry_at(const spellfs::ObjectSource& objects, const ResourcePath& place) {
  if (!place.root) return resource_not_found(place.path);
  if (place.below.empty()) return *place.root;
  if (place.root->type != spellfs::EntryType::folder) return resource_not_found(place.path);
  auto entry = find_shown(objects, place.root->node, place.below);
  if (!entry && entry.error().code() == "resource_not_found") return resource_not_found(place.path);
  return entry;
}

}  // namespace spell::service
