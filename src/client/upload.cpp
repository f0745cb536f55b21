// Uploading: a file or folder is cut into objects, those that the service lacks go to it in packs,
// then one request gives the tree its name. Whatever ends it before that, what has arrived stays.
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <ctime>
#include <memory>
#include <mutex>
#include <thread>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/file.hpp"
#include "base/hash.hpp"
#include "base/text.hpp"
#include "client/code_cache.hpp"
#include "client/pack_sender.hpp"
#include "client/resource_path.hpp"
#include "client/submission.hpp"
#include "spell/json.hpp"
#include "spellfs/ignore.hpp"
#include "spellfs/node.hpp"
#include "spellfs/tree.hpp"

namespace spell {

namespace {

using namespace detail;
using model::Route;

/// Of a path that a user wrote: "data/" is data, "." the folder's own name.
std::string base_name_of(const std::string& path, const std::string& real) {
  std::string_view plain = path;
  while (plain.size() > 1 && plain.back() == '/') plain.remove_suffix(1);
  auto name = plain.substr(plain.rfind('/') + 1);
  if (name.empty() || name == "." || name == "..") name = std::string_view(real);
  return std::string(name.substr(name.rfind('/') + 1));
}

/// Counts what there is to read, beside the reading itself, for those who want to see how much is
/// left.
class Counter {
 public:
  using Ignore = std::function<bool(const std::string& path, bool is_folder)>;
  Counter(std::string folder, Ignore ignore) : ignore_(std::move(ignore)) {
    try {
      thread_ = std::jthread([this, folder = std::move(folder)](std::stop_token stop) {
        count(AT_FDCWD, folder, "", 0, stop);
      });
    } catch (const std::system_error&) {  // no thread to be had: no total
    }
  }
  std::int64_t files() const { return files_; }
  std::int64_t bytes() const { return bytes_; }

 private:
  void count(int parent, const std::string& name, const std::string& path, int depth,
             const std::stop_token& stop) {
    int fd = ::openat(parent, name.c_str(),
                      O_RDONLY | O_DIRECTORY | O_CLOEXEC | (depth > 0 ? O_NOFOLLOW : 0));
    std::unique_ptr<DIR, int (*)(DIR*)> folder(fd < 0 ? nullptr : ::fdopendir(fd), ::closedir);
    if (!folder && fd >= 0) ::close(fd);
    while (folder && !stop.stop_requested()) {
      dirent* entry = ::readdir(folder.get());
      if (!entry) return;
      std::string found = entry->d_name;
      struct stat st;
      if (found == "." || found == ".." ||
          ::fstatat(fd, found.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0)
        continue;
      std::string below = path.empty() ? found : path + "/" + found;
      if (ignore_(below, S_ISDIR(st.st_mode))) continue;
      if (S_ISDIR(st.st_mode) && depth < spellfs::max_depth)
        count(fd, found, below, depth + 1, stop);
      if (!S_ISREG(st.st_mode)) continue;
      ++files_;
      bytes_ += st.st_size;
    }
  }

  Ignore ignore_;
  std::atomic<std::int64_t> files_ = 0, bytes_ = 0;
  std::jthread thread_;
};

/// Where this user's uploads of that path are remembered; "": nowhere.
std::string stat_cache(Connection& connection, const std::string& owner, const std::string& real) {
  constexpr std::time_t longest = 30 * 24 * 3600;
  auto folder = make_cache(connection, "upload");
  if (!folder) return {};
  std::string file = base::hex(base::sha256(owner + '\0' + connection.endpoint() + '\0' + real));
  // Of folders that are uploaded no more.
  std::unique_ptr<DIR, int (*)(DIR*)> all(::opendir(folder->c_str()), ::closedir);
  while (dirent* entry = all ? ::readdir(all.get()) : nullptr) {
    struct stat st;
    std::string path = *folder + "/" + entry->d_name;
    if (entry->d_name[0] != '.' && ::lstat(path.c_str(), &st) == 0 && S_ISREG(st.st_mode) &&
        st.st_mtime < ::time(nullptr) - longest)
      ::unlink(path.c_str());
  }
  return *folder + "/" + file.substr(0, 32);
}

class Upload {
 public:
  Upload(Connection& connection, const UploadOptions& options, const Limit& limit)
      : connection_(connection), options_(options), limit_(limit) {}

