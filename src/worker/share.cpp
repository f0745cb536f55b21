#include "worker/share.hpp"

#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/error.hpp"
#include "base/text.hpp"

namespace spell::worker {

namespace {

/// Without links, "." and ".."; "" if it does not exist.
std::string real_path(const std::string& path) {
  char real[PATH_MAX];
  return ::realpath(path.c_str(), real) ? real : "";
}

bool is_in(const std::string& path, const std::string& folder) {
  return path == folder ||
         (path.starts_with(folder) && (folder == "/" || path[folder.size()] == '/'));
}

}  // namespace

Result<Share> parse_share(const std::string& text) {
  Share share;
  share.writable = text.ends_with(":rw");
  std::string path = text.substr(0, text.size() - (share.writable ? 3 : 0));
  if (text.ends_with(":ro")) path.resize(text.size() - 3);
  auto bad = [&](const std::string& why) {
    return base::error("invalid_configuration", "share " + text + ": " + why);
  };
  if (path.empty() || path[0] != '/')
    return bad("give an absolute path, such as /data or /scratch:rw");
  share.path = real_path(path);
  struct stat st {};
  if (share.path.empty() || ::stat(share.path.c_str(), &st) != 0 || !S_ISDIR(st.st_mode))
    return bad("there is no such folder");
  return share;
}

Result<exec::BindSpec> bind_share(const std::vector<Share>& shares,
                                  const model::ResolvedMount& mount) {
  auto failed = [&](const std::string& why) {
    return base::error("mount_failed", "Cannot mount resource '" + mount.resource + "' on " +
                                           mount.at + ": " + why);
  };
  std::string path = real_path(mount.resource.substr(std::string_view("machine:").size()));
  const Share* best = nullptr;
  for (auto& share : shares)
    if (!path.empty() && is_in(path, share.path) &&
        (!best || share.path.size() > best->path.size()))
      best = &share;
  if (best) return exec::BindSpec{path, mount.at, !best->writable};
  std::vector<std::string> all;
  for (auto& share : shares) all.push_back(share.text());
  return failed("this machine does not share it; it shares " +
                (all.empty() ? "nothing" : base::join(all, ", ")));
}

}  // namespace spell::worker
