#include <dirent.h>

#include <future>
#include <memory>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/file.hpp"
#include "spellfs/ignore.hpp"
#include "spellfs/tree.hpp"
#include "worker/hooks.hpp"
#include "worker/mount_record.hpp"

namespace spell::worker {

namespace {
bool is_empty(const std::string& path) {
  std::unique_ptr<DIR, int (*)(DIR*)> folder(::opendir(path.c_str()), ::closedir);
  if (!folder) return false;
  while (dirent* entry = ::readdir(folder.get()))
    if (std::string_view name = entry->d_name; name != "." && name != "..") return false;
  return true;
}

constexpr std::int64_t pack_limit = 64 << 20;

/// Sends packs one after the other while the next one is being filled. What has arrived is not
/// written again by a later save of the same run, whatever becomes of this process.
class PackSender {
 public:
  PackSender(const Folders& folders, Link& link, const model::StartCommand& start,
             const CallOptions& call)
      : folders_(folders), link_(link), start_(start), call_(call) {}
  ~PackSender() { (void)wait(); }

  Result<int> open() {
    auto file = folders_.temporary();
    if (!file) return file.error();
    filling_ = std::move(*file);
    return filling_.get();
  }
  Result<int> next(std::int64_t size) {
    if (auto sent = wait(); !sent) return sent.error();
    sending_ = std::async(
        std::launch::async, [this, size, file = std::make_shared<base::Fd>(std::move(filling_))] {
          return link_.send_pack(start_.run, start_.epoch, file->get(), size, call_);
        });
    return open();
  }
  Result<> wait() { return sending_.valid() ? sending_.get() : ok(); }
  base::Fd take() { return std::move(filling_); }

 private:
  const Folders& folders_;
  Link& link_;
  const model::StartCommand& start_;
  const CallOptions& call_;
  base::Fd filling_;
  std::future<Result<>> sending_;
};

}  // namespace

bool leaves_nothing(const Folders& folders, const std::string& run) {
  return !base::exists(folders.run(run) + "/manifest") && is_empty(folders.run(run) + "/spell");
}

Result<SaveOutcome> save(const Folders& folders, const model::StartCommand& start, Link& link,
                         const CallOptions& call, SaveProgress progress) {
  std::int64_t began = base::boot_ns();
  std::string folder = folders.run(start.run), top = folder + "/spell";
  spellfs::SaveOptions options;
  options.stop = call.stop;
  options.progress = std::move(progress);
  auto manifest = read_manifest(folder);
  if (!manifest) return manifest.error();
  for (auto& [path, file] : *manifest)
    options.known.emplace(
        path, spellfs::KnownFile{file.size, file.mtime_ns, file.ctime_ns, file.inode, file.mode});
  // A file of the commit that was only touched, or written anew as it was, is no output.
  options.same = [&](const std::string& path, int below, const std::string& name) {
    auto file = manifest->find(path);
    return file != manifest->end() && git::has_content(file->second, below, name);
  };
  auto mounts = read_mount_record(folder);
  if (!mounts) return mounts.error();
  for (auto& path : mounts->copies) SPELL_TRY(base::remove_tree(top + "/" + path));
  options.known.insert(mounts->places.begin(), mounts->places.end());

  SaveOutcome out;
  spellfs::IgnoreRules rules;
  if (!start.request.save_all) {
    options.skip_folders.assign(std::begin(spellfs::usually_left_out),
                                std::end(spellfs::usually_left_out));
    auto read = spellfs::IgnoreRules::read(top);
    if (read)
      rules = std::move(*read);
    else
      out.saved.skipped.push_back(std::string(spellfs::ignore_file) +
                                  ": its rules are not used: " + read.error().message());
  }
  if (!rules.empty())
    options.ignore = [&](const std::string& path, bool is_folder) {
      return rules.ignores(path, is_folder);
    };
  options.missing = [&](std::span<const spellfs::Name> names) {
    return link.missing(start.run, start.epoch, names, call);
  };

  PackSender sender(folders, link, start, call);
  auto file = sender.open();
  if (!file) return file.error();
  spellfs::PackWriter writer(*file, pack_limit,
                             [&](std::int64_t size) { return sender.next(size); });
  auto result = spellfs::save(top, options, writer);
  if (!result) return result.error();
  SPELL_TRY(sender.wait());

  if (result->tree) out.saved.tree = result->tree->text();
  out.saved.files = result->files;
  out.saved.bytes = result->bytes;
  out.saved.fresh_bytes = result->fresh_bytes;
  out.saved.new_bytes = result->new_bytes;
  out.saved.left_out = result->left_out;
  out.saved.skipped.insert(out.saved.skipped.end(),
                           std::make_move_iterator(result->skipped.begin()),
                           std::make_move_iterator(result->skipped.end()));
  out.saved.push = writer.objects() > 0;
  if (out.saved.push) {
    auto size = writer.finish();
    if (!size) return size.error();
    out.pack = {sender.take(), *size};
  }
  out.saved.took_us = (base::boot_ns() - began) / 1000;
  return out;
}

}  // namespace spell::worker
