#include <dirent.h>

#include <memory>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/file.hpp"
#include "spellfs/ignore.hpp"
#include "spellfs/tree.hpp"
#include "worker/hooks.hpp"

namespace spell::worker {

namespace {
bool is_empty(const std::string& path) {
  std::unique_ptr<DIR, int (*)(DIR*)> folder(::opendir(path.c_str()), ::closedir);
  if (!folder) return false;
  while (dirent* entry = ::readdir(folder.get()))
    if (std::string_view name = entry->d_name; name != "." && name != "..") return false;
  return true;
}
}  // namespace

bool leaves_nothing(const Folders& folders, const std::string& run) {
  return !base::exists(folders.run(run) + "/manifest") && is_empty(folders.run(run) + "/spell");
}

Result<SaveOutcome> save(const Folders& folders, const model::StartCommand& start, Link& link,
                         const CallOptions& call) {
  std::int64_t began = base::boot_ns();
  std::string folder = folders.run(start.run);
  spellfs::SaveOptions options;
  auto manifest = read_manifest(folder);
  if (!manifest) return manifest.error();
  for (auto& [path, file] : *manifest)
    options.known.emplace(
        path, spellfs::KnownFile{file.size, file.mtime_ns, file.ctime_ns, file.inode, file.mode});
  if (!start.request.save_all)
    options.skip_folders.assign(std::begin(spellfs::usually_left_out),
                                std::end(spellfs::usually_left_out));
  options.missing = [&](std::span<const spellfs::Name> names) {
    return link.missing(start.run, start.epoch, names, call);
  };

  SaveOutcome out;
  auto file = folders.temporary();
  if (!file) return file.error();
  spellfs::PackWriter writer(file->get());
  auto result = spellfs::save(folder + "/spell", options, writer);
  if (!result) return result.error();

  if (result->tree) out.saved.tree = result->tree->text();
  out.saved.files = result->files;
  out.saved.bytes = result->bytes;
  out.saved.new_bytes = result->new_bytes;
  out.saved.left_out = result->left_out;
  out.saved.skipped = std::move(result->skipped);
  out.saved.push = writer.objects() > 0;
  if (out.saved.push) {
    auto size = writer.finish();
    if (!size) return size.error();
    out.pack = {std::move(*file), *size};
  }
  out.saved.took_us = (base::boot_ns() - began) / 1000;
  return out;
}

}  // namespace spell::worker
