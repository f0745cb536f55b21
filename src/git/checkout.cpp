#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "base/fd.hpp"
#include "base/text.hpp"
#include "git/libgit2.hpp"
#include "git/objects.hpp"
#include "git/stat_cache.hpp"
#include "git/store.hpp"

namespace spell::git {

namespace {

// More than any honest tree; a hostile one can name itself ten times per level.
constexpr std::size_t most_files = 5'000'000;

class Writer {
 public:
  Writer(git_odb* odb, std::vector<std::string>& notices) : odb_(odb), notices_(notices) {}
  CheckoutManifest manifest;

  Result<> write_tree(const Oid& id, int folder, const std::string& prefix) {
    if (prefix.size() > 4096)
      return base::error("bad_tree",
                         "the path " + base::to_utf8(prefix.substr(0, 80)) + "… is too long");
    Object object;
    auto entries = read_tree(odb_, id, object);
    if (!entries) return entries.error();
    for (auto& entry : *entries) {
      std::string name(entry.name), path = prefix + name;
      if (!safe_name(entry.name))
        return base::error("bad_tree", "the commit names '" + base::to_utf8(path) + "'");
      if (++files_ > most_files)
        return base::error("bad_tree",
                           "the commit has more than " + std::to_string(most_files) + " files");
      switch (entry.mode) {
        case mode_tree: {
          auto below = make_folder(folder, name, path);
          if (!below) return below.error();
          SPELL_TRY(write_tree(entry.id, below->get(), path + '/'));
          break;
        }
        case mode_module: {
          auto below = make_folder(folder, name, path);
          if (!below) return below.error();
          manifest[path + '/'];
          notices_.push_back("submodule " + base::to_utf8(path) +
                             " is an empty folder: its files were not sent");
          break;
        }
        case mode_link:
          SPELL_TRY(write_link(entry, folder, name, path));
          break;
        default:
          SPELL_TRY(write_file(entry, folder, name, path));
      }
    }
    return ok();
  }

 private:
  static Result<base::Fd> make_folder(int parent, const std::string& name,
                                      const std::string& path) {
    if (::mkdirat(parent, name.c_str(), 0755) != 0)
      return base::errno_error("make the folder " + path);
    int fd = ::openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return base::errno_error("open the folder " + path);
    base::Fd folder(fd);
    if (::fchmod(fd, 0755) != 0) return base::errno_error("make the folder " + path);
    return folder;
  }

