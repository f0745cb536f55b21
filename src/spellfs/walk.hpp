// The nodes of a file or folder, one at a time (tree.hpp: in order). Private to this module.
#pragma once
#include "spellfs/node.hpp"
#include "spellfs/store.hpp"

namespace spell::spellfs {

/// The node, decoded. Errors: those of get(), `damaged` if it is none.
Result<FolderNode> get_folder_node(const ObjectSource&, const Name&);
Result<FileNode> get_file_node(const ObjectSource&, const Name&);

/// That what was found is what its parent said.
Error lies(const Name&);

}  // namespace spell::spellfs