  Result<UploadInfo> run(const std::string& path) {
    SPELL_TRY(look(path));
    auto target = named(path);
    if (!target) return target.error();
    target_ = std::move(*target);
    cache_ = stat_cache(connection_, target_.owner, real_);
    auto info = once();
    if (info || info.error().code() != "incomplete_pack") return info;
    // What the service had when it was asked may have gone since, with an upload that was deleted.
    ::unlink(cache_.c_str());
    return once();
  }

  /// Sends without giving a name; all of it is looked at.
  Result<json> send_only(const std::string& path, bool is_project = false) {
    is_project_ = is_project;
    SPELL_TRY(look(path));
    UploadInfo sent;
    auto root = send(sent);
    if (!root) return root.error();
    return body_of(*root);
  }

 private:
  Result<> look(const std::string& path) {
    std::unique_ptr<char, void (*)(void*)> real(::realpath(path.c_str(), nullptr), ::free);
    if (!real) return base::errno_error("upload " + base::to_utf8(path));
    real_ = real.get();
    struct stat st;
    if (::stat(real_.c_str(), &st) != 0) return base::errno_error("upload " + base::to_utf8(path));
    if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode))
      return base::error("not_a_file", base::to_utf8(path) + " is neither a file nor a folder");
    is_folder_ = S_ISDIR(st.st_mode);
    if (is_folder_ && !options_.all) {
      auto rules = spellfs::IgnoreRules::read(real_);
      if (!rules) return rules.error();
      rules_ = std::move(*rules);
    }
    return ok();
  }

  Result<UploadPath> named(const std::string& path) const {
    auto name = options_.name;
    if (name.empty()) name = base_name_of(path, real_);
    if (name.find('/') == std::string::npos) name = "uploads/" + name;
    if (!base::valid_text(name) || !base::safe_relative_path(name) ||
        name.find_first_of("\n\r\t:") != std::string::npos)
      return base::error("invalid_request",
                         "'" + base::to_utf8(name) + "' can be no upload's name; give one with -n");
    return upload_path(connection_, name);
  }

  bool ignores(const std::string& path, bool is_folder) const {
    if (options_.all) return false;
    if (is_folder)
      for (std::string_view name : spellfs::usually_left_out)
        if (name == std::string_view(path).substr(path.rfind('/') + 1)) return true;
    if (is_folder && is_project_ && base::exists(real_ + "/" + path + "/CMakeCache.txt"))
      return true;
    return rules_.ignores(path, is_folder);
  }

  Result<std::vector<spellfs::Name>> missing(std::span<const spellfs::Name> names) {
    json list = json::array();
    for (auto& name : names) list.push_back(name.text());
    auto answer = connection_.call({.route = Route::objects_missing,
                                    .body = {{"names", std::move(list)}},
                                    .owner = target_.owner},
                                   limit_);
    if (!answer) return answer.error();
    auto texts = member<std::vector<std::string>>(*answer, "names");
    if (!texts) return texts.error();
    std::vector<spellfs::Name> out;
    for (auto& text : *texts) {
      auto name = spellfs::Name::parse(text);
      if (!name)
        return base::error("invalid_answer", "the service's answer names what is no object");
      out.push_back(*name);
    }
    return out;
  }

  Result<UploadInfo> once() {
    UploadInfo sent;
    auto root = send(sent);
    if (!root) return root.error();
    auto info = give_name(*root);
    if (!info) return info;
    info->sent = sent.sent;
    info->deduplicated = sent.deduplicated;
    info->left_out = sent.left_out;
    info->skipped = std::move(sent.skipped);
    return info;
  }

