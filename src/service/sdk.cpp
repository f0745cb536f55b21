#include "service/sdk.hpp"

#include <sys/stat.h>

#include "base/error.hpp"
#include "spellfs/tree.hpp"

namespace spell::service {

namespace {

constexpr const char* library = "/lib/libspell.a";

/// Every installation writes the library anew.
std::string state_of(const std::string& folder) {
  struct stat st {};
  if (folder.empty() || ::stat((folder + library).c_str(), &st) != 0) return {};
  return std::to_string(st.st_ino) + " " + std::to_string(st.st_size) + " " +
         std::to_string(st.st_mtim.tv_sec) + "." + std::to_string(st.st_mtim.tv_nsec);
}

Result<spellfs::Entry> save_sdk(spellfs::PackStore& objects, const std::string& owner,
                                const std::string& folder) {
  auto writer = objects.writer(owner);
  if (!writer) return writer.error();
  spellfs::SaveOptions options;
  options.missing = [&](std::span<const spellfs::Name> names) {
    return objects.missing(owner, names);
  };
  auto saved = spellfs::save(folder, options, **writer);
  if (!saved) return saved.error();
  if (auto finished = (*writer)->finish(); !finished) return finished.error();
  return std::move(saved->root);
}

}  // namespace

Result<CheckedUpload> Sdk::give(Context& context, const Call& call) {
  auto& owner = call->owner();
  auto& objects = context.objects;
  std::lock_guard lock(mutex_);
  auto state = state_of(folder_);
  if (state.empty())
    return base::error("sdk_missing",
                       "this service has no SDK to build against (there is none in " + folder_ +
                           "): build the program elsewhere and send it with --program");
  CheckedUpload out;
  out.pin = std::make_shared<spellfs::PackStore::Pin>();
  auto known = known_.find(owner);
  if (known != known_.end() && known->second.state == state) {
    auto node = *spellfs::Name::parse(known->second.record.node);
    *out.pin = objects.pin({node});
    auto owns = objects.owns(owner, node);
    if (!owns) return owns.error();
    if (*owns) {
      out.record = known->second.record;
      return out;
    }
  }
  // A collection may take, between two steps, what nothing names yet.
  for (int attempt = 0;; ++attempt) {
    auto root = save_sdk(objects, owner, folder_);
    if (!root && root.error().code() == "incomplete_pack" && attempt < 3) continue;
    if (!root) return root.error();
    *out.pin = objects.pin({root->node});
    auto owns = objects.owns(owner, root->node);
    if (!owns) return owns.error();
    if (!*owns && attempt < 3) continue;
    // It counts for nobody: its creator is the service.
    out.record = {owner,      "sdk",       "folder",   root->node.text(),
                  root->size, root->files, root->mode, root->mtime_ns / 1000,
                  0,          ""};
    known_[owner] = {std::move(state), out.record};
    return out;
  }
}

}  // namespace spell::service
