#include <algorithm>

#include "base/error.hpp"
#include "base/text.hpp"
#include "spellfs/node.hpp"
#include "spellfs/tree.hpp"
#include "spellfs/walk.hpp"

namespace spell::spellfs {

namespace {

Result<> list_below(const ObjectSource& store, const Name& name, int level,
                    const std::string& after, std::size_t limit, std::vector<Entry>& out) {
  auto node = get_folder_node(store, name);
  if (!node) return node.error();
  if (level >= 0 && node->level != level) return lies(name);
  for (auto& entry : node->entries) {
    if (out.size() >= limit) return ok();
    if (entry.name > after) out.push_back(std::move(entry));
  }
  for (auto& child : node->children) {
    if (out.size() >= limit) return ok();
    if (child.last > after)
      SPELL_TRY(list_below(store, child.node, node->level - 1, after, limit, out));
  }
  return ok();
}

Result<std::optional<Entry>> find_entry(const ObjectSource& store, Name name,
                                        const std::string& wanted) {
  for (int level = -1;;) {
    auto node = get_folder_node(store, name);
    if (!node) return node.error();
    if (level >= 0 && node->level != level) return lies(name);
    if (node->level == 0) {
      auto it = std::lower_bound(
          node->entries.begin(), node->entries.end(), wanted,
          [](const Entry& entry, const std::string& key) { return entry.name < key; });
      if (it == node->entries.end() || it->name != wanted) return std::optional<Entry>();
      return std::optional<Entry>(std::move(*it));
    }
    auto it = std::lower_bound(
        node->children.begin(), node->children.end(), wanted,
        [](const Child& child, const std::string& key) { return child.last < key; });
    if (it == node->children.end()) return std::optional<Entry>();
    name = it->node;
    level = node->level - 1;
  }
}

/// Appends the part of the node's bytes that lies in [from, to), both counted from the node's
/// start.
Result<> read_below(const ObjectSource& store, const Name& name, int level, std::int64_t size,
                    std::int64_t from, std::int64_t to, std::string& out) {
  auto node = get_file_node(store, name);
  if (!node) return node.error();
  if ((level >= 0 && node->level != level) || node->totals.size != size) return lies(name);
  std::int64_t at = 0;
  for (auto& child : node->children) {
    std::int64_t end = at + child.totals.size;
    if (at < to && from < end)
      SPELL_TRY(read_below(store, child.node, node->level - 1, child.totals.size,
                           std::max(from, at) - at, std::min(to, end) - at, out));
    at = end;
  }
  for (auto& piece : node->pieces) {
    std::int64_t end = at + piece.size;
    if (at < to && from < end) {
      auto skip = static_cast<std::size_t>(std::max(from, at) - at);
      auto length = static_cast<std::size_t>(std::min(to, end) - at) - skip;
      if (!piece.chunk) {
        out.append(length, '\0');
      } else {
        auto bytes = store.get(Kind::chunk, *piece.chunk);
        if (!bytes) return bytes.error();
        if (static_cast<std::int64_t>(bytes->size()) != piece.size) return lies(*piece.chunk);
        out.append(*bytes, skip, length);
      }
    }
    at = end;
  }
  return ok();
}

}  // namespace

Result<> ObjectSource::read_chunks(std::span<const ChunkRead> chunks) const {
  for (auto& chunk : chunks) {
    auto bytes = get(Kind::chunk, chunk.name);
    if (!bytes) return bytes.error();
    if (bytes->size() != chunk.size) return lies(chunk.name);
    std::copy(bytes->begin(), bytes->end(), chunk.to);
  }
  return ok();
}

Kind kind_of(const Entry& entry) {
  if (entry.type == EntryType::folder) return Kind::folder;
  return entry.size <= small_file ? Kind::chunk : Kind::file;
}

Result<Entry> find(const ObjectSource& store, const Name& tree, const std::string& path) {
  auto none = [&] {
    return base::error("resource_not_found", "there is no " + base::to_utf8(path));
  };
  if (!base::safe_relative_path(path)) return none();
  auto root = get_folder_node(store, tree);
  if (!root) return root.error();
  Entry entry;
  entry.type = EntryType::folder;
  entry.mode = 0755;
  entry.size = root->totals.size;
  entry.files = root->totals.files;
  entry.depth = root->totals.depth;
  entry.node = tree;
  if (path.empty()) return entry;
  for (auto& part : base::split(path, '/')) {
    if (entry.type != EntryType::folder) return none();
    auto found = find_entry(store, entry.node, part);
    if (!found) return found.error();
    if (!*found) return none();
    entry = std::move(**found);
  }
  return entry;
}

Result<std::vector<Entry>> list(const ObjectSource& store, const Name& tree,
                                const std::string& after, std::size_t limit) {
  std::vector<Entry> out;
  if (limit > 0) SPELL_TRY(list_below(store, tree, -1, after, limit, out));
  return out;
}

Result<std::string> read(const ObjectSource& store, const Name& node, std::int64_t file_size,
                         std::int64_t offset, std::size_t size) {
  if (offset < 0)
    return base::error("range_not_satisfiable", "a range of a file begins at 0 or later");
  std::string out;
  if (offset >= file_size || size == 0) return out;
  size = std::min(size, max_read);
  auto rest = static_cast<std::uint64_t>(file_size - offset);
  std::int64_t end = offset + static_cast<std::int64_t>(std::min<std::uint64_t>(rest, size));
  if (file_size > small_file) {
    SPELL_TRY(read_below(store, node, -1, file_size, offset, end, out));
    return out;
  }
  auto bytes = store.get(Kind::chunk, node);
  if (!bytes) return bytes.error();
  if (static_cast<std::int64_t>(bytes->size()) != file_size) return lies(node);
  return bytes->substr(static_cast<std::size_t>(offset), static_cast<std::size_t>(end - offset));
}

}  // namespace spell::spellfs