  Result<spellfs::Entry> send(UploadInfo& sent) {
    PackSender sender(connection_, target_.owner, limit_);
    SPELL_TRY(sender.open());
    spellfs::PackWriter writer(sender.place(),
                               [&](std::int64_t size) { return sender.next(size); });
    spellfs::SaveOptions save;
    save.cache = cache_;
    save.stop = limit_.stop();
    save.ignore = [this](const std::string& path, bool folder) { return ignores(path, folder); };
    save.missing = [this](std::span<const spellfs::Name> names) { return missing(names); };
    std::unique_ptr<Counter> counter;
    if (options_.progress) {
      if (is_folder_) counter = std::make_unique<Counter>(real_, save.ignore);
      save.progress = [&](std::int64_t files, std::int64_t bytes) {
        std::lock_guard lock(telling_);
        tell(counter.get(), files, bytes);
      };
    }
    auto saved = spellfs::save(real_, save, writer);
    if (!saved) return saved.error();
    if (is_folder_ && !saved->tree) SPELL_TRY(add_empty_folder(writer, saved->root));
    SPELL_TRY(sender.finish(writer));
    sent.sent = sender.sent();
    sent.deduplicated = std::max<std::int64_t>(0, saved->root.size - writer.content());
    sent.left_out = saved->left_out;
    sent.skipped = std::move(saved->skipped);
    return std::move(saved->root);
  }

  void tell(const Counter* counter, std::int64_t files, std::int64_t bytes) const {
    CopyProgress progress{bytes, bytes, files, files};
    struct stat st;
    if (counter) {
      progress.total_bytes = std::max(bytes, counter->bytes());
      progress.total_files = std::max(files, counter->files());
    } else if (::stat(real_.c_str(), &st) == 0) {
      progress.total_bytes = std::max<std::int64_t>(bytes, st.st_size);
      progress.total_files = 1;
    }
    options_.progress(progress);
  }

  /// A folder without anything in it has a tree, too.
  static Result<> add_empty_folder(spellfs::PackWriter& writer, spellfs::Entry& root) {
    spellfs::Emit emit = [&](spellfs::Kind kind, const spellfs::Name& name, std::string bytes) {
      return writer.add(kind, name, bytes);
    };
    auto node = spellfs::TreeBuilder(spellfs::Kind::folder, emit).finish();
    if (!node) return node.error();
    root.node = node->node;
    return ok();
  }

  json body_of(const spellfs::Entry& root) const {
    bool has_node = root.node != spellfs::Name{};
    std::int64_t beyond_us = (root.mtime_ns % 1000 + 1000) % 1000;
    return {{"type", is_folder_ ? "folder" : "file"},
            {"node", has_node ? root.node.text() : ""},
            {"size", root.size},
            {"files", is_folder_ ? root.files : 1},
            {"mode", root.mode},
            {"modified_at", base::rfc3339((root.mtime_ns - beyond_us) / 1000)},
            {"modified_ns", beyond_us}};
  }

  Result<UploadInfo> give_name(const spellfs::Entry& root) {
    auto answer = connection_.call({.route = Route::put_upload,
                                    .names = {target_.name},
                                    .body = body_of(root),
                                    .owner = target_.owner},
                                   limit_);
    if (!answer) return answer.error();
    return member<UploadInfo>(*answer, "upload");
  }

  Connection& connection_;
  const UploadOptions& options_;
  const Limit& limit_;
  std::string real_, cache_;
  bool is_folder_ = false, is_project_ = false;
  UploadPath target_;
  spellfs::IgnoreRules rules_;
  std::mutex telling_;
};

}  // namespace

Result<json> detail::send_file(Connection& connection, const std::string& path,
                               const Limit& limit) {
  UploadOptions options;
  return Upload(connection, options, limit).send_only(path);
}

Result<json> detail::send_project(Connection& connection, const std::string& folder,
                                  const Limit& limit) {
  UploadOptions options;
  return Upload(connection, options, limit).send_only(folder, true);
}

Result<UploadInfo> Resources::upload(const std::string& path, const UploadOptions& options,
                                     CallOptions call) const {
  Limit limit(call, connection_->waiter());
  return Upload(*connection_, options, limit).run(path);
}

}  // namespace spell
