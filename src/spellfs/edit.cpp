// Changing a saved tree. A folder's nodes are cut by content, so after a change the new cuts soon
// fall together with the old ones; from there on whole nodes of the old tree are taken over. The
// result is the very tree that saving everything anew would make.
#include <unordered_set>

#include "base/error.hpp"
#include "base/text.hpp"
#include "spellfs/tree.hpp"
#include "spellfs/walk.hpp"

namespace spell::spellfs {

namespace {

/// What happens to one name of a folder: what it becomes, then what changes below that.
struct Change {
  const std::optional<Entry>* becomes = nullptr;
  std::map<std::string, Change> below{};
};
using ChangesOfFolder = std::map<std::string, Change>;

Result<ChangesOfFolder> by_folder(const Changes& changes) {
  ChangesOfFolder root;
  for (auto& [path, becomes] : changes) {
    if (path.empty() || !base::safe_relative_path(path))
      return base::error("invalid_path", "'" + base::to_utf8(path) + "' is no path in a folder");
    auto parts = base::split(path, '/');
    if (parts.size() >= static_cast<std::size_t>(max_depth))
      return base::error("invalid_path", "a path has too many folders within each other");
    ChangesOfFolder* folder = &root;
    Change* change = nullptr;
    for (auto& part : parts) {
      change = &(*folder)[part];
      folder = &change->below;
    }
    change->becomes = &becomes;
  }
  return root;
}

class Editor {
 public:
  Editor(const ObjectSource& store, PackWriter& pack) : store_(store), pack_(pack) {
    emit_ = [this](Kind kind, const Name& name, const std::string& bytes) {
      // Parts of the old tree that came out the same.
      return seen_.contains(name) ? ok() : pack_.add(kind, name, bytes);
    };
  }

  Result<Child> folder(const std::optional<Name>& tree, const ChangesOfFolder& changes) {
    Merge merge{TreeBuilder(Kind::folder, emit_), changes.begin(), changes.end()};
    if (tree) {
      auto root = load(*tree);
      if (!root) return root.error();
      SPELL_TRY(copy(*root, false, true, merge));
    }
    while (merge.next != merge.end) SPELL_TRY(apply(merge, nullptr));
    return merge.out.finish();
  }

 private:
  struct Merge {
    TreeBuilder out;
    ChangesOfFolder::const_iterator next, end;
    bool due(const std::string& last) const { return next != end && next->first <= last; }
  };

  Result<FolderNode> load(const Name& name) {
    auto node = get_folder_node(store_, name);
    if (node) seen_.insert(name);
    return node;
  }

  /// Merges a node of the old tree with the changes that are due. `change_after`: the item behind
  /// this node may be another than before, so it is not sure that the node would end where it did.
  Result<> copy(const FolderNode& node, bool change_after, bool rightmost, Merge& merge) {
    for (auto& entry : node.entries) {
      while (merge.next != merge.end && merge.next->first < entry.name)
        SPELL_TRY(apply(merge, nullptr));
      if (merge.due(entry.name))
        SPELL_TRY(apply(merge, &entry));
      else
        SPELL_TRY(merge.out.add(entry));
    }
    for (std::size_t i = 0; i < node.children.size(); ++i) {
      auto& child = node.children[i];
      bool last = i + 1 == node.children.size();
      bool changed = merge.due(child.last), after = change_after;
      if (!changed && last && rightmost) after = merge.next != merge.end;
      if (!changed && !last) after = merge.due(node.children[i + 1].last);
      if (!changed && !after && merge.out.at_cut(node.level - 1)) {
        SPELL_TRY(merge.out.add_node(node.level - 1, child));
        continue;
      }
      auto below = load(child.node);
      if (!below) return below.error();
      if (below->level != node.level - 1 || below->totals != child.totals) return lies(child.node);
      // Of a node with changes in it those behind it are not known yet: taken for some.
      SPELL_TRY(copy(*below, changed || after, rightmost && last, merge));
    }
    return ok();
  }

  /// The next change, to what there was of that name.
  Result<> apply(Merge& merge, const Entry* old) {
    auto& [name, change] = *merge.next++;
    std::optional<Entry> entry;
    if (change.becomes)
      entry = *change.becomes;
    else if (old)
      entry = *old;
    bool file = entry && entry->type != EntryType::folder;
    // A file in the place of a folder, all of which is taken away.
    if (!change.below.empty() && !(file && removes_only(change.below))) {
      if (file) return base::error("invalid_path", base::to_utf8(name) + " is no folder");
      // Nothing to take away from: no folder comes of that.
      if (!entry && removes_only(change.below)) return ok();
      auto node = folder(entry ? std::optional<Name>(entry->node) : std::nullopt, change.below);
      if (!node) return node.error();
      // Nothing is left in it.
      if (node->totals.files == 0 && removes_only(change.below)) return ok();
      if (!entry) {
        entry.emplace();
        entry->type = EntryType::folder;
        entry->mode = 0755;
        entry->mtime_ns = newest(change.below);
      }
      entry->node = node->node;
      entry->size = node->totals.size;
      entry->files = node->totals.files;
      entry->depth = node->totals.depth;
    }
    if (!entry) return ok();
    entry->name = name;
    return merge.out.add(*entry);
  }

  static bool removes_only(const ChangesOfFolder& changes) {
    for (auto& [name, change] : changes)
      if ((change.becomes && *change.becomes) || !removes_only(change.below)) return false;
    return true;
  }
  /// The time of a folder that is made for what comes into it.
  static std::int64_t newest(const ChangesOfFolder& changes) {
    std::int64_t out = 0;
    for (auto& [name, change] : changes) {
      if (change.becomes && *change.becomes) out = std::max(out, (*change.becomes)->mtime_ns);
      out = std::max(out, newest(change.below));
    }
    return out;
  }

  const ObjectSource& store_;
  PackWriter& pack_;
  Emit emit_;
  std::unordered_set<Name, NameHash> seen_;
};

}  // namespace

Result<Entry> edit(const ObjectSource& store, const std::optional<Name>& tree,
                   const Changes& changes, PackWriter& pack) {
  auto all = by_folder(changes);
  if (!all) return all.error();
  auto root = Editor(store, pack).folder(tree, *all);
  if (!root) return root.error();
  Entry entry;
  entry.type = EntryType::folder;
  entry.mode = 0755;
  entry.node = root->node;
  entry.size = root->totals.size;
  entry.files = root->totals.files;
  entry.depth = root->totals.depth;
  return entry;
}

}  // namespace spell::spellfs
