// What the path of a resource names: `runs/N/…`, `runs/N+/…` (of the run that its chain ends with),
// `uploads/NAME/…`, `public/NAME/…`, or an alias and
// what is below it. The one place that knows; reads, links and mounts go through it.
#pragma once
#include <optional>
#include <string>

#include "spell/result.hpp"
#include "spellfs/object.hpp"
#include "spellfs/store.hpp"
#include "store/store.hpp"

namespace spell::service {

/// Owner of what everybody may read: `public/NAME` is its upload NAME.
inline constexpr std::string_view public_owner = "public";

struct ResourcePath {
  /// `tree`: what a run has saved or somebody has uploaded. The others are folders of the service's
  /// own: "", "runs", "uploads" and "public".
  enum class Kind { top, runs, uploads, shared, tree } kind = Kind::top;
  std::string path;  ///< with its alias replaced
  /// Of a tree: its root, a file or a folder. None: a run that has saved nothing, or not yet.
  std::optional<spellfs::Entry> root;
  std::string below;          ///< path below the root
  std::string owner, upload;  ///< of an upload
  std::int64_t run = 0;       ///< number of the run whose outputs these are
  std::string run_status;
};

/// The name of an upload: one component of a path, UTF-8 without control characters and ':' (which
/// ends a resource's name where it is mounted); or workflows/W/NAME, of workflow W.
bool valid_upload_name(std::string_view name);

/// "workflows/W/NAME"
std::string workflow_upload(std::int64_t workflow, std::string_view name);

/// The root of an upload's tree.
spellfs::Entry root_of(const store::UploadRecord&);

/// Errors: `invalid_path`, `resource_not_found`: there is no such run, upload or alias. What is
/// below the root is not looked at.
Result<ResourcePath> resolve(store::Reader&, const std::string& owner, const std::string& path);

/// The entry that the path names, in its tree. A byte of a name that is no UTF-8 is shown, and
/// found, as U+FFFD. Errors: `resource_not_found`, `damaged`.
Result<spellfs::Entry> entry_at(const spellfs::ObjectSource&, const ResourcePath&);

Error resource_not_found(const std::string& path);

}  // namespace spell::service