  Result<> write_file(const TreeEntry& entry, int folder, const std::string& name,
                      const std::string& path) {
    auto blob = read_object(odb_, entry.id, GIT_OBJECT_BLOB);
    if (!blob) return blob.error();
    mode_t mode = entry.mode == mode_program ? 0755 : 0644;
    int fd =
        ::openat(folder, name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
    if (fd < 0) return base::errno_error("write " + path);
    base::Fd file(fd);
    struct stat st;
    if (auto written = base::write_all(fd, blob->bytes); !written)
      return base::error(written.error().code(), path + ": " + written.error().message());
    // The umask must not take a bit that the commit has.
    if (::fchmod(fd, mode) != 0 || ::fstat(fd, &st) != 0) return base::errno_error("write " + path);
    record(path, st, entry.id);
    return ok();
  }

  Result<> write_link(const TreeEntry& entry, int folder, const std::string& name,
                      const std::string& path) {
    auto blob = read_object(odb_, entry.id, GIT_OBJECT_BLOB, 1 << 20);
    if (!blob) return blob.error();
    std::string target(blob->bytes);
    if (target.find('\0') != std::string::npos)
      return base::error("bad_tree",
                         "the link " + base::to_utf8(path) + " has a NUL in its target");
    struct stat st;
    if (::symlinkat(target.c_str(), folder, name.c_str()) != 0 ||
        ::fstatat(folder, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0)
      return base::errno_error("make the link " + path);
    record(path, st, entry.id);
    return ok();
  }

  void record(const std::string& path, const struct stat& st, const Oid& blob) {
    FileState state = file_state(st);
    manifest[path] = {state.size, state.mtime_ns, state.ctime_ns, state.inode, state.mode, blob};
  }

  git_odb* odb_;
  std::vector<std::string>& notices_;
  std::size_t files_ = 0;
};

struct OpenCommit {
  OdbPtr objects;
  Oid tree{};
};

Result<OpenCommit> open_commit(const std::string& repository, const std::string& commit) {
  auto id = parse_oid(commit);
  if (!id)
    return base::error("commit_not_found", "'" + base::to_utf8(commit) + "' is no commit id");
  auto odb = open_objects(repository + "/objects");
  if (!odb) return odb.error();
  auto data = read_commit(odb->get(), *id);
  if (!data && data.error().code() == "missing_object")
    return base::error("commit_not_found", "commit " + commit + " is not in " + repository);
  if (!data) return data.error();
  return OpenCommit{std::move(*odb), data->tree};
}

}  // namespace

Result<CheckoutManifest> checkout(const std::string& repository, const std::string& commit,
                                  const std::string& folder, std::vector<std::string>& notices) {
  auto opened = open_commit(repository, commit);
  if (!opened) return opened.error();
  git_odb* odb = opened->objects.get();
  auto top = base::open(folder, O_RDONLY | O_DIRECTORY);
  if (!top) return top.error();
  Writer writer(odb, notices);
  SPELL_TRY(writer.write_tree(opened->tree, top->get(), ""));
  return std::move(writer.manifest);
}

Result<std::string> read_committed(const std::string& repository, const std::string& commit,
                                   const std::string& path, std::size_t limit) {
  auto opened = open_commit(repository, commit);
  if (!opened) return opened.error();
  git_odb* odb = opened->objects.get();
  Error none = base::error("not_found", "there is no file " + base::to_utf8(path));
  Oid at = opened->tree;
  auto parts = base::split(path, '/');
  for (std::size_t i = 0; i < parts.size(); ++i) {
    Object object;
    auto entries = read_tree(odb, at, object);
    if (!entries) return entries.error();
    auto found = std::find_if(entries->begin(), entries->end(),
                              [&](auto& entry) { return entry.name == parts[i]; });
    bool last = i + 1 == parts.size();
    if (found == entries->end()) return none;
    bool plain = found->mode == mode_file || found->mode == mode_program;
    if (last ? !plain : found->mode != mode_tree) return none;
    at = found->id;
  }
  std::size_t size = 0;
  git_object_t type = GIT_OBJECT_INVALID;
  git_oid name = to_git(at);
  bool known = git_odb_read_header(&size, &type, odb, &name) == 0;
  if (known && size > limit)
    return base::error("too_large", base::to_utf8(path) + " is longer than " +
                                        base::format_size(static_cast<std::int64_t>(limit)));
  auto blob = read_object(odb, at, GIT_OBJECT_BLOB, limit);
  if (!blob) return blob.error();
  return std::string(blob->bytes);
}

bool has_content(const CheckedOutFile& written, int folder, const std::string& name) {
  if (written.blob == Oid{}) return false;
  if (S_ISLNK(written.mode)) {
    std::string target(static_cast<std::size_t>(written.size) + 1, '\0');
    ssize_t size = ::readlinkat(folder, name.c_str(), target.data(), target.size());
    if (size != written.size) return false;
    target.resize(static_cast<std::size_t>(size));
    return hash_object(target, GIT_OBJECT_BLOB) == written.blob;
  }
  base::Fd file(::openat(folder, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  struct stat st;
  if (!file || ::fstat(file.get(), &st) != 0 || st.st_size != written.size) return false;
  auto id = hash_file(file.get(), st.st_size, name);
  return id && *id == written.blob;
}

}  // namespace spell::git
