#include <fcntl.h>
#include <sys/stat.h>

#include <string_view>

#include "base/error.hpp"
#include "base/text.hpp"
#include "git/store.hpp"
#include "worker/hooks.hpp"

namespace spell::worker {

namespace {

/// The user may have stood where no file of the commit is: Git keeps no empty folders, and no
/// ignored ones. What is in the way is left for the start to complain of; no link is followed, it
/// may lead out of the run's folder.
Result<> make_working_folder(const std::string& top, const std::string& path) {
  auto at = base::open(top, O_PATH | O_DIRECTORY);
  for (auto& name : base::split(path, '/')) {
    if (!at) return at.error();
    if (name.empty()) continue;
    if (::mkdirat(at->get(), name.c_str(), 0755) != 0 && errno != EEXIST)
      return base::errno_error("make the folder " + path);
    base::Fd next(::openat(at->get(), name.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!next) return ok();
    at = std::move(next);
  }
  return ok();
}

/// Of a repository, not of the commit that it was asked for.
bool is_damage(const Error& error) {
  return error.code() == "bad_object" || error.code() == "missing_object" ||
         error.code() == "commit_not_found";
}

}  // namespace

Result<std::vector<std::string>> build(const Folders& folders, const model::StartCommand& start,
                                       CodeCache& cache, const CodeCache::Fetch& fetch) {
  constexpr std::string_view local = "file://", remote = "service:";
  auto& code = *start.request.code;
  CodeCache::Use use;
  auto cached = [&] {
    return cache.use(
        start.owner, code.workspace, code.commit, [&] { return folders.temporary(); }, fetch);
  };
  if (start.code_url.starts_with(local)) {
    use.repository = start.code_url.substr(local.size());
  } else if (start.code_url == remote) {
    auto found = cached();
    if (!found) return found.error();
    use = std::move(*found);
  } else {
    return base::error("unsupported_code_url", "cannot take code from " + start.code_url +
                                                   ": this worker is too old for the service");
  }
  SPELL_TRY(folders.clear(start.run));
  std::string folder = folders.run(start.run);
  std::vector<std::string> notices;
  auto manifest = git::checkout(use.repository, code.commit, folder + "/spell", notices);
  // What was here is not what came: git's names of objects say so. All of it comes once more.
  if (!manifest && use.held && is_damage(manifest.error())) {
    cache.discard(use);
    auto found = cached();
    if (!found) return found.error();
    SPELL_TRY(folders.clear(start.run));
    notices = {"This machine's copy of the code was damaged, and was fetched anew"};
    manifest = git::checkout(found->repository, code.commit, folder + "/spell", notices);
  }
  if (!manifest) return manifest.error();
  if (auto& stood = start.request.folder; !stood.empty()) {
    SPELL_TRY(make_working_folder(folder + "/spell", stood));
    (*manifest)[stood + '/'];  // was there: empty, it is no output
  }
  SPELL_TRY(write_manifest(folder, *manifest));
  return notices;
}

}  // namespace spell::worker
