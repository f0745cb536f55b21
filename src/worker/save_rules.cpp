#include "worker/save_rules.hpp"

#include <algorithm>

#include "base/text.hpp"
#include "worker/mount_record.hpp"

namespace spell::worker {

bool SaveRules::leaves_out(const std::string& path, bool is_folder) const {
  if (std::find(copies.begin(), copies.end(), path) != copies.end()) return true;
  if (is_folder && !all) {
    auto name = std::string_view(path).substr(path.rfind('/') + 1);
    if (std::find(std::begin(spellfs::usually_left_out), std::end(spellfs::usually_left_out),
                  name) != std::end(spellfs::usually_left_out))
      return true;
  }
  return ignores(path, is_folder);
}

GrowingFiles::GrowingFiles(const std::vector<std::string>& append) {
  constexpr const char* usual =
      "*.[lL][oO][gG]\n*.[cC][sS][vV]\n*.[tT][sS][vV]\n*.[jJ][sS][oO][nN][lL]\n"
      "*[tT][fF][eE][vV][eE][nN][tT][sS]*\n";
  auto asked = base::join(append, "\n");
  files_ = spellfs::IgnoreRules::parse(usual + asked);
  folders_ = spellfs::IgnoreRules::parse(asked);
}

bool GrowingFiles::contain(const std::string& path) const {
  for (auto end = path.find('/'); end != path.npos; end = path.find('/', end + 1))
    if (folders_.ignores(path.substr(0, end), true)) return true;
  return files_.ignores(path, false);
}

Result<SaveRules> read_save_rules(const Folders& folders, const model::StartCommand& start) {
  std::string folder = folders.run(start.run);
  SaveRules out;
  auto manifest = read_manifest(folder);
  if (!manifest) return manifest.error();
  out.manifest = std::move(*manifest);
  for (auto& [path, file] : out.manifest)
    out.known.emplace(path, spellfs::KnownFile{file.size, file.mtime_ns, file.ctime_ns, file.inode,
                                               file.mode & 07777});
  auto mounts = read_mount_record(folder);
  if (!mounts) return mounts.error();
  out.copies = std::move(mounts->copies);
  out.known.insert(mounts->places.begin(), mounts->places.end());
  out.growing = GrowingFiles(start.request.append);
  out.all = start.request.save_all;
  if (out.all) return out;
  auto read = spellfs::IgnoreRules::read(folder + "/spell");
  if (read)
    out.ignored = std::move(*read);
  else
    out.problem =
        std::string(spellfs::ignore_file) + ": its rules are not used: " + read.error().message();
  return out;
}

}  // namespace spell::worker
