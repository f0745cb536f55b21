#include "model/mount.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "base/text.hpp"
#include "model/environment.hpp"
#include "model/image.hpp"
#include "model/members.hpp"
#include "model/mount_members.hpp"

namespace spell::model {

namespace {

/// What must stay as it is for a run to work, or to be fenced in.
constexpr std::string_view closed_below[] = {
    "/proc",   "/sys",         "/dev",         "/spell-tmp",  "/spell-bin",       "/.hidden",
    "/.level", service_folder, "/spell-build", built_program, environment_folder, image_source};
constexpr std::string_view closed[] = {"/bin",     "/boot",    "/etc",      "/lib",  "/lib32",
                                       "/lib64",   "/libx32",  "/run",      "/sbin", "/usr",
                                       "/usr/bin", "/usr/lib", "/usr/sbin", "/var",  "/tmp"};

Error bad_target(const std::string& at, const std::string& why) {
  return base::error("invalid_mount", "cannot mount on " + in_quotes(at) + ": " + why);
}

bool is_below(std::string_view path, std::string_view folder) {
  return path.size() > folder.size() && path.starts_with(folder) && path[folder.size()] == '/';
}

/// Appends the parts of `path`; false if they lead out of the first `least` of `parts`.
bool walk(std::vector<std::string>& parts, std::string_view path, std::size_t least) {
  for (auto& part : base::split(path, '/')) {
    if (part.empty() || part == ".") continue;
    if (part != "..") {
      parts.push_back(std::move(part));
    } else {
      if (parts.size() <= least) return false;
      parts.pop_back();
    }
  }
  return true;
}

}  // namespace

Error not_mountable(const std::string& resource, const std::string& why) {
  return base::error("invalid_mount", "Cannot mount resource " + in_quotes(resource) +
                                          ": not a valid resource" +
                                          (why.empty() ? "" : " (" + why + ")"));
}

Result<std::string> mount_resource(const std::string& resource) {
  if (resource.starts_with("s3://"))
    return base::error("invalid_mount", "Cannot mount resource " + in_quotes(resource) +
                                            ": s3:// is not available in this version");
  std::string path = resource;
  while (path.ends_with('/')) path.pop_back();
  if (path.starts_with(machine_scheme)) {
    std::string_view below = std::string_view(path).substr(machine_scheme.size());
    if (below.size() < 2 || below[0] != '/' || !base::valid_text(path) ||
        !base::safe_relative_path(below.substr(1)))
      return not_mountable(resource, "name a folder that the machine shares: machine:/data");
    return path;
  }
  if (path.empty() || !base::valid_text(path) || !base::safe_relative_path(path))
    return not_mountable(resource, "");
  return path;
}

std::optional<RunOutputs> run_outputs(std::string_view resource) {
  constexpr std::string_view runs = "runs/";
  if (!resource.starts_with(runs)) return std::nullopt;
  resource.remove_prefix(runs.size());
  resource = resource.substr(0, resource.find('/'));
  RunOutputs out;
  out.of_chain = resource.ends_with('+');
  if (out.of_chain) resource.remove_suffix(1);
  auto number = base::parse_int(resource);
  if (!number || *number < 1) return std::nullopt;
  out.run = *number;
  return out;
}

Result<std::string> mount_target(const Mount& mount, const std::string& folder) {
  std::string at = mount.at;
  if (at.empty()) {
    auto resource = mount_resource(mount.resource);
    if (!resource) return resource.error();
    at = resource->substr(resource->rfind('/') + 1);
    // "runs/7+" itself: where "runs/7" would be.
    if (auto of = run_outputs(*resource); of && of->of_chain && at == std::to_string(of->run) + "+")
      at.pop_back();
  }
  if (at.size() > 4000 || !base::valid_text(at)) return bad_target(at, "that is no path");
  std::vector<std::string> parts;
  bool absolute = at[0] == '/';
  if (!absolute) {
    parts.push_back("spell");
    walk(parts, folder, 1);
  }
  if (!walk(parts, at, absolute ? 0 : 1))
    return bad_target(at,
                      absolute ? "that leads out of the run's root" : "that leads out of /spell");
  for (auto& part : parts)
    if (part.size() > 255) return bad_target(at, "a part of it is longer than 255 bytes");
  std::string path = "/" + base::join(parts, "/");
  if (path == "/") return bad_target(at, "that would hide everything");
  if (path == "/spell")
    return bad_target(at,
                      "/spell is where the run's own files are; name a "
                      "folder below it");
  for (auto name : closed_below)
    if (path == name || is_below(path, name))
      return bad_target(at, std::string(name) + " is not for mounts");
  for (auto name : closed)
    if (path == name)
      return bad_target(at, "that would hide what the run needs; name a folder below it");
  if (path.size() > 4000) return bad_target(at, "that is no path");
  return path;
}

Result<std::vector<std::string>> mount_targets(const RunRequest& request) {
  std::vector<std::string> targets;
  for (auto& mount : request.mounts) {
    auto resource = mount_resource(mount.resource);
    if (!resource) return resource.error();
    auto target = mount_target(mount, request.folder);
    if (!target) return target.error();
    if (std::find(targets.begin(), targets.end(), *target) != targets.end())
      return bad_target(*target, "two mounts are to be there");
    targets.push_back(std::move(*target));
  }
  return targets;
}

Result<> check_nesting(const std::vector<ResolvedMount>& mounts) {
  for (auto& outer : mounts)
    for (auto& inner : mounts)
      if (outer.type == "file" && is_below(inner.at, outer.at))
        return bad_target(inner.at,
                          outer.resource + ", which is mounted on " + outer.at + ", is a file");
  return ok();
}

std::string write_mounts(const std::vector<ResolvedMount>& mounts) {
  return mounts.empty() ? "" : write_value(mounts).dump();
}

Result<std::vector<ResolvedMount>> read_mounts(const std::string& text) {
  std::vector<ResolvedMount> mounts;
  if (text.empty()) return mounts;
  auto list = parse_json(text);
  if (!list || read_value(*list, mounts, Unknown::ignore))
    return base::error("damaged", "a run's record of its mounts cannot be read");
  return mounts;
}

bool mounts_anything(const RunRequest& request) {
  return !request.mounts.empty() || !image_resource(request.image).empty();
}

std::vector<std::int64_t> runs_mounted(const std::vector<ResolvedMount>& mounts) {
  std::vector<std::int64_t> runs;
  for (auto& mount : mounts) {
    auto of = run_outputs(mount.resource);
    if (of && std::find(runs.begin(), runs.end(), of->run) == runs.end()) runs.push_back(of->run);
  }
  return runs;
}

}  // namespace spell::model
