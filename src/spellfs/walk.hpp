// Going through the nodes of a file or folder, one at a time, in order. Private to this module.
#pragma once
#include <functional>

#include "spellfs/node.hpp"
#include "spellfs/store.hpp"

namespace spell::spellfs {

/// The node, decoded. Errors: those of get(), `damaged` if it is none.
Result<FolderNode> get_folder_node(const ObjectSource&, const Name&);
Result<FileNode> get_file_node(const ObjectSource&, const Name&);

/// That what was found is what its parent said.
Error lies(const Name&);

/// Every entry of the folder whose root node is `name`; its totals must be `totals`.
Result<> each_entry(const ObjectSource&, const Name& name, const Totals& totals,
                    const std::function<Result<>(Entry&)>& take);
/// Every piece of the file whose root node is `name`, which has `size` bytes.
Result<> each_piece(const ObjectSource&, const Name& name, std::int64_t size,
                    const std::function<Result<>(const Piece&)>& take);

}  // namespace spell::spellfs
