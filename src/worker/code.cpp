#include <string_view>

#include "base/error.hpp"
#include "git/store.hpp"
#include "worker/hooks.hpp"

namespace spell::worker {

Result<std::vector<std::string>> build(const Folders& folders, const model::StartCommand& start) {
  constexpr std::string_view scheme = "file://";
  if (start.code_url.compare(0, scheme.size(), scheme) != 0)
    return base::error("unsupported_code_url", "cannot take code from " + start.code_url + ": only file:// is known here");
  SPELL_TRY(folders.clear(start.run));
  std::string folder = folders.run(start.run);
  std::vector<std::string> notices;
  auto manifest = git::checkout(start.code_url.substr(scheme.size()), start.request.code->commit, folder + "/spell", notices);
  if (!manifest) return manifest.error();
  SPELL_TRY(write_manifest(folder, *manifest));
  return notices;
}

}  // namespace spell::worker
