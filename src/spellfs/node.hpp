// Nodes v1: how the chunks of a file and the entries of a folder are written down. Pure, no I/O.
//
// A file or a folder is a tree of nodes. A node of level 0 holds items (pieces of a file, entries
// of a folder), one of level n > 0 names nodes of level n-1. Integers are varints where nothing
// else is said; encodings are canonical, so the same content always has the same name.
//
//   node       version (byte, 1) · level · count · count × (level 0: item, else child)
//   file item  0 (byte) · size                          a hole; never two of them in a row
//              1 (byte) · size · chunk's name (32)      size 1 … 512 KiB
//   file child name (32) · size
//   entry      type (byte: 1 file, 2 folder, 3 link) · name (text) · mode (≤ 07777)
//              · mtime in ns since 1970 (8 bytes, two's complement), then
//                file:   size · name of its node or chunk (32), absent where the size is 0
//                folder: size · files · depth · name of its node (32)
//                link:   target (text)
//              · count × (name (text) · value (text)): extended attributes, sorted by name
//   folder child  name (32) · greatest entry name below it (text) · size · files · depth
//   text       length · bytes
//
// Entries are sorted by the bytes of their names, each once. A root of level > 0 names at least two
// nodes.
// An empty folder is one node without entries; an empty file has no node, nor has one of up to
// `small_file` bytes (see object.hpp).
//
// Nodes are cut by content: after an item whose key's first byte is 0 or 1 (one of 128), not before
// `min_items`, at the latest after `max_items` or before the node would outgrow `max_node` bytes.
// The key is the SHA-256 of an entry's name, a piece's chunk name, a child's name. So a change
// writes anew only the nodes on its way to the root.
//
// Decoders take every byte for hostile: bounds, order, names, sums and levels are checked.
#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "spellfs/object.hpp"

namespace spell::spellfs {

inline constexpr int node_version = 1;
inline constexpr int min_items = 32, max_items = 512, max_level = 8;
inline constexpr std::size_t max_node = 256 << 10;
inline constexpr std::size_t max_entry_name = 255, max_target = 4095, max_xattrs = 64 << 10;

/// What a node says of all below it.
struct Totals {
  std::int64_t size = 0, files = 0;
  int depth = 0;
  bool operator==(const Totals&) const = default;
};

/// A piece of a file: a chunk, or a hole.
struct Piece {
  std::optional<Name> chunk{};
  std::int64_t size = 0;
  bool operator==(const Piece&) const = default;
};

/// A node that a node of the next level names.
struct Child {
  Name node{};
  std::string last{};  ///< folder: greatest entry name below
  Totals totals{};
  bool operator==(const Child&) const = default;
};

struct FileNode {
  int level = 0;
  std::vector<Piece> pieces{};    ///< level 0
  std::vector<Child> children{};  ///< level > 0
  Totals totals{};
};

struct FolderNode {
  int level = 0;
  std::vector<Entry> entries{};   ///< level 0
  std::vector<Child> children{};  ///< level > 0
  Totals totals{};
};

/// Error `bad_node`, saying what is wrong.
Result<FileNode> decode_file_node(std::string_view bytes);
Result<FolderNode> decode_folder_node(std::string_view bytes);

/// What an object is, and what it names with what it claims of that: all that a store has to check.
struct Facts {
  Kind kind = Kind::chunk;
  int level = 0;
  Totals totals{};
  bool operator==(const Facts&) const = default;
};
struct Reference {
  Name name{};
  Facts facts{};
  bool any_level = false;  ///< an entry does not say how high its tree is
  bool fits(const Facts& found) const {
    return found.kind == facts.kind && found.totals == facts.totals &&
           (any_level || found.level == facts.level);
  }
};
struct Description {
  Facts facts{};
  std::vector<Reference> references{};
};
Result<Description> describe(Kind kind, std::string_view bytes);

/// Takes a finished object. The bytes are the callee's to keep.
using Emit = std::function<Result<>(Kind, const Name&, std::string bytes)>;

/// Builds the nodes of one file or folder from its items in order, keeping one open node a level.
class TreeBuilder {
 public:
  TreeBuilder(Kind kind, const Emit& emit) : kind_(kind), emit_(&emit) {}
  /// Adjacent holes become one.
  Result<> add(const Piece& piece);
  /// In order of names. Errors: `bad_node` for an entry that cannot be encoded.
  Result<> add(const Entry& entry);
  /// Whether a node of this level, and all below it, would begin with the next item.
  bool at_cut(int level) const;
  /// A finished node of such a level, where at_cut(level) is true. It must be one that these items
  /// would have made.
  Result<> add_node(int level, const Child& node);
  /// The root. A folder without entries has one, too; a file needs at least one piece.
  Result<Child> finish();

 private:
  struct Level {
    std::string body;
    std::int64_t count = 0;
    Totals totals;
    std::string last;
    Child newest;  ///< the last child added, on levels > 0
  };
  Result<> put(std::size_t level, std::string_view item, std::uint8_t key, const Totals& totals,
               std::string_view last);
  Result<> put_piece(const Piece& piece);
  Result<Child> close(std::size_t level);
  Result<> put_child(std::size_t level, const Child& child);

  Kind kind_;
  const Emit* emit_;
  std::vector<Level> levels_{1};
  std::int64_t hole_ = 0;
};

}  // namespace spell::spellfs
