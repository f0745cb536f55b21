#include "git/tree.hpp"

#include <algorithm>
#include <charconv>
#include <map>

#include "base/text.hpp"

namespace spell::git {

namespace {

std::string octal(std::uint32_t value) {
  char text[12];
  auto end = std::to_chars(text, text + sizeof text, value, 8).ptr;
  return {text, end};
}

/// Builds the tree of leaves [from, to), which all begin with the same `prefix` characters. Paths
/// sorted as bytes are in Git's own order, because a folder sorts as its name with '/'.
Oid build_range(const std::vector<Leaf>& leaves, std::size_t from, std::size_t to,
                std::size_t prefix, NewObjects& objects) {
  std::string bytes;
  auto append = [&](std::uint32_t mode, std::string_view name, const Oid& id) {
    bytes += octal(mode);
    bytes += ' ';
    bytes += name;
    bytes += '\0';
    bytes.append(reinterpret_cast<const char*>(id.data()), id.size());
  };
  while (from < to) {
    std::string_view rest = std::string_view(leaves[from].path).substr(prefix);
    auto slash = rest.find('/');
    if (slash == std::string_view::npos) {
      append(leaves[from].mode, rest, leaves[from].id);
      ++from;
      continue;
    }
    std::string_view folder = rest.substr(0, slash + 1);
    std::size_t end = from;
    while (end < to && std::string_view(leaves[end].path).substr(prefix).starts_with(folder)) ++end;
    append(mode_tree, folder.substr(0, slash),
           build_range(leaves, from, end, prefix + slash + 1, objects));
    from = end;
  }
  return objects.add(std::move(bytes), GIT_OBJECT_TREE);
}

class Comparison {
 public:
  explicit Comparison(git_odb* odb) : odb_(odb) {}
  std::vector<std::string> paths;

  Result<> compare(const Oid* before, const Oid* after, const std::string& prefix) {
    Object before_object, after_object;
    std::map<std::string_view, std::pair<const TreeEntry*, const TreeEntry*>> both;
    std::vector<TreeEntry> old_entries, new_entries;
    if (before) {
      auto read = read_tree(odb_, *before, before_object);
      if (!read) return read.error();
      old_entries = std::move(*read);
    }
    if (after) {
      auto read = read_tree(odb_, *after, after_object);
      if (!read) return read.error();
      new_entries = std::move(*read);
    }
    for (auto& entry : old_entries) both[entry.name].first = &entry;
    for (auto& entry : new_entries) both[entry.name].second = &entry;
    for (auto& [name, pair] : both) {
      auto [was, is] = pair;
      if (was && is && was->id == is->id && was->mode == is->mode) continue;
      std::string path = prefix + std::string(name);
      const Oid* old_tree = was && was->mode == mode_tree ? &was->id : nullptr;
      const Oid* new_tree = is && is->mode == mode_tree ? &is->id : nullptr;
      if ((was && !old_tree) || (is && !new_tree)) paths.push_back(path);
      if (old_tree || new_tree) SPELL_TRY(compare(old_tree, new_tree, path + '/'));
    }
    return ok();
  }

 private:
  git_odb* odb_;
};

class Difference {
 public:
  explicit Difference(git_odb* odb) : odb_(odb) {}
  std::vector<Oid> missing;

  Result<> walk(const Oid& tree, const std::vector<Oid>& known) {
    if (std::find(known.begin(), known.end(), tree) != known.end() || !seen_.insert(tree).second)
      return ok();
    missing.push_back(tree);
    OidSet there;
    std::map<std::string, std::vector<Oid>, std::less<>> known_folders;
    for (auto& other : known) {
      Object object;
      auto entries = read_tree(odb_, other, object);
      if (!entries) return entries.error();
      for (auto& entry : *entries) {
        there.insert(entry.id);
        if (entry.mode != mode_tree) continue;
        auto& folders = known_folders[std::string(entry.name)];
        if (std::find(folders.begin(), folders.end(), entry.id) == folders.end())
          folders.push_back(entry.id);
      }
    }
    Object object;
    auto entries = read_tree(odb_, tree, object);
    if (!entries) return entries.error();
    static const std::vector<Oid> none;
    for (auto& entry : *entries) {
      if (entry.mode == mode_module || there.contains(entry.id)) continue;
      if (entry.mode != mode_tree) {
        if (seen_.insert(entry.id).second) missing.push_back(entry.id);
        continue;
      }
      auto folders = known_folders.find(entry.name);
      SPELL_TRY(walk(entry.id, folders == known_folders.end() ? none : folders->second));
    }
    return ok();
  }

