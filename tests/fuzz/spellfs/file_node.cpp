// Any bytes: a file node is refused, or its description is consistent with it.
#include <cstdint>
#include <cstdlib>

#include "spellfs/node.hpp"

using namespace spell::spellfs;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view bytes(reinterpret_cast<const char*>(data), size);
  auto node = decode_file_node(bytes);
  auto description = describe(Kind::file, bytes);
  if (node.ok() != description.ok()) std::abort();
  if (!node) return 0;
  std::int64_t total = 0;
  for (auto& piece : node->pieces) total += piece.size;
  for (auto& child : node->children) total += child.totals.size;
  if (total != description->facts.totals.size || total <= 0) std::abort();
  if (node->level > 0) return 0;
  // One content, one encoding.
  std::string again;
  Emit emit = [&](Kind, const Name&, std::string made) {
    again = std::move(made);
    return spell::ok();
  };
  TreeBuilder builder(Kind::file, emit);
  int emitted = 0;
  for (auto& piece : node->pieces) {
    if (!builder.add(piece)) std::abort();
    emitted += !again.empty();
  }
  if (!builder.finish()) std::abort();
  if (emitted == 0 && again != bytes) std::abort();
  return 0;
}
