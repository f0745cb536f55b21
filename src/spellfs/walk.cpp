#include "spellfs/walk.hpp"

#include "base/error.hpp"
#include "spellfs/tree.hpp"

namespace spell::spellfs {

namespace {

Error as_damaged(const Error& e, const Name& name) {
  return base::error("damaged", "object " + name.text() + ": " + e.message());
}

/// `level` < 0: any. Levels go down by one, so a walk ends whatever a store returns.
Result<> entries_below(const ObjectSource& store, const Name& name, int level, const Totals& totals,
                       const std::function<Result<>(Entry&)>& take) {
  auto node = get_folder_node(store, name);
  if (!node) return node.error();
  if ((level >= 0 && node->level != level) || node->totals != totals) return lies(name);
  for (auto& entry : node->entries) SPELL_TRY(take(entry));
  for (auto& child : node->children)
    SPELL_TRY(entries_below(store, child.node, node->level - 1, child.totals, take));
  return ok();
}

Result<> pieces_below(const ObjectSource& store, const Name& name, int level, std::int64_t size,
                      const std::function<Result<>(const Piece&)>& take) {
  auto node = get_file_node(store, name);
  if (!node) return node.error();
  if ((level >= 0 && node->level != level) || node->totals.size != size) return lies(name);
  for (auto& piece : node->pieces) SPELL_TRY(take(piece));
  for (auto& child : node->children)
    SPELL_TRY(pieces_below(store, child.node, node->level - 1, child.totals.size, take));
  return ok();
}

}  // namespace

Error lies(const Name& name) {
  return base::error("damaged", "object " + name.text() + " is not what its parent says");
}

Result<FolderNode> get_folder_node(const ObjectSource& store, const Name& name) {
  auto bytes = store.get(Kind::folder, name);
  if (!bytes) return bytes.error();
  auto node = decode_folder_node(*bytes);
  if (!node) return as_damaged(node.error(), name);
  return node;
}

Result<FileNode> get_file_node(const ObjectSource& store, const Name& name) {
  auto bytes = store.get(Kind::file, name);
  if (!bytes) return bytes.error();
  auto node = decode_file_node(*bytes);
  if (!node) return as_damaged(node.error(), name);
  return node;
}

Result<> each_entry(const ObjectSource& store, const Entry& folder,
                    const std::function<Result<>(Entry&)>& take) {
  Totals totals{folder.size, folder.files, folder.depth};
  if (folder.depth == 0) {
    auto root = get_folder_node(store, folder.node);
    if (!root) return root.error();
    totals = root->totals;
  }
  return entries_below(store, folder.node, -1, totals, take);
}

Result<> each_piece(const ObjectSource& store, const Name& name, std::int64_t size,
                    const std::function<Result<>(const Piece&)>& take) {
  return pieces_below(store, name, -1, size, take);
}

}  // namespace spell::spellfs