 private:
  git_odb* odb_;
  OidSet seen_;
};

class Surveyor {
 public:
  explicit Surveyor(git_odb* odb) : odb_(odb) {}
  TreeSurvey result;
  bool uses_lfs = false;

  Result<> walk(const Oid& tree, const std::string& prefix) {
    Object object;
    auto entries = read_tree(odb_, tree, object);
    if (!entries) return entries.error();
    for (auto& entry : *entries) {
      std::string path = prefix + std::string(entry.name);
      if (entry.mode == mode_module) result.modules.push_back(path);
      if (entry.mode == mode_tree) SPELL_TRY(walk(entry.id, path + '/'));
      if (entry.mode == mode_file || entry.mode == mode_program)
        files_.emplace_back(path, entry.id);
      if (entry.name == ".gitattributes" && entry.mode == mode_file) {
        auto attributes = read_object(odb_, entry.id, GIT_OBJECT_BLOB);
        if (!attributes) return attributes.error();
        uses_lfs = uses_lfs || attributes->bytes.find("filter=lfs") != std::string_view::npos;
      }
    }
    return ok();
  }

  Result<> find_pointers() {
    for (auto& [path, id] : files_) {
      git_oid name = to_git(id);
      std::size_t size = 0;
      git_object_t type;
      if (git_odb_read_header(&size, &type, odb_, &name) != 0 || size > lfs_pointer_limit) continue;
      auto blob = read_object(odb_, id, GIT_OBJECT_BLOB);
      if (!blob) return blob.error();
      if (parse_lfs_pointer(blob->bytes)) result.lfs_pointers.push_back(path);
    }
    return ok();
  }

 private:
  git_odb* odb_;
  std::vector<std::pair<std::string, Oid>> files_;
};

}  // namespace

Oid build_tree(const std::vector<Leaf>& leaves, NewObjects& objects) {
  return build_range(leaves, 0, leaves.size(), 0, objects);
}

Result<std::vector<std::string>> changed_paths(git_odb* odb, const Oid& before, const Oid& after) {
  Comparison comparison(odb);
  if (before != after) SPELL_TRY(comparison.compare(&before, &after, ""));
  std::sort(comparison.paths.begin(), comparison.paths.end());
  return std::move(comparison.paths);
}

Result<std::vector<Oid>> missing_objects(git_odb* odb, const Oid& tree,
                                         const std::vector<Oid>& known) {
  Difference difference(odb);
  SPELL_TRY(difference.walk(tree, known));
  return std::move(difference.missing);
}

Result<TreeSurvey> survey(git_odb* odb, const Oid& tree) {
  Surveyor surveyor(odb);
  SPELL_TRY(surveyor.walk(tree, ""));
  if (surveyor.uses_lfs) SPELL_TRY(surveyor.find_pointers());
  return std::move(surveyor.result);
}

std::optional<LfsPointer> parse_lfs_pointer(std::string_view bytes) {
  if (bytes.size() > lfs_pointer_limit ||
      !bytes.starts_with("version https://git-lfs.github.com/spec/"))
    return std::nullopt;
  LfsPointer pointer;
  for (auto& line : base::split(bytes, '\n')) {
    if (line.starts_with("oid sha256:")) pointer.sha256 = base::trim(line.substr(11));
    if (line.starts_with("size "))
      pointer.size = base::parse_int(base::trim(line.substr(5))).value_or(-1);
  }
  if (pointer.sha256.size() != 64 || pointer.size < 0) return std::nullopt;
  return pointer;
}

}  // namespace spell::git
