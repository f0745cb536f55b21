#include "git/libgit2.hpp"

#include <algorithm>
#include <cstdlib>

#include "base/text.hpp"

namespace spell::git {

void start_library() {
  // Never shut down: the count belongs to the process, and handles may live in its other static
  // objects.
  static const bool started = [] {
    git_libgit2_init();
    // As curl, Python and OpenSSL understand it: instead of the system's authorities.
    if (const char* file = std::getenv("SSL_CERT_FILE"); file && *file)
      git_libgit2_opts(GIT_OPT_SET_SSL_CERT_LOCATIONS, file, nullptr);
    return true;
  }();
  (void)started;
}

Error library_error(std::string_view code, std::string_view what) {
  const git_error* last = git_error_last();
  std::string detail = last && last->message ? last->message : "unknown error";
  std::replace_if(
      detail.begin(), detail.end(), [](unsigned char c) { return c < 0x20; }, ' ');
  return base::error(code, std::string(what) + ": " + base::to_utf8(detail));
}

std::optional<Oid> parse_oid(std::string_view text) {
  Oid id;
  if (!base::unhex(text, id.data(), id.size())) return std::nullopt;
  return id;
}

Result<Object> read_object(git_odb* odb, const Oid& id, git_object_t type, std::size_t limit) {
  git_oid name = to_git(id);
  std::size_t size = 0;
  git_object_t found = GIT_OBJECT_INVALID;
  std::string shown = "object " + base::hex(id);
  int rc = git_odb_read_header(&size, &found, odb, &name);
  if (rc == GIT_ENOTFOUND) return base::error("missing_object", shown + " is missing");
  if (rc != 0) return library_error("bad_object", "cannot read " + shown);
  if (found != type)
    return base::error("bad_object", shown + " is a " + git_object_type2string(found) + ", not a " +
                                         git_object_type2string(type));
  if (size > limit)
    return base::error("bad_object", shown + " is too large (" + std::to_string(size) + " bytes)");
  Object object;
  rc = make(object.owner, git_odb_read, odb, &name);
  if (rc == GIT_ENOTFOUND) return base::error("missing_object", shown + " is missing");
  if (rc != 0) return library_error("bad_object", "cannot read " + shown);
  object.bytes = {static_cast<const char*>(git_odb_object_data(object.owner.get())),
                  git_odb_object_size(object.owner.get())};
  return object;
}

namespace {

/// Takes "KEY value\n" from the front of a commit's header.
std::optional<std::string_view> take_line(std::string_view& text, std::string_view key) {
  if (!text.starts_with(key)) return std::nullopt;
  auto end = text.find('\n');
  if (end == std::string_view::npos) return std::nullopt;
  auto value = text.substr(key.size(), end - key.size());
  text.remove_prefix(end + 1);
  return value;
}

std::optional<CommitData> parse_commit(std::string_view text) {
  CommitData commit;
  auto take_id = [&](std::string_view key) -> std::optional<Oid> {
    auto line = take_line(text, key);
    return line ? parse_oid(*line) : std::nullopt;
  };
  auto tree = take_id("tree ");
  if (!tree) return std::nullopt;
  commit.tree = *tree;
  while (text.starts_with("parent ")) {
    auto parent = take_id("parent ");
    if (!parent) return std::nullopt;
    commit.parents.push_back(*parent);
  }
  if (!take_line(text, "author ")) return std::nullopt;
  auto committer = take_line(text, "committer ");
  if (!committer) return std::nullopt;
  auto mail_end = committer->rfind("> ");
  commit.when =
      mail_end == std::string_view::npos ? "" : std::string(committer->substr(mail_end + 2));
  if (commit.when.find_first_not_of("0123456789+- ") != std::string::npos || commit.when.size() < 7)
    commit.when = "0 +0000";
  std::string_view message = text.starts_with("\n") ? text.substr(1) : std::string_view{};
  if (auto body = text.find("\n\n"); message.empty() && body != std::string_view::npos)
    message = text.substr(body + 2);
  message = base::trim(message);
  commit.subject = base::to_utf8(base::trim(message.substr(0, message.find('\n'))));
  return commit;
}

/// The canonical mode; 0 for one that Git does not know.
std::uint32_t canonical_mode(std::uint32_t mode) {
  switch (mode & 0170000) {
    case 0040000:
      return mode_tree;
    case 0100000:
      return mode & 0100 ? mode_program : mode_file;
    case 0120000:
      return mode_link;
    case 0160000:
      return mode_module;
  }
  return 0;
}

std::optional<std::vector<TreeEntry>> parse_tree(std::string_view text) {
  std::vector<TreeEntry> entries;
  while (!text.empty()) {
    TreeEntry entry;
    std::size_t at = 0;
    std::uint32_t mode = 0;
    for (; at < text.size() && text[at] >= '0' && text[at] <= '7' && at < 7; ++at)
      mode = mode * 8 + static_cast<std::uint32_t>(text[at] - '0');
    entry.mode = canonical_mode(mode);
    if (at == 0 || at >= text.size() || text[at] != ' ' || entry.mode == 0) return std::nullopt;
    text.remove_prefix(at + 1);
    auto end = text.find('\0');
    if (end == std::string_view::npos || text.size() - end - 1 < entry.id.size())
      return std::nullopt;
    entry.name = text.substr(0, end);
    std::memcpy(entry.id.data(), text.data() + end + 1, entry.id.size());
    text.remove_prefix(end + 1 + entry.id.size());
    entries.push_back(entry);
  }
  return entries;
}

}  // namespace

Result<CommitData> read_commit(git_odb* odb, const Oid& id) {
  auto object = read_object(odb, id, GIT_OBJECT_COMMIT, commit_limit);
  if (!object) return object.error();
  auto commit = parse_commit(object->bytes);
  if (!commit) return base::error("bad_object", "commit " + base::hex(id) + " is damaged");
  return std::move(*commit);
}

Result<std::vector<TreeEntry>> read_tree(git_odb* odb, const Oid& id, Object& object) {
  auto read = read_object(odb, id, GIT_OBJECT_TREE, tree_limit);
  if (!read) return read.error();
  object = std::move(*read);
  auto entries = parse_tree(object.bytes);
  if (!entries) return base::error("bad_object", "tree " + base::hex(id) + " is damaged");
  return std::move(*entries);
}

bool safe_name(std::string_view name) {
  if (name.empty() || name == "." || name == ".." || name.find('/') != std::string_view::npos)
    return false;
  if (name.size() != 4) return true;
  std::string lower(name);
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : static_cast<char>(c);
  });
  return lower != ".git";
}

Result<OdbPtr> open_objects(const std::string& objects_folder) {
  start_library();
  OdbPtr odb;
  if (make(odb, git_odb_open, objects_folder.c_str()) != 0)
    return library_error("io_error", "cannot open the objects in " + objects_folder);
  return odb;
}

}  // namespace spell::git
